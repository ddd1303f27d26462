"""What the request path asks: may this be done, what was used, how do things stand.

`Limiter.admit` turns a request into asks along its way through the tenant
tree, has the store decide over all of them at once and raises the refusal;
`settle` turns what was used into costs. Both are synchronous and suspend
nowhere, so they may be called in a `finally`. One limiter lives as long as
its process: a reload gives it another tree. `shared` is for stores that are
elsewhere.

Without any limit on the way nothing is asked, reserved or learned.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from fairlead.errors import Forbidden
from fairlead.limits.answer import refusal
from fairlead.limits.learned import LearnedOutput
from fairlead.limits.quota import Admitted, Ask, Limit, Refused, State, Store, What
from fairlead.limits.tree import Path, Tree
from fairlead.limits.warn import Crossing, Warnings
from fairlead.types import Usage

_MOST_TOKENS: Final = 10**12
"""JSON knows no largest integer; no limit is as large as this."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request, as limits see it."""

    request_id: str
    tenant: str
    key_id: str
    """"" for a caller without a key."""
    key_name: str
    model: str
    """As asked for."""
    input_tokens: int
    """Estimated."""
    output_tokens: int
    """To reserve: `Limiter.expected_output`."""
    cost_microusd: int | None
    """To reserve; None when no target of the route has prices: budgets do not count it."""
    ttl_s: float
    """After which the reservation ends by itself: more than the request can take."""


class Permit(msgspec.Struct, frozen=True, gc=False):
    """That a request may go on, to be settled or released when it has ended."""

    wanted: Wanted
    path: Path
    admitted: Admitted | None
    """None when no limit applies."""
    local: bool = True
    """Whether it was this process's own store that admitted."""


Count = tuple[str, str, str]
"""Tenant, what (`requests`, `tokens`, ...) and what happened: `refused`, `shadowed`, `unpriced`."""


class Limiter:
    """Limits over a store in this process."""

    def __init__(
        self,
        store: Store,
        tree: Tree,
        *,
        now: Callable[[], float],
        warn: Callable[[Crossing], None],
        assumed_output_tokens: int = 1024,
    ) -> None:
        """Join the parts.

        Args:
            store: where the state is.
            tree: the tenants of the configuration in force.
            now: Unix seconds.
            warn: told of each crossing of a `warn_at`; quick, and does not fail.
            assumed_output_tokens: reserved when nothing better is known.
        """
        self.store = store
        self.tree = tree
        self.learned = LearnedOutput()
        self.counts: Counter[Count] = Counter()
        """Since the start."""
        self._now = now
        self._assumed = assumed_output_tokens
        self._warnings = Warnings(warn)

    def configure(self, tree: Tree, assumed_output_tokens: int) -> None:
        """Go on under another configuration. What was admitted is settled as it was admitted."""
        self.tree = tree
        self._assumed = assumed_output_tokens

    def path(self, tenant: str, key_id: str, key_name: str, model: str) -> Path:
        """What applies to a request; its `nodes` and `priority` are the fair queue's.

        Raises:
            Forbidden: the tenant is not (any more) in the configuration.
        """
        path = self.tree.path(tenant, key_id, key_name, model)
        if path is None:
            raise Forbidden(
                f"This API key belongs to the tenant `{tenant}`, which this gateway does not know.",
                hint="add it under `tenants` of the configuration, or make a key for another tenant",
            )
        return path

    def expected_output(self, key_id: str, model: str, max_tokens: int | None) -> int:
        """Output tokens to reserve: the request's own maximum, what was learned, or what is assumed."""
        if max_tokens is not None:
            return max_tokens
        learned = self.learned.expected(key_id, model)
        return self._assumed if learned is None else learned

    def admit(self, wanted: Wanted, path: Path) -> Permit:
        """Take what a request wants of every limit of its path, or raise and take nothing.

        Raises:
            RateLimited: with `exceeded` and, when waiting helps, `retry_after_s`; `BudgetExceeded`
                and `AboveLimit` say more.
        """
        if not path.limits:
            return Permit(wanted, path, None)
        return self.permit(
            wanted, path, self.store.admit(wanted.request_id, asks(wanted, path), wanted.ttl_s)
        )

    def settle(self, permit: Permit, usage: Usage, cost_microusd: int | None, *, whole: bool) -> None:
        """Charge what was used instead of what was reserved. A second call changes nothing.

        Args:
            permit: from `admit`.
            usage: of all that was sent to the client, also when it left early.
            cost_microusd: of all attempts; None when nothing is known, which charges what was reserved.
            whole: the answer came to its own end, so that its length may be learned from.
        """
        if permit.admitted is None:
            return
        self.learn(permit, usage, whole=whole)
        states = self.store.settle(permit.wanted.request_id, costs(permit.path, usage, cost_microusd))
        self._warnings.look(states, self._now())

    def release(self, permit: Permit) -> None:
        """Give everything back: nothing was asked of any target."""
        if permit.admitted is not None:
            self.store.release(permit.wanted.request_id)

    def show(self, tenant: str) -> tuple[State, ...]:
        """How the limits of a tenant and of those above it stand."""
        return self.store.look(self.tree.limits(tenant))

    def show_key(self, tenant: str, key_id: str, key_name: str) -> tuple[State, ...]:
        """How a key's own limits stand."""
        return self.store.look(self.tree.key_limits(tenant, key_id, key_name))

    # --- for stores of every kind ---------------------------------------------------------------

    def permit(self, wanted: Wanted, path: Path, answer: Admitted | Refused, *, local: bool = True) -> Permit:
        """The permit that a store's answer is, or the refusal, raised; either is counted."""
        if isinstance(answer, Refused):
            self.counts[wanted.tenant, answer.state.limit.what, "refused"] += 1
            raise refusal(answer)
        for shadowed in answer.shadowed:
            self.counts[wanted.tenant, shadowed.state.limit.what, "shadowed"] += 1
        if wanted.cost_microusd is None and any(limit.what is What.USD for limit in path.limits):
            self.counts[wanted.tenant, What.USD, "unpriced"] += 1
        self._warnings.look(answer.states, self._now())
        return Permit(wanted, path, answer, local)

    def learn(self, permit: Permit, usage: Usage, *, whole: bool) -> None:
        """Remember the length of a whole answer."""
        if whole and usage.output_tokens > 0:
            self.learned.observe(permit.wanted.key_id, permit.wanted.model, usage.output_tokens)

    def crossed(self, states: tuple[State, ...]) -> None:
        """Warn of what these states have newly crossed."""
        self._warnings.look(states, self._now())


def asks(wanted: Wanted, path: Path) -> list[Ask]:
    """What a request wants of each limit of its path. A budget is not asked for what has no price."""
    wants = []
    for limit in path.limits:
        what = limit.what
        if what is What.TOKENS:
            wants.append(Ask(limit, weighted(limit, wanted.input_tokens, wanted.output_tokens)))
        elif what is not What.USD:
            wants.append(Ask(limit, 1))
        elif wanted.cost_microusd is not None:
            wants.append(Ask(limit, wanted.cost_microusd))
    return wants


def costs(path: Path, usage: Usage, cost_microusd: int | None) -> Mapping[str, int]:
    """What was used of tokens and money, by limit id."""
    used: dict[str, int] = {}
    for limit in path.limits:
        if limit.what is What.TOKENS:
            used[limit.id] = weighted(limit, usage.input_tokens, usage.output_tokens)
        elif limit.what is What.USD and cost_microusd is not None:
            used[limit.id] = max(0, cost_microusd)
    return used


def weighted(limit: Limit, input_tokens: int, output_tokens: int) -> int:
    """Tokens as a limit counts them, rounded up; nonsense is brought into range."""
    input_tokens = min(max(0, input_tokens), _MOST_TOKENS)
    output_tokens = min(max(0, output_tokens), _MOST_TOKENS)
    if limit.input_weight == limit.output_weight == 1.0:
        return input_tokens + output_tokens
    return math.ceil(input_tokens * limit.input_weight + output_tokens * limit.output_weight)
