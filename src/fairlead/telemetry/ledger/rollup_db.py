"""The tables of roll-ups: journal rows become roll-ups, exactly once.

A step reads the version, some rows of the journal and the roll-ups that they
change, and writes the sums in one transaction, whose first statement fails
when the version is another one meanwhile. So any number of processes may do
this at once, and one that dies in the middle has done nothing.

What was written before there was a journal (`requests.rolled_up` is 0) is put
into it, batch by batch, in the same way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from fairlead.errors import StatementRejected
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.ledger.rollup import (
    MEASURES,
    SPANS_S,
    Batch,
    Place,
    Rolling,
    Rollup,
    Series,
    add_to_spans,
)
from fairlead.telemetry.ledger.sketch import decode, encode

_log: Final = logging.getLogger(__name__)

_BATCHES: Final = 32
"""Journal rows of one step: up to sixteen thousand requests."""
_ENOUGH: Final = 1000
"""Series and minutes after which a step takes no further row: three roll-ups are written for each."""
_SLICE: Final = 100
"""Requests counted between two turns of the event loop: about 0.2 ms."""
_CELLS: Final = 4
"""Roll-ups made or merged between two turns of the event loop."""
_ASKED: Final = 128
"""Series of one query."""
_EXPIRE_ROWS: Final = 1000
_DAY_S: Final = 86_400

_COLUMNS: Final = ("span_s", "start_at", "series", "requests", "input_tokens", "output_tokens", *MEASURES)
_SIZES: Final = (64, 8, 1)
_UPSERTS: Final = {
    size: f"INSERT INTO rollups ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608  # constants only
    + ", ".join(["(" + ", ".join("?" * len(_COLUMNS)) + ")"] * size)
    + " ON CONFLICT (span_s, start_at, series) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS[3:])
    for size in _SIZES
}
_SERIES: Final = (
    "INSERT INTO rollup_series (id, tenant, key_id, model, target, endpoint, outcome, seen_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at "
    "WHERE rollup_series.seen_at < excluded.seen_at"
)
_GUARD: Final = "UPDATE rollup_state SET version = CASE WHEN version = ? THEN version + 1 END WHERE id = 1"
"""Sets NULL, which the column refuses, when the version is another one."""
_KNOWN: Final = 100_000
"""Series that are remembered as written."""

Statement = tuple[str, Sequence[Value]]


class Rollups:
    """Writes the tables of roll-ups."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decode = msgspec.msgpack.Decoder(Batch).decode
        self._known: dict[int, int] = {}
        """Days on which series were last written as seen."""
        self.conflicts = 0
        """Steps that another process was faster with."""
        self.damaged = 0
        """Journal rows that could not be read, and were dropped."""

    async def step(self) -> bool:
        """Roll some of the journal up; False when it is empty.

        Raises:
            StorageError: nothing was done.
        """
        version = await self._version()
        rows = await self._database.fetch("SELECT id, batch FROM rollup_journal LIMIT ?", (_BATCHES,))
        if not rows:
            return False
        names, totals = await self._counted(rows)
        await self._merge_stored(totals)
        marks = ", ".join("?" * len(names))
        drop = (f"DELETE FROM rollup_journal WHERE id IN ({marks})", names)  # noqa: S608  # marks only
        seen = self._seen(totals)
        series = [(_SERIES, (one.id, *one, day)) for one, day in seen.items()]
        written: list[Statement] = [drop, *series, *(await _upserts(totals))]
        if await self._commit(version, written):
            if len(self._known) > _KNOWN:
                self._known.clear()
            self._known.update((one.id, day) for one, day in seen.items())
        return True

    async def adopt(self, name: str, ids: Collection[str], batch: Batch) -> bool:
        """Put requests from before there was a journal into it, under a name of their own.

        False when another process changed something meanwhile: ask again which are left.
        """
        version = await self._version()
        marks = ", ".join("?" * len(ids))
        left = await self._database.fetch(
            f"SELECT COUNT(*) FROM requests WHERE rolled_up = 0 AND id IN ({marks})",  # noqa: S608  # marks only
            tuple(ids),
        )
        if left[0][0] != len(ids):
            return False
        return await self._commit(
            version,
            [
                (
                    "INSERT INTO rollup_journal (id, batch) VALUES (?, ?)",
                    (name, msgspec.msgpack.encode(batch)),
                ),
                (
                    f"UPDATE requests SET rolled_up = 1 WHERE id IN ({marks})",  # noqa: S608  # marks only
                    tuple(ids),
                ),
            ],
        )

    async def expire(self, kept_from: Mapping[int, int], *, pause_s: float = 0.02) -> int:
        """Delete roll-ups that begin before `kept_from` (Unix seconds by span); the number deleted.

        Those are gone for queries at once. They are deleted at the next call, in small transactions with
        pauses, so that a query under way still finds them.
        """
        deleted = 0
        floors = await kept_from_of(self._database)
        for span_s in SPANS_S:
            floor = floors[span_s]
            deleted += await self._expire_span(span_s, floor, pause_s)
            # To whole days, so that no minute is missing of an hour or a day that is asked for by its parts.
            wanted = kept_from[span_s] // _DAY_S * _DAY_S
            if wanted > floor:
                await self._database.execute(
                    "UPDATE rollup_levels SET kept_from = ? WHERE span_s = ? AND kept_from < ?",
                    (wanted, span_s, wanted),
                )
        oldest = kept_from[SPANS_S[-1]] // _DAY_S * _DAY_S - _DAY_S
        await self._database.execute("DELETE FROM rollup_series WHERE seen_at < ?", (oldest,))
        return deleted

    async def _expire_span(self, span_s: int, before: int, pause_s: float) -> int:
        deleted = 0
        while True:
            rows = await self._database.fetch(
                "SELECT start_at FROM rollups WHERE span_s = ? AND start_at < ? "
                "ORDER BY start_at LIMIT 1 OFFSET ?",
                (span_s, before, _EXPIRE_ROWS),
            )
            # Whole spans: a little more than so many rows, when one has very many series.
            end = min(int(rows[0][0] or 0) + 1, before) if rows else before
            deleted += await self._database.execute(
                "DELETE FROM rollups WHERE span_s = ? AND start_at < ?", (span_s, end)
            )
            if not rows:
                return deleted
            await asyncio.sleep(pause_s)

    # --- parts of a step --------------------------------------------------------------------

    async def _version(self) -> int:
        rows = await self._database.fetch("SELECT version FROM rollup_state WHERE id = 1")
        return int(rows[0][0] or 0)

    async def _commit(self, version: int, statements: Iterable[Statement]) -> bool:
        """Write, unless another process was faster: then False."""
        try:
            await self._database.transaction([(_GUARD, (version,)), *statements])
        except StatementRejected:
            if await self._version() == version:
                raise
            self.conflicts += 1
            return False
        return True

    async def _counted(self, rows: Sequence[Row]) -> tuple[list[str], dict[Place, Rollup]]:
        """The names of the rows that were counted, and what they add up to."""
        names: list[str] = []
        rolling = Rolling(lambda at, series: (at, series))
        for name, stored in rows:
            if rolling.keys > _ENOUGH:
                break
            names.append(str(name))
            try:
                batch = self._decode(stored if isinstance(stored, bytes) else b"")
                if not batch.whole():
                    raise msgspec.ValidationError("its columns are of several lengths")
            except msgspec.MsgspecError as error:
                self.damaged += 1
                _log.error(
                    "a row of the roll-ups' journal cannot be read and is dropped",
                    extra={"row": name, "error": str(error)},
                )
                continue
            for start in range(0, len(batch.started_at), _SLICE):
                rolling.add(batch, start, start + _SLICE)
                await asyncio.sleep(0)
        totals: dict[Place, Rollup] = {}
        for number, ((at, series), rollup) in enumerate(rolling.rollups()):
            add_to_spans(totals, at, series, rollup)
            if number % _CELLS == 0:
                await asyncio.sleep(0)
        return names, totals

    async def _merge_stored(self, totals: dict[Place, Rollup]) -> None:
        """Add the roll-ups that are stored to those that were counted."""
        asked: dict[tuple[int, int], dict[int, Rollup]] = {}
        for (span_s, at, series), rollup in totals.items():
            asked.setdefault((span_s, at), {})[series.id] = rollup
        for (span_s, at), by_id in asked.items():
            ids = sorted(by_id)
            for start in range(0, len(ids), _ASKED):
                some = ids[start : start + _ASKED]
                rows = await self._database.fetch(
                    f"SELECT {', '.join(_COLUMNS[2:])} FROM rollups WHERE span_s = ? AND start_at = ? "  # noqa: S608  # constants only
                    f"AND series IN ({', '.join('?' * len(some))})",
                    (span_s, at, *some),
                )
                for number, (series_id, requests, prompt, output, *sketches) in enumerate(rows):
                    stored = Rollup(
                        int(requests or 0),
                        int(prompt or 0),
                        int(output or 0),
                        [decode(one) if isinstance(one, bytes) else 0 for one in sketches],
                    )
                    by_id[int(series_id or 0)].add(stored)
                    if number % _CELLS == 0:
                        await asyncio.sleep(0)

    def _seen(self, totals: Iterable[Place]) -> dict[Series, int]:
        """The series to be written as seen, with the day."""
        seen: dict[Series, int] = {}
        for span_s, at, series in totals:
            if span_s == _DAY_S and self._known.get(series.id, -1) < at and seen.get(series, -1) < at:
                seen[series] = at
        return seen


async def kept_from_of(database: Database) -> dict[int, int]:
    """From when on there are roll-ups, in Unix seconds, by span."""
    rows = await database.fetch("SELECT span_s, kept_from FROM rollup_levels")
    found = {int(span_s or 0): int(kept_from or 0) for span_s, kept_from in rows}
    return {span_s: found.get(span_s, 0) for span_s in SPANS_S}


async def _upserts(totals: Mapping[Place, Rollup]) -> list[Statement]:
    """The statements that write roll-ups, made in slices."""
    rows: list[list[Value]] = []
    for number, ((span_s, at, series), rollup) in enumerate(totals.items()):
        # Sums of what upstreams report may not fit a BIGINT.
        tokens = (min(rollup.input_tokens, _LARGEST), min(rollup.output_tokens, _LARGEST))
        rows.append([span_s, at, series.id, rollup.requests, *tokens, *map(encode, rollup.sketches)])
        if number % _CELLS == 0:
            await asyncio.sleep(0)
    return list(_statements(rows))


_LARGEST: Final = 2**63 - 1


def _statements(rows: list[list[Value]]) -> Iterator[Statement]:
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield _UPSERTS[size], [value for row in rows[start : start + size] for value in row]
            start += size
