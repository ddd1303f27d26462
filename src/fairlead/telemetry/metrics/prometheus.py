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
`readings`, `views` and `genai`.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

from fairlead.telemetry.labels import OTHER, clean
from fairlead.telemetry.metrics import genai
from fairlead.telemetry.metrics.cells import (
    DURATION_BOUNDS_S,
    OVERHEAD_BOUNDS_S,
    TTFT_BOUNDS_S,
    AttemptCell,
    AttemptKey,
    Cell,
    Key,
    Tally,
)
from fairlead.telemetry.metrics.conventions import Peer
from fairlead.telemetry.metrics.exemplars import Exemplars, sampled_trace
from fairlead.telemetry.metrics.readings import Reading, families_of
from fairlead.telemetry.metrics.samples import Exemplar, Family, Series
from fairlead.telemetry.metrics.views import DURATIONS, TTFTS, Views, by_endpoint, by_target
from fairlead.types import FailureKind, Outcome, RequestRecord

_STALLS: Final = (FailureKind.TIMEOUT, FailureKind.TOO_SLOW)
_BROKEN: Final = (*_STALLS, FailureKind.CUT, FailureKind.DISCONNECTED)


class Metrics:
    """The accumulated metrics of one worker; a sink of the recorder."""

    def __init__(
        self, *, version: str = "", max_names: int = 200, max_cells: int = 4000, exemplars: bool = True
    ) -> None:
        """Start at zero.

        Args:
            version: the product's version, for `fairlead_build_info`.
            max_names: models, and targets, that are kept apart.
            max_cells: combinations of labels that are kept apart.
            exemplars: keep the latest sampled trace of each bucket.
        """
        self._version = version
        self._max_names = max_names
        self._max_cells = max_cells
        self._models: set[str] = set()
        self._targets: set[str] = set()
        self._cells: dict[Key, Cell] = {}
        self._attempts: dict[AttemptKey, AttemptCell] = {}
        self._peers: dict[str, Peer] = {}
        self._exemplars = Exemplars() if exemplars else None
        self._costs: dict[tuple[str, str], int] = {}
        """Micro-dollars by model and target."""
        self._streams: dict[str, int] = {}
        self._touched: list[Cell | AttemptCell] = []
        """Those with something new to fold."""
        self._overhead = Tally(OVERHEAD_BOUNDS_S)
        self._overflow = 0

    def know(self, peers: Mapping[str, Peer]) -> None:
        """Label what was and will be counted by these providers, as they are configured now."""
        self._peers = dict(peers)

    @property
    def backlog(self) -> int:
        """Always 0: what is taken is counted."""
        return 0

    async def commit(self) -> None:
        """Nothing to do: what is taken is counted."""

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Count each record, in about a microsecond."""
        cells = self._cells
        overhead = self._overhead.new
        for record in records:
            cell = cells.get(
                (record.model, record.target, record.endpoint, record.outcome, record.status // 100)
            )
            if cell is None:
                cell = self._cell(record)
            if not cell.duration.new:
                self._touched.append(cell)
            cell.duration.new.append(record.duration_s)
            cell.requests += 1
            usage = record.usage
            if usage.input_tokens:
                cell.input += usage.input_tokens
                cell.input_sizes.new.append(usage.input_tokens)
            if usage.output_tokens:
                cell.output += usage.output_tokens
                cell.output_sizes.new.append(usage.output_tokens)
            if usage.cache_read_tokens:
                cell.cached += usage.cache_read_tokens
            if usage.cache_write_tokens:
                cell.cache_write += usage.cache_write_tokens
            if usage.reasoning_tokens:
                cell.reasoning += usage.reasoning_tokens
            if record.cost_microusd is not None:
                if record.cost_microusd:
                    self._count_cost(record)
            elif usage.input_tokens or usage.output_tokens:
                cell.unpriced += 1
            if record.attempts:
                overhead.append(max(record.overhead_s, 0.0))
                cell.queue.new.append(record.queue_s)
                self._count_attempts(cell, record)
                if record.connect_s or record.engine_source:
                    cell.count_phases(record)
            if record.stream:
                cell.count_stream(record)
                outcome = _stream_outcome(record)
                if outcome:
                    self._streams[outcome] = self._streams.get(outcome, 0) + 1
            if (record.trace_parent or record.trace) and self._exemplars is not None:
                self._note_trace(self._exemplars, cell, record)
        self._overhead.fold()
        while self._touched:
            self._touched.pop().fold()

    def _cell(self, record: RequestRecord) -> Cell:
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
        return self._cells.setdefault(key, Cell(key))

    def _bounded(self, name: str, known: set[str]) -> str:
        """`name` as a label: itself, cleaned, while there are few; `other` once there are many."""
        name = clean(name)
        if name in known:
            return name
        if len(known) >= self._max_names:
            return OTHER
        known.add(name)
        return name

    def _count_attempts(self, cell: Cell, record: RequestRecord) -> None:
        streamed = record.stream
        for attempt in record.attempts:
            failure = attempt.failure
            counted = cell.answered if failure is None and attempt.target == record.target else None
            if counted is None:
                reason = "ok" if failure is None else failure.kind
                target = self._bounded(attempt.target, self._targets)
                counted = self._attempt_cell((cell.key[0], target, cell.key[2], reason))
                if failure is None and attempt.target == record.target:
                    cell.answered = counted
            if not counted.duration.new:
                self._touched.append(counted)
            counted.add(attempt, streamed=streamed)

    def _attempt_cell(self, key: AttemptKey) -> AttemptCell:
        attempts = self._attempts
        found = attempts.get(key)
        if found is None:
            if len(attempts) >= self._max_cells:
                key = (OTHER, OTHER, OTHER, key[3])
            found = attempts.setdefault(key, AttemptCell())
        return found

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

    def _note_trace(self, exemplars: Exemplars, cell: Cell, record: RequestRecord) -> None:
        """Let a sampled trace stand for the buckets that its request was counted in."""
        trace_id = sampled_trace(record.trace or record.trace_parent)
        if not trace_id:
            return
        ended_at = record.started_at + record.duration_s
        seconds = record.duration_s
        bucket = bisect_left(DURATION_BOUNDS_S, seconds)
        seen = Exemplar(bucket=bucket, trace_id=trace_id, value=seconds, at=ended_at)
        exemplars.note(DURATIONS, by_endpoint(cell.key), seen)
        if record.stream and record.first_token_s > 0:
            seconds = record.first_token_s
            bucket = bisect_left(TTFT_BOUNDS_S, seconds)
            seen = Exemplar(bucket=bucket, trace_id=trace_id, value=seconds, at=ended_at)
            exemplars.note(TTFTS, by_target(cell.key), seen)

    def families(self, readings: Iterable[Reading] = ()) -> tuple[Family, ...]:
        """Every metric as it stands, with the caller's `readings`.

        Raises:
            KeyError: for a reading that `readings` does not name.
        """
        return (
            *self._views().families(),
            *genai.families(self._cells.values(), self._attempts, self._peers),
            *families_of(readings),
            self._build_info(),
        )

    def _views(self) -> Views:
        return Views(
            cells=self._cells,
            attempts=self._attempts,
            costs=self._costs,
            streams=self._streams,
            overhead=self._overhead,
            overflow=self._overflow,
            exemplars=self._exemplars,
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


def _stream_outcome(record: RequestRecord) -> str:
    """How a stream ended, "" when the request was refused and there was none."""
    match record.outcome:
        case Outcome.OK:
            resumed = len(record.attempts) > 1 and any(
                attempt.failure is not None and attempt.failure.kind in _BROKEN and attempt.first_token_s
                for attempt in record.attempts[:-1]
            )
            return "resumed" if resumed else "complete"
        case Outcome.CUT:
            failure = record.attempts[-1].failure if record.attempts else None
            return "stalled" if failure is not None and failure.kind in _STALLS else "cut"
        case Outcome.CLIENT_GONE:
            return "client_gone"
        case Outcome.FAILED:
            return "failed"
        case _:
            return ""
