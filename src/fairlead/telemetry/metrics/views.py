"""The gateway's own metrics as views of what `prometheus` has counted in cells.

Made when somebody asks, so their number costs no request anything. Names,
labels and buckets are a contract with dashboards and alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final

from fairlead.telemetry.metrics import histogram
from fairlead.telemetry.metrics.cells import (
    DURATION_BOUNDS_S,
    OVERHEAD_BOUNDS_S,
    PHASES,
    QUEUE_BOUNDS_S,
    RATE_BOUNDS,
    TTFT_BOUNDS_S,
    AttemptCell,
    AttemptKey,
    Cell,
    Key,
    Tally,
)
from fairlead.telemetry.metrics.exemplars import Exemplars
from fairlead.telemetry.metrics.samples import Family, Series, single
from fairlead.types import ITL_BOUNDS_S

DURATIONS: Final = "fairlead_request_duration_seconds"
TTFTS: Final = "fairlead_ttft_seconds"
SHOWN_ITL_BOUNDS_S: Final = (
    0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03,
    0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.8, 1.6, 4.0,
)  # fmt: skip
"""Some of `ITL_BOUNDS_S`: the others are there for `gen_ai.client.operation.time_per_output_chunk`."""

_Observed = Callable[[Cell], tuple[Sequence[int], float]]


class Views:
    """What one worker has counted, as families."""

    def __init__(
        self,
        *,
        cells: Mapping[Key, Cell],
        attempts: Mapping[AttemptKey, AttemptCell],
        costs: Mapping[tuple[str, str], int],
        streams: Mapping[str, int],
        overhead: Tally,
        overflow: int,
        exemplars: Exemplars | None,
    ) -> None:
        """See `prometheus.Metrics`, which keeps all of it."""
        self._cells = cells
        self._attempts = attempts
        self._costs = costs
        self._streams = streams
        self._overhead = overhead
        self._overflow = overflow
        self._exemplars = exemplars

    def families(self) -> Iterator[Family]:
        """All of them."""
        yield from self._counters()
        yield from self._histograms()

    def _counters(self) -> Iterator[Family]:
        yield Family(
            name="fairlead_requests_total",
            kind="counter",
            help="Requests answered, by how they ended and by the class of the status sent.",
            labels=("model", "endpoint", "outcome", "status_class"),
            series=self._summed(by_outcome, attrgetter("requests")),
        )
        yield Family(
            name="fairlead_tokens_total",
            kind="counter",
            help="Tokens reported by upstreams. `cached` and `cache_write` are parts of `input`, "
            "`reasoning` is a part of `output`.",
            labels=("type", "model"),
            series=tuple(
                Series(labels=(kind, *series.labels), value=series.value)
                for kind in ("input", "cached", "cache_write", "output", "reasoning")
                for series in self._summed(by_model, attrgetter(kind))
            ),
        )
        yield Family(
            name="fairlead_cost_usd_total",
            kind="counter",
            help="What upstreams charge at the targets' prices, by the target that was asked.",
            labels=("model", "target"),
            series=tuple(Series(labels=key, value=cost / 1e6) for key, cost in self._costs.items()),
        )
        yield Family(
            name="fairlead_unpriced_requests_total",
            kind="counter",
            help="Requests with tokens whose cost is not known, because their target has no prices.",
            labels=("model", "target"),
            series=self._summed(by_target, attrgetter("unpriced")),
        )
        attempts: dict[tuple[str, ...], int] = {}
        for (_, target, _, reason), attempted in self._attempts.items():
            labels = (target, str(reason))
            attempts[labels] = attempts.get(labels, 0) + sum(attempted.duration.counts)
        yield Family(
            name="fairlead_attempts_total",
            kind="counter",
            help="Calls to targets: `ok`, or the kind of failure.",
            labels=("target", "reason"),
            series=tuple(Series(labels=labels, value=count) for labels, count in attempts.items()),
        )
        yield Family(
            name="fairlead_stalls_total",
            kind="counter",
            help="Gaps between a stream's content events of at least `telemetry.stall_s`.",
            labels=("model", "target"),
            series=self._summed(by_target, attrgetter("stalls")),
        )
        yield Family(
            name="fairlead_stall_seconds_total",
            kind="counter",
            help="How long stalls were, together.",
            labels=("model", "target"),
            series=self._summed(by_target, attrgetter("stalled_s")),
        )
        yield Family(
            name="fairlead_stream_outcome_total",
            kind="counter",
            help="Streamed answers by how they ended.",
            labels=("outcome",),
            series=tuple(Series(labels=(name,), value=count) for name, count in self._streams.items()),
        )
        yield single(
            "fairlead_metrics_overflow_total",
            "counter",
            "Requests counted under `other` because there are too many names or combinations of labels.",
            self._overflow,
        )

    def _histograms(self) -> Iterator[Family]:
        yield self._histogram(
            DURATIONS,
            "From the request's arrival to the end of its answer.",
            ("model", "endpoint", "outcome"),
            DURATION_BOUNDS_S,
            by_endpoint,
            _tallied("duration"),
        )
        yield self._histogram(
            TTFTS,
            "From a streamed request's arrival to its first token.",
            ("model", "target"),
            TTFT_BOUNDS_S,
            by_target,
            _tallied("ttft"),
        )
        yield self._histogram(
            "fairlead_itl_seconds",
            "Gaps between a stream's content events; for most engines one event is one token.",
            ("model", "target"),
            SHOWN_ITL_BOUNDS_S,
            by_target,
            _gaps,
        )
        yield self._histogram(
            "fairlead_output_tokens_per_second",
            "Output tokens of a stream after the first one, by the time they took.",
            ("model", "target"),
            RATE_BOUNDS,
            by_target,
            _tallied("rate"),
        )
        yield self._histogram(
            "fairlead_queue_wait_seconds",
            "Time requests waited in the gateway's own queue.",
            ("model",),
            QUEUE_BOUNDS_S,
            by_model,
            _tallied("queue"),
        )
        yield self._phases()
        yield Family(
            name="fairlead_overhead_seconds",
            kind="histogram",
            help="Time the gateway itself added before the upstream was asked.",
            bounds=OVERHEAD_BOUNDS_S,
            series=(Series(value=float(self._overhead.total), counts=tuple(self._overhead.counts)),),
        )

    def _summed(
        self, labels: Callable[[Key], tuple[str, ...]], value: Callable[[Cell], float]
    ) -> tuple[Series, ...]:
        """One series for each distinct `labels`, where it is not zero."""
        sums: dict[tuple[str, ...], float] = {}
        for key, cell in self._cells.items():
            if count := value(cell):
                name = labels(key)
                sums[name] = sums.get(name, 0) + count
        return tuple(Series(labels=name, value=count) for name, count in sums.items())

    def _histogram(
        self,
        name: str,
        text: str,
        label_names: tuple[str, ...],
        bounds: tuple[float, ...],
        labels: Callable[[Key], tuple[str, ...]],
        observed: _Observed,
    ) -> Family:
        """The cells' histograms, added up to one for each distinct `labels`."""
        counts: dict[tuple[str, ...], tuple[int, ...]] = {}
        sums: dict[tuple[str, ...], float] = {}
        for key, cell in self._cells.items():
            ours, total = observed(cell)
            if any(ours):
                to = labels(key)
                counts[to] = histogram.merged(counts.get(to, ()), ours)
                sums[to] = sums.get(to, 0.0) + total
        seen = self._exemplars.of(name) if self._exemplars is not None else {}
        return Family(
            name=name,
            kind="histogram",
            help=text,
            labels=label_names,
            bounds=bounds,
            series=tuple(
                Series(labels=to, value=sums[to], counts=counts[to], exemplars=seen.get(to, ()))
                for to in counts
            ),
        )

    def _phases(self) -> Family:
        counts: dict[tuple[str, ...], tuple[int, ...]] = {}
        sums: dict[tuple[str, ...], float] = {}
        for phase in PHASES:
            for key, cell in self._cells.items():
                tally = cell.phases.get(phase)
                if tally is not None:
                    to = (phase, *by_target(key))
                    counts[to] = histogram.merged(counts.get(to, ()), tally.counts)
                    sums[to] = sums.get(to, 0.0) + tally.total
        return Family(
            name="fairlead_phase_seconds",
            kind="histogram",
            help="Where the time at upstreams went: `connect` of requests that needed a new connection, and "
            "`engine_queue`, `prefill`, `decode` and `network` of those whose engine tells.",
            labels=("phase", "model", "target"),
            bounds=DURATION_BOUNDS_S,
            series=tuple(Series(labels=to, value=sums[to], counts=counts[to]) for to in counts),
        )


def _tallied(name: str) -> _Observed:
    """The histogram that a cell keeps under this name."""
    tally_of: Callable[[Cell], Tally] = attrgetter(name)

    def observed(cell: Cell) -> tuple[Sequence[int], float]:
        tally = tally_of(cell)
        return tally.counts, tally.total

    return observed


def _gaps(cell: Cell) -> tuple[Sequence[int], float]:
    if not any(cell.itl):
        return (), 0.0
    return histogram.coarsened(ITL_BOUNDS_S, cell.itl, SHOWN_ITL_BOUNDS_S), cell.itl_sum


def by_model(key: Key) -> tuple[str, ...]:
    """Labels: model."""
    return (key[0],)


def by_target(key: Key) -> tuple[str, ...]:
    """Labels: model and target."""
    return key[:2]


def by_endpoint(key: Key) -> tuple[str, ...]:
    """Labels: model, endpoint and outcome."""
    return (key[0], key[2], str(key[3]))


def by_outcome(key: Key) -> tuple[str, ...]:
    """Labels: model, endpoint, outcome and the class of the status."""
    return (key[0], key[2], str(key[3]), f"{key[4]}xx")
