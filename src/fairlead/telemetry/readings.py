"""Metrics whose values others keep: read when somebody asks for the metrics.

`Metrics` counts what records tell. Requests in flight, breaker states, the
decisions of limits and the like are kept where they are used; the application
reads them and hands them over as `Reading`s. Names and labels are a contract
with dashboards and alerts, as those of `prometheus` are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from fairlead.telemetry.samples import Family, Merge, Series


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value as it is now. `name` is one of `GAUGES` or `COUNTERS`, `labels` its label values in order."""

    name: str
    value: float | int
    labels: tuple[str, ...] = ()


GAUGES: Final[dict[str, tuple[str, tuple[str, ...], Merge]]] = {
    "fairlead_in_flight": ("Requests under way.", (), "sum"),
    "fairlead_breaker_state": (
        "Circuit breaker of a target: 0 closed, 1 half-open, 2 open; the worst of all workers.",
        ("target",),
        "max",
    ),
    "fairlead_queue_waiting": ("Requests that wait for a place at a target.", ("target",), "sum"),
    "fairlead_queue_in_flight": ("Requests that have a place at a target.", ("target",), "sum"),
    "fairlead_queue_in_flight_tokens": ("Their estimated tokens.", ("target",), "sum"),
    "fairlead_window_requests": ("Requests that a target may have in flight.", ("target",), "sum"),
    "fairlead_window_tokens": ("Estimated tokens that a target may have in flight.", ("target",), "sum"),
    "fairlead_retry_budget_remaining": ("Retries that may be made at once, all workers.", (), "sum"),
    "fairlead_connections": ("Open client connections.", (), "sum"),
    "fairlead_cache_memory_bytes": ("Memory that kept answers take.", (), "sum"),
    "fairlead_cache_memory_max_bytes": ("Memory that kept answers may take.", (), "sum"),
    "fairlead_cache_memory_entries": ("Answers kept in memory.", (), "sum"),
    "fairlead_recorder_pending": ("Records waiting to be written.", (), "sum"),
}
"""Help text, label names and how workers' values combine, by name."""

COUNTERS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "fairlead_limit_decisions_total": (
        "What limits decided apart from plain admission: `refused`, `shadowed` (would have been), "
        "`unpriced` (no budget counts it), `unavailable` or `bounded` (without the shared store).",
        ("tenant", "what", "outcome"),
    ),
    "fairlead_cache_hits_total": (
        "Answers given again: from `memory`, `disk` or `redis`, or `stale` in an outage.",
        ("tier", "tenant", "model"),
    ),
    "fairlead_cache_misses_total": (
        "Requests whose answer was looked for and not found.",
        ("tenant", "model"),
    ),
    "fairlead_cache_bypassed_total": (
        "Requests that were neither looked up nor kept, and why.",
        ("model", "reason"),
    ),
    "fairlead_cache_stored_total": ("Answers that were kept.", ("tenant", "model")),
    "fairlead_cache_unstored_total": ("Answers that were not kept, and why.", ("model", "reason")),
    "fairlead_cache_saved_tokens_total": (
        "Tokens of answers given again: `input` and `output`.",
        ("type", "tenant", "model"),
    ),
    "fairlead_cache_saved_usd_total": (
        "What answers given again cost when a model gave them, where that is known.",
        ("tenant", "model"),
    ),
    "fairlead_cache_trouble_total": (
        "Failures of the stores behind the memory: `get`, `put`, `purge`, `open`, `slow`, `damaged`, "
        "`dropped`.",
        ("tier", "kind"),
    ),
    "fairlead_cache_evicted_total": ("Answers that made room for others in memory.", ()),
}
"""Help text and label names by name. Workers' values are added."""


def families_of(readings: Iterable[Reading]) -> Iterator[Family]:
    """The readings as families, each with all of its series.

    Raises:
        KeyError: for a name that is neither in `GAUGES` nor in `COUNTERS`.
    """
    series: dict[str, list[Series]] = {}
    for reading in readings:
        series.setdefault(reading.name, []).append(Series(labels=reading.labels, value=reading.value))
    for name, values in series.items():
        if name in COUNTERS:
            text, labels = COUNTERS[name]
            yield Family(name=name, kind="counter", help=text, labels=labels, series=tuple(values))
        else:
            text, labels, how = GAUGES[name]
            yield Family(name=name, kind="gauge", help=text, labels=labels, series=tuple(values), merge=how)
