"""Percentiles of latencies and token counts over any window, from roll-ups.

A window is put together from whole days, hours at their sides and minutes at
its ends, so that a month is a few thousand small rows however many requests it
had. What the journal still holds is added. One query sees all of it as of one
moment, and no request twice.

A window begins and ends on minutes: it is widened to them, and further where
only hours or days are left. The answer says what it is of.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast, get_args

import msgspec

from fairlead.errors import InvalidRequest
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.ledger.rollup import MINUTE_S, SPANS_S, Batch, Rolling, Series
from fairlead.telemetry.ledger.rollup_db import kept_from_of
from fairlead.telemetry.ledger.sketch import Tally, summary

Measure = Literal["ttft", "duration", "gap", "pace", "prompt", "output"]
Field = Literal["tenant", "key", "model", "target", "endpoint", "outcome", "hour", "day"]
"""What answers may be grouped by."""

MOST_GROUPS: Final = 2000
"""Groups of one answer."""
TOKENS: Final[frozenset[Measure]] = frozenset({"prompt", "output"})
"""Measures in tokens; the others are in seconds."""

_COLUMN: Final[dict[str, str]] = {
    "tenant": "tenant",
    "key": "key_id",
    "model": "model",
    "target": "target",
    "endpoint": "endpoint",
    "outcome": "outcome",
}
_NAMES: Final = tuple(_COLUMN.values())
_TIMES: Final = {"hour": 3600, "day": 86_400}
_SLICE: Final = 40
"""Rows merged between two turns of the event loop: about 0.2 ms."""
_LATEST: Final = 253_402_300_800


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked; what is left at its default does not matter."""

    since: float = 0.0
    """Unix seconds, inclusive."""
    until: float
    """Unix seconds, exclusive."""
    tenants: Collection[str] | None = None
    key_id: str | None = None
    model: str | None = None
    target: str | None = None
    endpoint: str | None = None
    outcome: str | None = None
    by: tuple[Field, ...] = ()
    percentiles: tuple[float, ...] = (50.0, 95.0, 99.0)
    measures: tuple[Measure, ...] = ("ttft", "gap", "duration")


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of one group."""

    count: int
    """Observations: requests that have it, or gaps."""
    values: tuple[float, ...]
    """At the percentiles that were asked for, in seconds or tokens; empty without observations."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that have these names in common."""

    names: dict[str, str]
    requests: int
    input_tokens: int
    output_tokens: int
    measures: dict[str, Distribution]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, for a window that may be a little wider."""

    since: float
    until: float
    groups: tuple[Group, ...]
    """Sorted by their names."""


class Stretch(msgspec.Struct, frozen=True, array_like=True):
    """Roll-ups of one span from `start` to before `stop`, in Unix seconds."""

    span_s: int
    start: int
    stop: int


async def ask(database: Database, question: Question) -> Answer:
    """Answer one question; the event loop goes on meanwhile.

    Raises:
        InvalidRequest: there are more than `MOST_GROUPS` groups.
        StorageError: the database failed.
    """
    ordered = tuple(name for name in get_args(Measure) if name in question.measures)
    question = msgspec.structs.replace(question, measures=ordered)
    kept_from = await kept_from_of(database)
    coarsest = min((_TIMES[name] for name in question.by if name in _TIMES), default=SPANS_S[-1])
    start, stop = widened(question.since, question.until, kept_from)
    # What is older is no longer there, or not told apart as is asked.
    start = min(max(start, kept_from[coarsest]), stop)
    stretches = cover(start, stop, coarsest)
    sql, params = _query(question, stretches)
    rows = await database.fetch(sql, params)
    names = await _names(database, question)
    groups = _Groups(question, names)
    for number, row in enumerate(rows):
        if row[0] is None:
            await groups.add_journal(row, start, stop)
        else:
            groups.add_stored(row)
        if number % _SLICE == 0:
            await asyncio.sleep(0)
    return Answer(since=start, until=stop, groups=await groups.result())


def widened(since: float, until: float, kept_from: Mapping[int, int]) -> tuple[int, int]:
    """The smallest window around this one that roll-ups which are still there can answer."""
    start = int(min(max(since, 0.0), _LATEST) // MINUTE_S) * MINUTE_S
    stop = -(-math.ceil(min(max(until, 0.0), _LATEST)) // MINUTE_S) * MINUTE_S
    for span_s, coarser in itertools.pairwise(SPANS_S):
        if start < kept_from[span_s]:
            start = start // coarser * coarser
        if stop < kept_from[span_s]:
            stop = -(-stop // coarser) * coarser
    return start, max(start, stop)


def cover(start: int, stop: int, coarsest: int = SPANS_S[-1]) -> list[Stretch]:
    """Stretches of spans, none longer than `coarsest`, that are the window exactly; in no order."""
    spans = [span_s for span_s in reversed(SPANS_S) if span_s <= coarsest]
    found: list[Stretch] = []
    left = [(start, stop, 0)]
    while left:
        begin, end, place = left.pop()
        if begin >= end:
            continue
        span_s = spans[place]
        inner, outer = -(-begin // span_s) * span_s, end // span_s * span_s
        if inner < outer:
            found.append(Stretch(span_s, inner, outer))
            left += [(begin, inner, place + 1), (outer, end, place + 1)]
        else:
            left.append((begin, end, place + 1))
    return found


def _query(question: Question, stretches: Sequence[Stretch]) -> tuple[str, list[Value]]:
    """One statement for everything: roll-ups, and the journal with NULL for a series."""
    sketches = "".join(f", {name}" for name in question.measures)
    condition, values = _conditions(question)
    whose = f" AND series IN (SELECT id FROM rollup_series WHERE {condition})" if condition else ""  # noqa: S608  # constants only
    parts = [
        "SELECT NULL, 0, 0, 0, 0, batch" + ", NULL" * (len(question.measures) - 1) + " FROM rollup_journal"
    ]
    params: list[Value] = []
    for stretch in stretches:
        parts.insert(
            0,
            f"SELECT series, start_at, requests, input_tokens, output_tokens{sketches} FROM rollups "  # noqa: S608  # constants only
            f"WHERE span_s = ? AND start_at >= ? AND start_at < ?{whose}",
        )
        params += [stretch.span_s, stretch.start, stretch.stop, *values]
    return " UNION ALL ".join(parts), params


def _conditions(question: Question) -> tuple[str, list[Value]]:
    """SQL about a series, with its parameters; empty when any will do."""
    named: tuple[tuple[str, str | None], ...] = (
        ("key_id", question.key_id),
        ("model", question.model),
        ("target", question.target),
        ("endpoint", question.endpoint),
        ("outcome", question.outcome),
    )
    conditions = [f"{column} = ?" for column, value in named if value is not None]
    values: list[Value] = [value for _, value in named if value is not None]
    if question.tenants is not None:
        # Of no tenant there is nothing, and `IN ()` is no SQL.
        marks = ", ".join("?" * len(question.tenants))
        conditions.append(f"tenant IN ({marks})" if question.tenants else "1 = 0")
        values += question.tenants
    return " AND ".join(conditions), values


async def _names(database: Database, question: Question) -> dict[int, tuple[str, ...]]:
    """The names that series are grouped by; empty when they are not."""
    columns = [_COLUMN[name] for name in question.by if name in _COLUMN]
    if not columns:
        return {}
    condition, values = _conditions(question)
    where = f" WHERE {condition}" if condition else ""
    rows = await database.fetch(
        f"SELECT id, {', '.join(columns)} FROM rollup_series{where}",  # noqa: S608  # constants only
        values,
    )
    return {int(number or 0): tuple(map(str, names)) for number, *names in rows}


class _Total:
    """What one group adds up to; `tallies` are in the order of the question's measures."""

    __slots__ = ("input_tokens", "output_tokens", "requests", "tallies")

    def __init__(self, measures: int) -> None:
        self.requests = self.input_tokens = self.output_tokens = 0
        self.tallies = [Tally() for _ in range(measures)]


class _Groups:
    """Sums by group."""

    def __init__(self, question: Question, names: Mapping[int, tuple[str, ...]]) -> None:
        self._question = question
        self._names = names
        self._span_s = min((_TIMES[name] for name in question.by if name in _TIMES), default=0)
        self._totals: dict[tuple[int, tuple[str, ...]], _Total] = {}
        self._decode = msgspec.msgpack.Decoder(Batch).decode

    def add_stored(self, row: Row) -> None:
        """Add a stored roll-up, in a few microseconds."""
        series, at, requests, prompt, output, *sketches = cast(tuple[Any, ...], row)
        total = self._total(self._moment(at), self._names.get(series, ()))
        total.requests += requests
        total.input_tokens += prompt
        total.output_tokens += output
        for tally, stored in zip(total.tallies, sketches, strict=True):
            if stored:
                tally.add_stored(stored)

    async def add_journal(self, row: Row, start: int, stop: int) -> None:
        """Add what of a row of the journal began in the window and is asked for."""
        stored = row[5]
        try:
            batch = self._decode(stored if isinstance(stored, bytes) else b"")
        except msgspec.MsgspecError:
            return  # told of where it is rolled up
        if not batch.whole():
            return
        rolling = Rolling(lambda at, series: self._key(at, series) if start <= at < stop else None)
        for begin in range(0, len(batch.started_at), _SLICE):
            rolling.add(batch, begin, begin + _SLICE)
            await asyncio.sleep(0)
        for key, rollup in rolling.rollups(self._question.measures):
            total = self._total(*key)
            total.requests += rollup.requests
            total.input_tokens += rollup.input_tokens
            total.output_tokens += rollup.output_tokens
            for tally, merged in zip(total.tallies, rollup.sketches, strict=True):
                tally.add(merged)
            await asyncio.sleep(0)

    async def result(self) -> tuple[Group, ...]:
        """Every group."""
        groups = []
        for (at, names), total in sorted(self._totals.items(), key=lambda entry: entry[0]):
            groups.append(self._group(at, names, total))
            await asyncio.sleep(0)
        return tuple(groups)

    def _total(self, at: int, names: tuple[str, ...]) -> _Total:
        found = self._totals.get((at, names))
        if found is None:
            if len(self._totals) == MOST_GROUPS:
                raise InvalidRequest(
                    f"there are more than {MOST_GROUPS} groups", hint="group by less, or ask for less"
                )
            found = self._totals[at, names] = _Total(len(self._question.measures))
        return found

    def _key(self, at: int, series: Series) -> tuple[int, tuple[str, ...]] | None:
        """The group of a minute's series; None when it was not asked for."""
        question = self._question
        wanted = (None, question.key_id, question.model, question.target, question.endpoint, question.outcome)
        if question.tenants is not None and series.tenant not in question.tenants:
            return None
        if any(value is not None and name != value for name, value in zip(series, wanted, strict=True)):
            return None
        return self._moment(at), tuple(
            series[_NAMES.index(_COLUMN[name])] for name in question.by if name in _COLUMN
        )

    def _moment(self, at: int) -> int:
        return at // self._span_s * self._span_s if self._span_s else 0

    def _group(self, at: int, names: tuple[str, ...], total: _Total) -> Group:
        question = self._question
        left = iter(names)
        return Group(
            names={name: next(left) if name in _COLUMN else _moment(name, at) for name in question.by},
            requests=total.requests,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            measures={
                measure: _distribution(measure, tally.sketch(), question.percentiles)
                for measure, tally in zip(question.measures, total.tallies, strict=True)
            },
        )


def _moment(field: Field, at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d" if field == "day" else "%Y-%m-%dT%H:00Z")


def _distribution(measure: Measure, merged: int, percentiles: Sequence[float]) -> Distribution:
    count, found = summary(merged, [percentile / 100 for percentile in percentiles])
    unit = 1.0 if measure in TOKENS else 1e-6
    return Distribution(count=count, values=tuple(value * unit for value in found))
