"""Where requests wait for a target of finite capacity, each tenant for its fair share.

A `TargetQueue` joins what `limits` decides: whose turn it is (`fair`), how
much the target may have in flight (`inflight`), and what its provider's rate
admits (`provider_rate`). Whoever finds room while nobody waits enters at once,
without a suspension (`enter`).

Others wait with `turn`, which stands in the queues of all targets that could
answer and takes the first place that comes, so that no target idles while a
request waits for its neighbour. It leaves the other queues without a charge.

A place is an `Entry` and is held from the moment it is given: `tokens` as
output streams, then exactly one of `leave` (it was carried out) or `give_back`
(it was not). Times are `time.monotonic()`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.errors import QueueFull, QueueTimeout
from fairlead.limits.fair import FairQueue, Rules
from fairlead.limits.flows import Entry, Flow
from fairlead.limits.inflight import EngineFacts, Window
from fairlead.limits.provider_rate import ProviderRate, RateFacts

_HOPELESS: Final = 2.0
"""A request is refused at once when its estimated wait is this many times what it may wait."""
_UNKNOWN_WAIT_S: Final = 5.0
"""Told when no service rate was measured yet."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request asks of a target's capacity."""

    flow: Flow
    input_tokens: int
    expected_tokens: int
    """Estimated output: what it may generate at most, or what its kind is known to."""
    streams: bool = True
    """Its output can be charged as it comes; else the estimate is charged at once and corrected."""


class TargetQueue:
    """The places of one target, and who waits for them."""

    __slots__ = ("_fair", "_stirring", "_timer", "name", "rate", "window")

    def __init__(self, name: str, rules: Rules, window: Window, rate: ProviderRate | None = None) -> None:
        """Open it.

        Args:
            name: the target's, for messages.
            rules: of the fair queue.
            window: what may be in flight.
            rate: the provider's rate limits; None for an engine.
        """
        self.name = name
        self.window = window
        self.rate = rate
        self._fair = FairQueue(rules)
        self._timer: asyncio.TimerHandle | None = None
        self._stirring = False

    # --- places -----------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._fair.waiting

    def open(self, now: float) -> bool:
        """Whether some request could enter at once; one of a given size may still have to wait."""
        return (
            not self._fair.waiting
            and self.window.admits(0)
            and (self.rate is None or self.rate.wait_s(0, now) <= 0.0)
        )

    def enter(self, ask: Ask, now: float) -> Entry | None:
        """A place at once, or None when the request has to wait for one."""
        fair = self._fair
        size = ask.input_tokens + ask.expected_tokens
        if fair.waiting or not self.window.admits(size):
            return None
        if self.rate is not None:
            if self.rate.wait_s(size, now) > 0.0:
                return None
            self.rate.take(size, now)
        entry = self._entry(ask)
        fair.enter(entry)
        self.window.enter(size)
        return entry

    def tokens(self, place: Entry, count: int) -> None:
        """Charge output that has come."""
        self._fair.stream(place, count)

    def leave(
        self,
        place: Entry,
        now: float,
        *,
        input_tokens: int | None = None,
        cached_tokens: int = 0,
        output_tokens: int | None = None,
    ) -> None:
        """The request has ended: its place goes to the next.

        Counts are the target's own; None keeps the estimate, or what was streamed.
        """
        if place.leaf is None:
            return
        self._fair.finish(
            place, input_tokens=input_tokens, cached_tokens=cached_tokens, output_tokens=output_tokens
        )
        self.window.leave(place.size_tokens)
        self.pump(now)

    def give_back(self, place: Entry, now: float) -> None:
        """The request was not carried out: nothing is charged for it."""
        self.leave(place, now, input_tokens=0, output_tokens=0)

    # --- what the target shows --------------------------------------------------------------------

    def saw(self, facts: EngineFacts, now: float) -> None:
        """The engine's metrics were read."""
        self.window.saw(facts, now)
        self.pump(now)

    def first_token(self, seconds: float, now: float) -> None:
        """A request got its first token `seconds` after it was sent."""
        self.window.first_token(seconds, now)
        if self._fair.waiting:
            self.pump(now)

    def told(self, tokens: RateFacts | None, requests: RateFacts | None, now: float) -> None:
        """A provider's answer told of its rate limits (`rate_headers.rate_facts`)."""
        if self.rate is not None:
            self.rate.learn(now, tokens=tokens, requests=requests)
            if self._fair.waiting:
                self.pump(now)

    def limited(self, retry_after_s: float, now: float) -> None:
        """The provider answered 429, and when to come back."""
        if self.rate is not None:
            self.rate.refused(retry_after_s, now)

    def estimated_wait_s(self, ask: Ask, now: float) -> float | None:
        """How long a new request would wait; None before anything was measured."""
        return self._fair.wait_s(self._entry(ask), now)

    # --- several processes ------------------------------------------------------------------------

    def served(self) -> list[tuple[Flow, float]]:
        """The service, in weighted tokens, that each flow had here since the last call."""
        return self._fair.served()

    def hear(self, flow: Flow, cost: float) -> None:
        """Count service that a flow had of this target by another process."""
        self._fair.hear(flow, cost)

    # --- the queue --------------------------------------------------------------------------------

    def join(self, ask: Ask, waiter: Waiter, now: float) -> bool:
        """Stand in line for `waiter`; False when the line is full. Only `turn` calls it."""
        entry = self._entry(ask, waiter)
        refused = self._fair.put(entry, now)
        if refused is entry:
            return False
        waiter.lines.append((self, entry))
        if refused is not None:
            assert isinstance(refused.item, Waiter)
            refused.item.displaced(self, refused, now)
        return True

    def withdraw(self, entry: Entry) -> None:
        """Leave the line without a charge. Who stood behind may fit now."""
        self._fair.remove(entry)
        if self._fair.waiting and not self._stirring:
            # Not at once: this may be called in the middle of giving another queue's place away.
            self._stirring = True
            asyncio.get_running_loop().call_soon(self._stir)

    def pump(self, now: float) -> None:
        """Give free places to those whose turn it is. The first that does not fit stops it."""
        fair = self._fair
        while (head := fair.head(now)) is not None:
            waiter = head.item
            assert isinstance(waiter, Waiter)
            if waiter.future.done():
                # Cancelled a moment ago, and about to leave the line by itself.
                fair.remove(head)
                continue
            size = head.size_tokens
            if not self.window.admits(size):
                return
            if self.rate is not None:
                wait_s = self.rate.wait_s(size, now)
                if wait_s > 0.0:
                    self._wake_in(wait_s)
                    return
                self.rate.take(size, now)
            fair.take(head, now)
            self.window.enter(size)
            waiter.give(self, head)

    def _entry(self, ask: Ask, waiter: Waiter | None = None) -> Entry:
        return self._fair.entry(
            ask.flow,
            ask.input_tokens,
            ask.expected_tokens,
            advance_tokens=0 if ask.streams else ask.expected_tokens,
            item=waiter,
        )

    def _stir(self) -> None:
        self._stirring = False
        self.pump(asyncio.get_running_loop().time())

    def _wake_in(self, wait_s: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._rung)

    def _rung(self) -> None:
        self._timer = None
        self.pump(asyncio.get_running_loop().time())


class Waiter:
    """One request in the lines of several targets. Made by `turn`."""

    __slots__ = ("ask", "future", "lines")

    def __init__(self, ask: Ask, future: asyncio.Future[tuple[TargetQueue, Entry]]) -> None:
        self.ask = ask
        self.future = future
        self.lines: list[tuple[TargetQueue, Entry]] = []

    def give(self, queue: TargetQueue, place: Entry) -> None:
        """A place: leave the other lines."""
        lines, self.lines = self.lines, []
        for other, entry in lines:
            if entry is not place:
                other.withdraw(entry)
        self.future.set_result((queue, place))

    def displaced(self, queue: TargetQueue, entry: Entry, now: float) -> None:
        """A full line has put this request out in favour of a tenant with fewer."""
        self.lines.remove((queue, entry))
        if not self.lines:
            self._fail(
                QueueFull(
                    f"the queue of {queue.name} is full, and this caller has most of it",
                    retry_after_s=_told(queue.estimated_wait_s(self.ask, now)),
                )
            )

    def expire(self, message: str) -> None:
        """It has waited as long as it may."""
        now = asyncio.get_running_loop().time()
        wait_s = _shortest([queue for queue, _ in self.lines], self.ask, now)
        self.quit()
        self._fail(QueueTimeout(message, retry_after_s=_told(wait_s)))

    def quit(self) -> None:
        """Leave every line."""
        lines, self.lines = self.lines, []
        for queue, entry in lines:
            queue.withdraw(entry)

    def _fail(self, error: QueueFull | QueueTimeout) -> None:
        if not self.future.done():
            self.future.set_exception(error)


def enter(queues: Sequence[TargetQueue], ask: Ask, now: float) -> tuple[TargetQueue, Entry] | None:
    """A place at the first target that has one at once; None when the request has to wait."""
    for queue in queues:
        place = queue.enter(ask, now)
        if place is not None:
            return queue, place
    return None


async def turn(
    queues: Sequence[TargetQueue], ask: Ask, now: float, *, deadline: float, max_wait_s: float
) -> tuple[TargetQueue, Entry]:
    """Wait until one of the targets has a place for this request, and take it.

    May be awaited by a task or by a `Run`. When it is cancelled the request leaves
    every line, and a place that it was given at that moment goes back.

    Args:
        queues: of the targets that could answer; at least one.
        ask: what is asked.
        now: `time.monotonic()`.
        deadline: when the client has no use for an answer any more.
        max_wait_s: the longest wait that is configured.

    Raises:
        QueueFull: every line is full, or the wait would be much longer than allowed.
        QueueTimeout: no place came in time.
    """
    limit = min(deadline, now + max_wait_s)
    wait_s = _shortest(queues, ask, now)
    if wait_s is not None and wait_s > _HOPELESS * (limit - now):
        allowed = max(0.0, limit - now)
        raise QueueFull(
            f"the estimated wait of {wait_s:.0f} s is longer than the {allowed:.0f} s allowed",
            retry_after_s=_told(wait_s),
        )
    loop = asyncio.get_running_loop()
    waiter = Waiter(ask, loop.create_future())
    joined = False
    for queue in queues:
        joined |= queue.join(ask, waiter, now)
    if not joined:
        names = ", ".join(queue.name for queue in queues)
        waiting = sum(queue.waiting for queue in queues)
        raise QueueFull(f"{waiting} requests wait for {names} already", retry_after_s=_told(wait_s))
    # A line may move without an event of its own: another target's room, or a batch request's age.
    for queue in queues:
        queue.pump(now)
    patience = "its deadline" if limit == deadline else f"the {max_wait_s:g} s that are allowed"
    timer = loop.call_at(limit, waiter.expire, f"no place became free within {patience}")
    try:
        return await waiter.future
    except asyncio.CancelledError:
        if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
            queue, place = waiter.future.result()
            queue.give_back(place, loop.time())
        raise
    finally:
        timer.cancel()
        waiter.quit()


def _shortest(queues: Sequence[TargetQueue], ask: Ask, now: float) -> float | None:
    """The shortest estimate; None when some target has none, since that one may be quick."""
    waits = [queue.estimated_wait_s(ask, now) for queue in queues]
    known = [wait for wait in waits if wait is not None]
    return min(known) if known and len(known) == len(waits) else None


def _told(wait_s: float | None) -> float:
    return _UNKNOWN_WAIT_S if wait_s is None else max(0.5, wait_s)
