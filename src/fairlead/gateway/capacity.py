"""Which targets have a queue in front of them, and what their windows are.

- Engines have a batch of finite size: their window is tuned from their
  metrics, or from latency where they have none.
- Hosted providers have a rate: it is learned from their answers, and nothing
  else holds requests back.
- Others have no queue, unless the configuration caps their concurrency. That
  cap is then the window, as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead import config as cfg
from fairlead.gateway.queue import TargetQueue
from fairlead.gateway.upstream import Upstream
from fairlead.limits.fair import Rules
from fairlead.limits.inflight import EngineFacts, Window, WindowRules
from fairlead.limits.provider_rate import ProviderRate
from fairlead.telemetry.metrics.readings import Reading

_NO_TOKENS: Final = 10**15
_NO_REQUESTS: Final = 1_000_000


class FixedWindow(Window):
    """A window of a given number of requests, whatever the target shows."""

    __slots__ = ()

    def __init__(self, max_concurrency: int | None) -> None:
        """A window of so many requests; None for no bound."""
        most = max_concurrency or _NO_REQUESTS
        super().__init__(WindowRules(max_concurrency=most, first_tokens=_NO_TOKENS, first_requests=most))

    def configure(self, max_concurrency: int | None) -> None:
        """Take another number, as after a reload."""
        most = max_concurrency or _NO_REQUESTS
        super().configure(most)
        self.requests = float(most)

    def saw(self, facts: EngineFacts, now: float) -> None:
        """It is what it is."""

    def first_token(self, seconds: float, now: float) -> None:
        """It is what it is."""


def queue_of(
    name: str, target: cfg.Target, upstream: Upstream, kept: TargetQueue | None
) -> TargetQueue | None:
    """The queue of a target, or None when it has none.

    Args:
        name: the target's, for messages.
        target: its options.
        upstream: how it is asked.
        kept: the queue of this target before a reload. It goes on, with whoever waits in it.
    """
    capacity = upstream.kind.capacity
    if capacity == "open" and target.max_concurrency is None:
        return None
    if kept is not None and isinstance(kept.window, FixedWindow) == (capacity != "engine"):
        kept.window.configure(target.max_concurrency)
        return kept
    if capacity == "engine":
        return TargetQueue(name, Rules(), Window(WindowRules(max_concurrency=target.max_concurrency)))
    rate = ProviderRate() if capacity == "rated" else None
    return TargetQueue(name, Rules(), FixedWindow(target.max_concurrency), rate)


def queue_readings(queue: TargetQueue) -> Iterator[Reading]:
    """A queue and its window as metrics. A bound that there is not has none."""
    window, labels = queue.window, (queue.name,)
    yield Reading(name="fairlead_queue_waiting", value=queue.waiting, labels=labels)
    yield Reading(name="fairlead_queue_in_flight", value=window.in_flight, labels=labels)
    yield Reading(name="fairlead_queue_in_flight_tokens", value=window.in_flight_tokens, labels=labels)
    if window.requests < _NO_REQUESTS:
        yield Reading(name="fairlead_window_requests", value=window.requests, labels=labels)
    if window.tokens < _NO_TOKENS:
        yield Reading(name="fairlead_window_tokens", value=window.tokens, labels=labels)
