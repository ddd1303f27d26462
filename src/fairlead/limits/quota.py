"""What a limit is, what a request asks of it, and what a store answers.

Data and the two ports only; arithmetic is in `bucket` and `calendar`, state in
the stores. A store keeps these rules, whichever machine it runs on:

- Admission is one atomic step over all asks: when one limit refuses, nothing
  is taken from any. The refusal told is the one with the longest wait.
- A shadow limit never refuses. One that would have is told in
  `Admitted.shadowed` and nothing is taken from it, so that it goes on deciding
  exactly as it would if it were real.
- A reservation has the request's id. Admitting an id that is open takes
  nothing again; settling or releasing an id twice changes nothing.
- What is not settled is given back when the reservation expires, except the
  count of requests. A settlement that comes after that still charges, once.
- A reservation settles into the window (hour, day, ...) that it was made in.
- Time is the store's own, in whole microseconds, and never runs backwards.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

OnStoreFailure = Literal["closed", "bounded"]
"""When a shared store cannot be asked: refuse, or admit up to a bounded share kept in process."""


class What(enum.StrEnum):
    """What a limit counts. Decides its arithmetic."""

    REQUESTS = "requests"  # rate: GCRA, one each; kept when a reservation expires
    TOKENS = "tokens"  # rate: GCRA, reserved and then settled
    USD = "usd"  # calendar window: micro-dollars, reserved and then settled
    CONCURRENT = "concurrent"  # places, held until settled, released or expired


class Window(enum.StrEnum):
    """A stretch of the calendar that a budget is for."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"  # from Monday
    MONTH = "month"


class Limit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One limit of one node of the tenant tree."""

    id: str
    """The stable key of its state, over restarts and changes of amount: `acme/requests`,
    `acme/gpt-5/tokens`, `key:3f8a01Bc/usd:month`."""
    node: str
    """The tenant's name, or `key:` and the key's id."""
    root: str = ""
    """The tenant at the root of the node's tree. Limits that meet in one request have the same one: a shared
    store keeps a tree's state together, and a cluster may hold different trees on different servers."""
    what: What
    amount: int
    """Requests or tokens per `period_s`, micro-dollars per window, or places. At least 1."""
    model: str | None = None
    """The model name or pattern it is for, as configured; None for all together."""
    period_s: int = 60
    """Of rates."""
    burst: int = 0
    """Of rates: the most at once, at least 1; unused otherwise."""
    window: Window | None = None
    """Of budgets."""
    timezone: str = "UTC"
    """Of budgets: IANA name of the zone whose calendar counts."""
    input_weight: float = 1.0
    """Of token rates."""
    output_weight: float = 1.0
    """Of token rates."""
    shadow: bool = False
    warn_at: tuple[float, ...] = ()
    """Fractions of the amount, ascending, in (0, 1]."""
    on_store_failure: OnStoreFailure = "closed"

    @property
    def ceiling(self) -> int:
        """The most that can be taken at once: more than that is never admitted."""
        return self.burst if self.what is What.REQUESTS or self.what is What.TOKENS else self.amount


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What one request wants of one limit."""

    limit: Limit
    cost: int
    """Requests, (weighted) tokens, micro-dollars or places; not negative."""


class State(msgspec.Struct, frozen=True, gc=False):
    """One limit at one moment."""

    limit: Limit
    used: int
    """Rates: what has not refilled yet, open reservations included. Budgets: settled in this window.
    Concurrency: places taken. May be above the ceiling when a request took more than it had reserved."""
    reserved: int
    """Budgets: held by open reservations. 0 for the others."""
    remaining: int
    """What could be taken now; never negative."""
    resets_at: float | None
    """Unix seconds: when a rate is full again, when a budget's window ends; None for concurrency."""


class Refused(msgspec.Struct, frozen=True, gc=False):
    """Why a request was, or would have been, refused. Nothing was taken."""

    state: State
    cost: int
    retry_after_s: float | None
    """Until the same cost fits if nobody else takes any; None when it never can (cost above the ceiling).
    For concurrency, where nobody knows, a short pause."""


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A reservation that is open until it is settled, released or expired."""

    reservation: str
    """The request's id."""
    states: tuple[State, ...]
    """After this admission, in the order of the asks."""
    shadowed: tuple[Refused, ...]
    """Shadow limits that would have refused."""
    expires_at: float
    """Unix seconds."""


class Store(Protocol):
    """State in this process: every call is synchronous, atomic and fast."""

    def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        """Take every cost, or none."""
        ...

    def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        """Replace what was reserved with what was used, and give places back.

        Args:
            request_id: of the reservation.
            costs: by limit id; a limit that is not named keeps what was reserved.

        Returns:
            The limits of the reservation as they are now; empty when there was nothing (left) to settle.
        """
        ...

    def release(self, request_id: str) -> None:
        """Give everything back, the count of requests too: it was never carried out."""
        ...

    def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        """The limits as they are now, in this order."""
        ...


class RemoteStore(Protocol):
    """State that several processes share. The same four calls, awaited; failures raise `StorageError`."""

    async def admit(self, request_id: str, asks: Sequence[Ask], ttl_s: float) -> Admitted | Refused:
        """Take every cost, or none, in one round trip."""
        ...

    async def settle(self, request_id: str, costs: Mapping[str, int]) -> tuple[State, ...]:
        """As `Store.settle`."""
        ...

    async def release(self, request_id: str) -> None:
        """As `Store.release`."""
        ...

    async def look(self, limits: Sequence[Limit]) -> tuple[State, ...]:
        """As `Store.look`."""
        ...
