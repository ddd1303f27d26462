"""The gateway's metrics: folded from records, given out as families.

Records fold into cells, one for each (model, target, endpoint, outcome,
status class), so a record costs one dictionary look-up and a few bisections;
the metrics with fewer labels are sums over cells, made when somebody asks.
Nothing here is called while a request is under way, and nothing does I/O.

The numbers of names and of cells are bounded: what comes beyond folds into
cells labelled `other`, and `fairlead_metrics_overflow_total` counts it. Values
that others keep (requests in flight, breaker states) are not folded; the
caller passes them as `Reading`s when it asks for the families.

Names, labels and buckets are a contract with dashboards and alerts: see
`readings` and the families built at the end of this module.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from fairlead.telemetry import histogram
from fairlead.telemetry.labels import OTHER, clean
from fairlead.telemetry.readings import Reading, families_of
from fairlead.telemetry.samples import Family, Series, single
from fairlead.types import ITL_BOUNDS_S, Attempt, FailureKind, Outcome, RequestRecord

DURATION_BOUNDS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56,
    5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
)  # fmt: skip
"""Those of OpenTelemetry's `gen_ai.server.request.duration`, continued at both ends."""

TTFT_BOUNDS_S: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 0.75,
    1.0, 1.5, 2.5, 5.0, 7.5, 10.0, 20.0, 30.0, 60.0, 120.0,
)  # fmt: skip
"""Those of OpenTelemetry's `gen_ai.server.time_to_first_token`, refined and continued."""

OVERHEAD_BOUNDS_S: Final = (
    0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1,
)  # fmt: skip
QUEUE_BOUNDS_S: Final = (
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip

_ITL_BUCKETS: Final = len(ITL_BOUNDS_S) + 1
_STALLS: Final = (FailureKind.TIMEOUT, FailureKind.TOO_SLOW)


_Key = tuple[str, str, str, str, int]


class _Cell:
    """What the records of one key add up to."""

    __slots__ = (
        "cache_write", "cached", "duration", "duration_sum", "input", "itl", "itl_new", "itl_sum", "output",
        "queue", "queue_sum", "reasoning", "requests", "ttft", "ttft_sum", "unpriced",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.unpriced = 0
        self.duration = [0] * (len(DURATION_BOUNDS_S) + 1)
        self.ttft = [0] * (len(TTFT_BOUNDS_S) + 1)
        self.itl = (0,) * _ITL_BUCKETS
        self.itl_new: list[tuple[int, ...]] = []
        """Histograms to be added to `itl`: many at once cost a fifth of one by one."""
        self.queue = [0] * (len(QUEUE_BOUNDS_S) + 1)
        self.duration_sum = self.ttft_sum = self.itl_sum = self.queue_sum = 0.0
        self.input = self.output = self.cached = self.cache_write = self.reasoning = 0


class Metrics:
    """The accumulated metrics of one worker; a sink of the recorder."""

    def __init__(self, *, version: str = "", max_names: int = 200, max_cells: int = 4000) -> None:
        """Start at zero.

        Args:
            version: the product's version, for `fairlead_build_info`.
            max_names: models, and targets, that are kept apart.
            max_cells: combinations of labels that are kept apart.
        """
        self._version = version
        self._max_names = max_names
        self._max_cells = max_cells
        self._models: set[str] = set()
        self._targets: set[str] = set()
        self._cells: dict[_Key, _Cell] = {}
        self._attempts: dict[tuple[str, str], int] = {}
        self._costs: dict[tuple[str, str], int] = {}
        """Micro-dollars by model and target."""
        self._streams: dict[str, int] = {}
        self._streamed: list[_Cell] = []
        """Cells with something in `itl_new`."""
        self._overhead = [0] * (len(OVERHEAD_BOUNDS_S) + 1)
        self._overhead_sum = 0.0
        self._overflow = 0

    @property
    def backlog(self) -> int:
        """Always 0: what is taken is counted."""
        return 0

    async def commit(self) -> None:
        """Nothing to do: what is taken is counted."""

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Count each record, in about a microsecond."""
        cells = self._cells
        overhead = self._overhead
        for record in records:
            cell = cells.get(
                (record.model, record.target, record.endpoint, record.outcome, record.status // 100)
            )
            if cell is None:
                cell = self._cell(record)
            cell.requests += 1
            seconds = record.duration_s
            cell.duration[bisect_left(DURATION_BOUNDS_S, seconds)] += 1
            cell.duration_sum += seconds
            usage = record.usage
            cell.input += usage.input_tokens
            cell.output += usage.output_tokens
            if usage.cache_read_tokens:
                cell.cached += usage.cache_read_tokens
            if usage.cache_write_tokens:
                cell.cache_write += usage.cache_write_tokens
            if record.cost_microusd is not None:
                if record.cost_microusd:
                    self._count_cost(record)
            elif usage.input_tokens or usage.output_tokens:
                cell.unpriced += 1
            if usage.reasoning_tokens:
                cell.reasoning += usage.reasoning_tokens
            if record.attempts:
                seconds = max(record.overhead_s, 0.0)
                overhead[bisect_left(OVERHEAD_BOUNDS_S, seconds)] += 1
                self._overhead_sum += seconds
                seconds = record.queue_s
                cell.queue[bisect_left(QUEUE_BOUNDS_S, seconds) if seconds else 0] += 1
                cell.queue_sum += seconds
                self._count_attempts(record.attempts)
            if record.stream:
                self._count_stream(cell, record)
        for cell in self._streamed:
            cell.itl = tuple(map(sum, zip(cell.itl, *cell.itl_new, strict=True)))
            cell.itl_new.clear()
        self._streamed.clear()

    def _cell(self, record: RequestRecord) -> _Cell:
        """The cell of a key that is not known as it stands: new, with odd names, or one too many."""
        status_class = min(max(record.status // 100, 0), 9)
        key = (
            self._bounded(record.model, self._models),
            self._bounded(record.target, self._targets),
            clean(record.endpoint),
            record.outcome,
            status_class,
        )
        if key not in self._cells and len(self._cells) >= self._max_cells:
            key = (OTHER, OTHER, OTHER, record.outcome, status_class)
        if OTHER in key:
            self._overflow += 1
        return self._cells.setdefault(key, _Cell())

    def _bounded(self, name: str, known: set[str]) -> str:
        """`name` as a label: itself, cleaned, while there are few; `other` once there are many."""
        name = clean(name)
        if name in known:
            return name
        if len(known) >= self._max_names:
            return OTHER
        known.add(name)
        return name

    def _count_attempts(self, attempts: tuple[Attempt, ...]) -> None:
        counts = self._attempts
        for attempt in attempts:
            failure = attempt.failure
            reason = "ok" if failure is None else failure.kind
            key = (attempt.target, reason)
            if key not in counts:
                key = (self._bounded(attempt.target, self._targets), reason)
                counts.setdefault(key, 0)
            counts[key] += 1

    def _count_cost(self, record: RequestRecord) -> None:
        """Each attempt's cost, for the target that has earned it."""
        costs = self._costs
        for attempt in record.attempts:
            if attempt.cost_microusd:
                key = (record.model, attempt.target)
                if key not in costs:
                    key = (
                        self._bounded(record.model, self._models),
                        self._bounded(attempt.target, self._targets),
                    )
                    if key not in costs and len(costs) >= self._max_cells:
                        key = (OTHER, OTHER)
                    costs.setdefault(key, 0)
                costs[key] += attempt.cost_microusd

    def _count_stream(self, cell: _Cell, record: RequestRecord) -> None:
        seconds = record.first_token_s
        if seconds > 0:
            cell.ttft[bisect_left(TTFT_BOUNDS_S, seconds)] += 1
            cell.ttft_sum += seconds
        if len(record.itl_counts) == _ITL_BUCKETS:
            if not cell.itl_new:
                self._streamed.append(cell)
            cell.itl_new.append(record.itl_counts)
            cell.itl_sum += record.itl_sum_s
        outcome = _stream_outcome(record)
        if outcome:
            self._streams[outcome] = self._streams.get(outcome, 0) + 1

    def families(self, readings: Iterable[Reading] = ()) -> tuple[Family, ...]:
        """Every metric as it stands, with the caller's `readings`.

        Raises:
            KeyError: for a reading that `readings` does not name.
        """
        return (*self._counters(), *self._histograms(), *families_of(readings), self._build_info())

    def _counters(self) -> Iterator[Family]:
        yield Family(
            name="fairlead_requests_total",
            kind="counter",
            help="Requests answered, by how they ended and by the class of the status sent.",
            labels=("model", "endpoint", "outcome", "status_class"),
            series=self._summed(_by_outcome, attrgetter("requests")),
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
                for series in self._summed(_by_model, attrgetter(kind))
            ),
        )
        yield Family(
            name="fairlead_cost_usd_total",
            kind="counter",
            help="What upstreams charge at the configured prices, by the target that was asked.",
            labels=("model", "target"),
            series=tuple(Series(labels=key, value=cost / 1e6) for key, cost in self._costs.items()),
        )
        yield Family(
            name="fairlead_unpriced_requests_total",
            kind="counter",
            help="Requests with tokens whose cost is not known, because their target has no prices.",
            labels=("model", "target"),
            series=self._summed(_by_target, attrgetter("unpriced")),
        )
        yield Family(
            name="fairlead_attempts_total",
            kind="counter",
            help="Calls to targets: `ok`, or the kind of failure.",
            labels=("target", "reason"),
            series=tuple(
                Series(labels=(target, str(reason)), value=count)
                for (target, reason), count in self._attempts.items()
            ),
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
            "fairlead_request_duration_seconds",
            "From the request's arrival to the end of its answer.",
            ("model", "endpoint", "outcome"),
            DURATION_BOUNDS_S,
            _by_endpoint,
            "duration",
        )
        yield self._histogram(
            "fairlead_ttft_seconds",
            "From a streamed request's arrival to its first token.",
            ("model", "target"),
            TTFT_BOUNDS_S,
            _by_target,
            "ttft",
        )
        yield self._histogram(
            "fairlead_itl_seconds",
            "Gaps between a stream's content events; for most engines one event is one token.",
            ("model", "target"),
            ITL_BOUNDS_S,
            _by_target,
            "itl",
        )
        yield self._histogram(
            "fairlead_queue_wait_seconds",
            "Time requests waited in the gateway's own queue.",
            ("model",),
            QUEUE_BOUNDS_S,
            _by_model,
            "queue",
        )
        yield Family(
            name="fairlead_overhead_seconds",
            kind="histogram",
            help="Time the gateway itself added before the upstream was asked.",
            bounds=OVERHEAD_BOUNDS_S,
            series=(Series(value=self._overhead_sum, counts=tuple(self._overhead)),),
        )

    def _summed(
        self, labels: Callable[[_Key], tuple[str, ...]], value: Callable[[_Cell], int]
    ) -> tuple[Series, ...]:
        """One series for each distinct `labels`, where it is not zero."""
        sums: dict[tuple[str, ...], int] = {}
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
        labels: Callable[[_Key], tuple[str, ...]],
        field: str,
    ) -> Family:
        """The cells' histograms in `field`, added up to one for each distinct `labels`."""
        counts_of: Callable[[_Cell], Sequence[int]] = attrgetter(field)
        sum_of: Callable[[_Cell], float] = attrgetter(f"{field}_sum")
        counts: dict[tuple[str, ...], tuple[int, ...]] = {}
        sums: dict[tuple[str, ...], float] = {}
        for key, cell in self._cells.items():
            observed = counts_of(cell)
            if any(observed):
                to = labels(key)
                counts[to] = histogram.merged(counts.get(to, ()), observed)
                sums[to] = sums.get(to, 0.0) + sum_of(cell)
        return Family(
            name=name,
            kind="histogram",
            help=text,
            labels=label_names,
            bounds=bounds,
            series=tuple(Series(labels=to, value=sums[to], counts=counts[to]) for to in counts),
        )

    def _build_info(self) -> Family:
        return Family(
            name="fairlead_build_info",
            kind="gauge",
            help="Always 1; the labels say what is running.",
            labels=("version", "python"),
            series=(Series(labels=(self._version, platform.python_version()), value=1),),
            merge="max",
        )


def _by_model(key: _Key) -> tuple[str, ...]:
    return (key[0],)


def _by_target(key: _Key) -> tuple[str, ...]:
    return key[:2]


def _by_endpoint(key: _Key) -> tuple[str, ...]:
    return (key[0], key[2], str(key[3]))


def _by_outcome(key: _Key) -> tuple[str, ...]:
    return (key[0], key[2], str(key[3]), f"{key[4]}xx")


def _stream_outcome(record: RequestRecord) -> str:
    """How a stream ended, "" when the request was refused and there was none."""
    match record.outcome:
        case Outcome.OK:
            return "complete"
        case Outcome.CUT:
            failure = record.attempts[-1].failure if record.attempts else None
            return "stalled" if failure is not None and failure.kind in _STALLS else "cut"
        case Outcome.CLIENT_GONE:
            return "client_gone"
        case Outcome.FAILED:
            return "failed"
        case _:
            return ""
