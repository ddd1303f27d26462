"""The usage ledger: one row for each request, in SQL.

Writing is a sink of the recorder: records are encoded as they come and written
in one transaction of a few multi-row statements. One statement for hundreds of
rows matters more than its speed suggests: SQLite's driver gives up Python's
lock and takes it again at every statement, and on a busy gateway each taking
waits for the event loop's thread (measured: 430 rows a second one by one,
80,000 in statements of 256).

Reading never touches more than a bounded stretch of time per query, so that a
search over a month, or the deletion of one, neither fills memory nor keeps
others waiting.

Writing twice is harmless: a row whose id is there already is left as it is.
With each chunk of rows goes what `rollup_db` makes roll-ups of.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final, Literal, cast

import msgspec

from fairlead.errors import InvalidRequest, NotFound, StatementRejected
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.labels import LONGEST, clean
from fairlead.telemetry.ledger.rollup import Batch, batch_of
from fairlead.telemetry.ledger.rows import (
    CHUNK,
    COLUMNS,
    INSERT_ALONE,
    LISTED,
    ROLLED_UP_PLACES,
    WIDTH,
    Chunk,
    rows_of,
)
from fairlead.types import ITL_BOUNDS_S, Attempt, LimitFact, Outcome, RequestRecord, Usage

_log: Final = logging.getLogger(__name__)

_CHUNKS_PER_COMMIT: Final = 4

_OUTCOMES: Final = {outcome: outcome.value for outcome in Outcome}
"""An enum's `value` is a descriptor in Python, five times slower than this."""
_LARGEST: Final = 2**63 - 1
"""Of a BIGINT; an upstream may report any number of tokens."""
_SCAN_ROWS: Final = 20_000
"""Rows a single query of a search may look at."""
_SCANS: Final = 50
"""Queries a search makes before it returns what it has."""
_WINDOW_S: Final = 3600.0
"""Time a single query of a sum may cover."""
_EXPIRE_ROWS: Final = 1000
"""Rows deleted by one transaction."""

_SUMMED: Final = {
    "requests": "COUNT(*)",
    "failed": "SUM(CASE WHEN outcome IN ('failed', 'cut') THEN 1 ELSE 0 END)",
    "refused": "SUM(CASE WHEN outcome IN ('refused', 'upstream_refused') THEN 1 ELSE 0 END)",
    "client_gone": "SUM(CASE WHEN outcome = 'client_gone' THEN 1 ELSE 0 END)",
    "input_tokens": "CAST(SUM(input_tokens) AS BIGINT)",
    "output_tokens": "CAST(SUM(output_tokens) AS BIGINT)",
    "first_tokens": "SUM(CASE WHEN first_token_s > 0 THEN 1 ELSE 0 END)",
    "first_token_sum_s": "SUM(first_token_s)",
    "cost_microusd": "CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT)",
    "unpriced": "SUM(CASE WHEN cost_microusd IS NULL AND output_tokens + input_tokens > 0 THEN 1 ELSE 0 END)",
    "cache_hits": "SUM(CASE WHEN cache IN ('hit', 'semantic', 'coalesced', 'stale') THEN 1 ELSE 0 END)",
    "saved_tokens": "CAST(SUM(saved_tokens) AS BIGINT)",
    "saved_microusd": "CAST(COALESCE(SUM(saved_microusd), 0) AS BIGINT)",
}
_SUMS: Final = ", ".join(_SUMMED.values())


class _Detail(msgspec.Struct, frozen=True, array_like=True):
    """What of a record is not a column, by position: new fields go to the end, with a default."""

    dialect: str
    stream: bool
    error: str
    queue_s: float
    connect_s: float
    headers_s: float
    overhead_s: float
    usage: Usage
    usage_estimated: bool
    chunks: int
    itl_counts: tuple[int, ...]
    itl_sum_s: float
    itl_max_s: float
    bytes_in: int
    bytes_out: int
    attempts: tuple[Attempt, ...]
    finish_reason: str
    trace_parent: str
    client_retry: int
    limits: tuple[LimitFact, ...] = ()
    priority: str = ""
    fallback: str = ""
    engine_queue_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    network_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    engine_source: str = ""
    trace: str = ""
    trace_state: str = ""
    saved_gpu_s: float = 0.0


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests to list; what is left at its default does not matter."""

    since: float = 0.0
    """Unix seconds, inclusive."""
    until: float | None = None
    """Unix seconds, exclusive."""
    tenant: str | None = None
    key_id: str | None = None
    model: str | None = None
    target: str | None = None
    endpoint: str | None = None
    outcome: Outcome | None = None
    status: int | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One request in a list."""

    id: str
    started_at: float
    tenant: str
    key_id: str
    model: str
    target: str
    endpoint: str
    outcome: str
    status: int
    input_tokens: int
    output_tokens: int
    first_token_s: float
    duration_s: float
    cost_microusd: int | None
    cache: str
    saved_tokens: int
    saved_microusd: int | None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a list, newest first."""

    entries: tuple[Entry, ...]
    next: str | None
    """Pass it back for what is older; None at the end. A page may be short, even empty, before the
    end: the search stops when it has looked at many rows that did not match."""


By = Literal["model", "key", "tenant", "target", "day"]
_GROUPS: Final[dict[By, str]] = {"model": "model", "key": "key_id", "tenant": "tenant", "target": "target"}


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one group add up to."""

    name: str
    requests: int = 0
    failed: int = 0
    """Those that ended in an error of ours or the upstream's, or were cut."""
    refused: int = 0
    """Those that the client has to mend, or was not allowed to make."""
    client_gone: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first_tokens: int = 0
    """Requests that have a time to first token."""
    first_token_sum_s: float = 0.0
    cost_microusd: int = 0
    """Of the requests that have a cost."""
    unpriced: int = 0
    """Requests with tokens whose cost is not known, because their target has no prices."""
    cache_hits: int = 0
    """Requests that the cache has answered, those in an outage included."""
    saved_tokens: int = 0
    """Tokens of those answers."""
    saved_microusd: int = 0
    """What those answers cost when a model gave them, as far as that is known."""

    @property
    def first_token_mean_s(self) -> float | None:
        """Mean time to first token; None when no request has one."""
        return self.first_token_sum_s / self.first_tokens if self.first_tokens else None


class Ledger:
    """The `requests` table; a sink of the recorder."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(_Detail).decode
        self._open: list[Value] = []
        """Parameters of rows, one after the other."""
        self._gaps: list[tuple[int, ...]] = []
        self._gap_sums: list[float] = []
        """Of the gaps between the tokens of the same rows."""
        self._full: list[Chunk] = []
        self._rows = 0
        self._writer = secrets.token_hex(8)
        self._chunks = 0
        """With the writer, the name of a chunk; another process has another writer."""
        self.set_aside = 0
        """Rows that the database refused for what they hold."""

    @property
    def database(self) -> Database:
        """The store, for what lies beside the requests."""
        return self._database

    # --- writing ----------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Rows taken and not yet written."""
        return self._rows

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Encode records as rows, in about a microsecond each."""
        encode = self._encode
        for record in records:
            usage = record.usage
            model, target = record.model, record.target
            if not (model.isprintable() and target.isprintable() and len(model) + len(target) <= LONGEST):
                model, target = clean(model), clean(target)
            try:
                # A tuple in the order of _Detail's fields encodes as _Detail does, without making one.
                detail = encode(
                    (
                        record.dialect, record.stream, record.error, record.queue_s, record.connect_s,
                        record.headers_s, record.overhead_s, usage, record.usage_estimated, record.chunks,
                        record.itl_counts, record.itl_sum_s, record.itl_max_s, record.bytes_in,
                        record.bytes_out, record.attempts, record.finish_reason, record.trace_parent,
                        record.client_retry, record.limits, record.priority, record.fallback,
                        record.engine_queue_s, record.prefill_s, record.decode_s, record.network_s,
                        record.stalls, record.stalled_s, record.engine_source, record.trace,
                        record.trace_state, record.saved_gpu_s,
                    )
                )  # fmt: skip
            except (OverflowError, UnicodeEncodeError):
                # A number or a text that an upstream made up. The columns still count.
                detail = encode(_without_detail(record))
            cost, saved = record.cost_microusd, record.saved_microusd
            input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
            if input_tokens > _LARGEST or output_tokens > _LARGEST:
                input_tokens, output_tokens = min(input_tokens, _LARGEST), min(output_tokens, _LARGEST)
            self._open += (
                record.id, record.started_at, record.tenant, record.key_id, model, target,
                record.endpoint, _OUTCOMES[record.outcome], record.status, input_tokens, output_tokens,
                record.first_token_s, record.duration_s,
                cost if cost is None or cost <= _LARGEST else _LARGEST,
                record.cache, min(record.saved_tokens, _LARGEST),
                saved if saved is None or saved <= _LARGEST else _LARGEST, detail,
            )  # fmt: skip
            self._gaps.append(record.itl_counts)
            self._gap_sums.append(record.itl_sum_s)
            self._rows += 1
            if len(self._open) == CHUNK:
                self._close_chunk()

    def _close_chunk(self) -> None:
        batch = batch_of(self._open, WIDTH, ROLLED_UP_PLACES, self._gaps, self._gap_sums)
        self._chunks += 1
        self._full.append(Chunk(self._open, f"{self._writer}-{self._chunks}", batch))
        self._open, self._gaps, self._gap_sums = [], [], []

    async def commit(self) -> None:
        """Write what was taken. What fails stays, and is written by the next call.

        Raises:
            StorageError: the database failed, or refuses every row.
        """
        if self._open:
            self._close_chunk()
        while self._full:
            chunks = self._full[:_CHUNKS_PER_COMMIT]
            whole = all(chunk.journal is not None for chunk in chunks)
            try:
                if whole:
                    await self._database.transaction(
                        [part for chunk in chunks for part in chunk.statements()]
                    )
            except StatementRejected:
                whole = False
            if not whole:
                await self._write_singly(chunks)
            del self._full[: len(chunks)]
            self._rows -= sum(len(chunk.values) for chunk in chunks) // WIDTH

    async def _write_singly(self, chunks: list[Chunk]) -> None:
        """Write the rows of a refused batch one by one, so that a bad one costs only itself."""
        for chunk in chunks:
            chunk.journal = None  # for good: rows that are there already would be counted twice
        refused: list[Value] = []
        written = 0
        for row in rows_of(chunks):
            try:
                await self._database.execute(INSERT_ALONE, row)
                written += 1
            except StatementRejected as error:
                refused.append(row[0])
                last = error
        if refused and not written:
            raise last  # not the rows are at fault but the table or the statement
        if refused:
            self.set_aside += len(refused)
            _log.error(
                "records were refused by the state store", extra={"records": refused, "error": str(last)}
            )

    # --- reading ----------------------------------------------------------------------------

    async def get(self, record_id: str) -> RequestRecord:
        """The whole record of one request.

        Raises:
            NotFound: there is none, or no longer.
        """
        rows = await self._database.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM requests WHERE id = ?",  # noqa: S608  # constants only
            (record_id,),
        )
        if not rows:
            raise NotFound(f"no request `{record_id}` in the ledger")
        return self._record(rows[0])

    async def stretch(
        self,
        since: float,
        until: float,
        *,
        after: tuple[float, str] | None = None,
        tenants: Collection[str] | None = None,
        limit: int = 500,
    ) -> list[RequestRecord]:
        """Whole records from `since` (inclusive) to `until` (exclusive), oldest first, at most `limit`.

        `after` is the start and id of the last one of the stretch before. With `tenants` only theirs.
        """
        at, record_id = (since, "") if after is None else after
        whose = "" if tenants is None else f" AND tenant IN ({', '.join('?' * len(tenants))})"
        rows = await self._database.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM requests WHERE started_at >= ? AND started_at < ? "  # noqa: S608  # constants only
            f"AND (started_at > ? OR id > ?){whose} ORDER BY started_at, id LIMIT ?",
            (at, until, at, record_id, *(tenants or ()), limit),
        )
        return [self._record(row) for row in rows]

    async def page(self, where: Filter, *, after: str | None = None, limit: int = 50) -> Page:
        """Requests that match, newest first; `after` is the `next` of the page before.

        Raises:
            InvalidRequest: `after` is not what a page returned.
        """
        at, record_id = _parse_cursor(after) if after is not None else (where.until or math.inf, "")
        if where.until is not None and at > where.until:
            at, record_id = where.until, ""
        conditions, values = _conditions(where)
        entries: list[Entry] = []
        for _ in range(_SCANS):
            floor = await self._floor(where.since, at, record_id) if conditions else None
            rows = await self._database.fetch(
                f"SELECT {LISTED} FROM requests WHERE started_at >= ? AND started_at <= ? "  # noqa: S608  # constants only
                f"AND (started_at < ? OR id < ?){conditions} ORDER BY started_at DESC, id DESC LIMIT ?",
                (where.since if floor is None else floor, at, at, record_id, *values, limit - len(entries)),
            )
            entries += (_entry(row) for row in rows)
            if len(entries) == limit:
                return Page(entries=tuple(entries), next=f"{entries[-1].started_at!r}_{entries[-1].id}")
            if floor is None:
                return Page(entries=tuple(entries), next=None)
            at, record_id = floor, ""
        return Page(entries=tuple(entries), next=f"{at!r}_")

    async def _floor(self, since: float, at: float, record_id: str) -> float | None:
        """How far back one query may look from a position; None when `since` is nearer."""
        rows = await self._database.fetch(
            "SELECT started_at FROM requests WHERE started_at >= ? "  # noqa: S608  # one of two operators
            f"AND started_at {'<=' if record_id else '<'} ? ORDER BY started_at DESC LIMIT 1 OFFSET ?",
            (since, at, _SCAN_ROWS - 1),
        )
        return _number(rows[0][0]) if rows else None

    async def usage(
        self,
        by: By,
        *,
        since: float = 0.0,
        until: float | None = None,
        tenants: Collection[str] | None = None,
    ) -> list[Sum]:
        """Requests from `since` (inclusive) to `until` (exclusive) by group, sorted by name.

        Days are UTC dates. Without `until`, up to the newest. With `tenants` only theirs.
        """
        oldest, newest = (
            await self._database.fetch("SELECT MIN(started_at), MAX(started_at) FROM requests")
        )[0]
        if oldest is None:
            return []
        start = max(since, _number(oldest))
        end = math.nextafter(_number(newest), math.inf)
        end = end if until is None else min(until, end)
        totals: dict[str, list[float]] = {}
        while start < end:
            # Windows end on the hour, so that none lies in two days.
            stop = min((start // _WINDOW_S + 1) * _WINDOW_S, end)
            for name, *numbers in await self._window(by, start, stop, tenants):
                total = totals.setdefault(str(name), [0] * len(numbers))
                total[:] = (before + _number(more) for before, more in zip(total, numbers, strict=True))
            start = stop
        return [_sum(name, totals[name]) for name in sorted(totals)]

    async def _window(self, by: By, start: float, stop: float, tenants: Collection[str] | None) -> list[Row]:
        column = _GROUPS.get(by)
        whose = "" if tenants is None else f" AND tenant IN ({', '.join('?' * len(tenants))})"
        rows = await self._database.fetch(
            f"SELECT {column or 'MIN(endpoint)'}, {_SUMS} FROM requests "  # noqa: S608  # constants only
            f"WHERE started_at >= ? AND started_at < ?{whose}" + (f" GROUP BY {column}" if column else ""),
            (start, stop, *(tenants or ())),
        )
        if column:
            return rows
        day = datetime.fromtimestamp(start, UTC).date().isoformat()
        return [(day, *row[1:]) for row in rows if row[1]]

    async def not_rolled_up(self, limit: int) -> tuple[list[str], Batch] | None:
        """Requests that were written without their batch, at most `limit`: their ids, and a batch of them.

        None when there are none.
        """
        rows = await self._database.fetch(
            f"SELECT {', '.join(COLUMNS)} FROM requests WHERE rolled_up = 0 "  # noqa: S608  # constants only
            "ORDER BY started_at LIMIT ?",
            (limit,),
        )
        if not rows:
            return None
        details = [self._decode(cast(bytes, row[-1])) for row in rows]
        buckets = len(ITL_BOUNDS_S) + 1
        # Of an older version, whose bounds were others, the gaps are not known.
        gaps = [detail.itl_counts if len(detail.itl_counts) == buckets else () for detail in details]
        values = [value for row in rows for value in row]
        batch = batch_of(values, WIDTH, ROLLED_UP_PLACES, gaps, [detail.itl_sum_s for detail in details])
        return [str(row[0]) for row in rows], batch

    # --- forgetting -------------------------------------------------------------------------

    async def expire(self, before: float, *, pause_s: float = 0.02) -> int:
        """Delete requests that started before `before` (Unix seconds); the number deleted.

        In small transactions with a pause after each, so that the writer is never kept waiting.
        """
        deleted = 0
        while True:
            count = await self._database.execute(
                "DELETE FROM requests WHERE id IN "
                "(SELECT id FROM requests WHERE started_at < ? ORDER BY started_at LIMIT ?)",
                (before, _EXPIRE_ROWS),
            )
            deleted += count
            if count < _EXPIRE_ROWS:
                break
            await asyncio.sleep(pause_s)
        await self._expire_costs(before, pause_s)
        return deleted

    async def _expire_costs(self, before: float, pause_s: float) -> None:
        """Delete what requests of that time cost through the revisions."""
        while True:
            count = await self._database.execute(
                "DELETE FROM request_costs WHERE request_id IN "
                "(SELECT request_id FROM request_costs WHERE started_at < ? ORDER BY started_at LIMIT ?)",
                (before, _EXPIRE_ROWS),
            )
            if count == 0:
                return
            await asyncio.sleep(pause_s)

    def _record(self, row: Row) -> RequestRecord:
        detail = self._decode(cast(bytes, row[-1]))
        columns = dict(zip(COLUMNS[:-1], row, strict=False))
        # The tokens are in the detail's usage, as they were reported.
        del columns["input_tokens"], columns["output_tokens"]
        return msgspec.convert({**columns, **msgspec.structs.asdict(detail)}, RequestRecord)


def _without_detail(record: RequestRecord) -> _Detail:
    return _Detail(
        dialect=record.dialect,
        stream=record.stream,
        error=record.error,
        queue_s=record.queue_s,
        connect_s=record.connect_s,
        headers_s=record.headers_s,
        overhead_s=record.overhead_s,
        usage=Usage(),
        usage_estimated=record.usage_estimated,
        chunks=record.chunks,
        itl_counts=(),
        itl_sum_s=record.itl_sum_s,
        itl_max_s=record.itl_max_s,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
        attempts=(),
        finish_reason="",
        trace_parent="",
        client_retry=0,
    )


def _conditions(where: Filter) -> tuple[str, list[Value]]:
    """SQL for everything but time, to be appended, with its parameters."""
    named: tuple[tuple[str, Value], ...] = (
        ("tenant", where.tenant),
        ("key_id", where.key_id),
        ("model", where.model),
        ("target", where.target),
        ("endpoint", where.endpoint),
        ("outcome", where.outcome.value if where.outcome is not None else None),
        ("status", where.status),
    )
    wanted = [(column, value) for column, value in named if value is not None]
    return "".join(f" AND {column} = ?" for column, _ in wanted), [value for _, value in wanted]


def _parse_cursor(text: str) -> tuple[float, str]:
    at, _, record_id = text.partition("_")
    try:
        return float(at), record_id
    except ValueError as error:
        raise InvalidRequest("not a position in the list of requests", param="after") from error


def _entry(row: Row) -> Entry:
    return msgspec.convert(dict(zip(COLUMNS, row, strict=False)), Entry)


def _number(value: Value) -> float:
    assert isinstance(value, int | float), "a column of numbers"
    return value


def _sum(name: str, numbers: list[float]) -> Sum:
    return msgspec.convert({"name": name, **dict(zip(_SUMMED, numbers, strict=True))}, Sum)
