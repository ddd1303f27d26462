"""What the fair queue costs per request: the least of many short bursts, in microseconds."""

from __future__ import annotations

import timeit
from collections.abc import Callable

import msgspec

from fairlead.limits.fair import FairQueue, Rules
from fairlead.limits.flows import Flow
from fairlead.limits.inflight import Window, WindowRules

_BURST = 5000
_BURSTS = 15


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One operation."""

    what: str
    microseconds: float


def measure() -> list[Cost]:
    """Time the operations of a request's path through the queue."""
    return [
        Cost(what="nobody waits: describe, enter, finish", microseconds=_least(_straight())),
        Cost(what="charge one streamed token", microseconds=_least(_token())),
        Cost(what="100 tenants wait, one level: put, head, take", microseconds=_least(_queued(levels=1))),
        Cost(what="100 tenants wait, three levels: put, head, take", microseconds=_least(_queued(levels=3))),
    ]


def _least(operation: Callable[[], None]) -> float:
    return min(timeit.repeat(operation, number=_BURST, repeat=_BURSTS)) / _BURST * 1e6


def _straight() -> Callable[[], None]:
    queue, window = FairQueue(Rules()), Window(WindowRules())
    flow = Flow(names=("acme", "search", "key"), weights=(1.0, 2.0, 1.0))

    def operation() -> None:
        entry = queue.entry(flow, 200, 100)
        if not queue.waiting and window.admits(entry.size_tokens):
            queue.enter(entry)
            window.enter(entry.size_tokens)
        queue.finish(entry, input_tokens=190, output_tokens=80)
        window.leave(entry.size_tokens)

    return operation


def _token() -> Callable[[], None]:
    queue = FairQueue(Rules())
    entry = queue.entry(Flow(names=("acme", "search", "key"), weights=(1.0, 2.0, 1.0)), 200, 100)
    queue.enter(entry)
    return lambda: queue.stream(entry, 1)


def _queued(*, levels: int) -> Callable[[], None]:
    queue = FairQueue(Rules())
    if levels == 1:
        flows = [Flow(names=(f"key{number}",), weights=(1.0,)) for number in range(100)]
    else:
        flows = [
            Flow(names=("acme", f"team{number % 10}", f"key{number}"), weights=(1.0, 1.0 + number % 3, 1.0))
            for number in range(100)
        ]
    for number in range(500):
        queue.put(queue.entry(flows[number % 100], 100 + number % 7, 100), 0.0)
    count = 0

    def operation() -> None:
        nonlocal count
        count += 1
        queue.put(queue.entry(flows[count * 37 % 100], 100 + count % 7, 100), count * 0.01)
        head = queue.head(count * 0.01)
        assert head is not None
        queue.take(head, count * 0.01)

    return operation
