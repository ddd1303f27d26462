"""The tables of GPU cost: work that is not charged yet, closed windows, shares.

Everything that closes a window is one transaction, and the window's own row
comes first: of several processes that close it, one succeeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from fairlead.errors import StatementRejected
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.gpu.cost import Piece, Share, Window

_WORK: Final = (
    "id", "attempt", "pool", "target", "started_us", "first_us", "ended_us", "input_tokens", "cached_tokens",
    "output_tokens",
)  # fmt: skip
_SHARE: Final = ("id", "attempt", "start_us", "pool", "target", "gpu_us", "microusd")
_WINDOW: Final = (
    "pool", "start_us", "end_us", "gpus", "busy_us", "gpu_us", "reserved_microusd", "used_microusd",
    "requests", "input_tokens", "output_tokens", "weight_prompt", "weight_output", "weight_source",
)  # fmt: skip
_SIZES: Final = (256, 32, 1)
"""Rows per statement; few distinct statements, so that all stay prepared."""
_EXPIRE_ROWS: Final = 5000

Statement = tuple[str, Sequence[Value]]


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """What the closed windows of a pool add up to."""

    pool: str
    windows: int
    gpu_window_us: int
    """GPUs times time: what was reserved."""
    gpu_us: int
    reserved_microusd: int
    used_microusd: int
    requests: int
    input_tokens: int
    output_tokens: int
    until_us: int
    """The end of the last one."""
    work: int
    """Tokens times their weights."""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What one request, or a group of requests, has used of GPUs."""

    name: str
    gpu_s: float
    microusd: int


class GpuLedger:
    """Reads and writes the tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, work: Sequence[tuple[str, Piece]]) -> None:
        """Add pieces of work, each with its pool; what is there already stays.

        Raises:
            StorageError: nothing was added.
        """
        rows = [
            (one.id, one.attempt, pool, one.target, one.started_us, one.first_us, one.ended_us,
             one.input_tokens, one.cached_tokens, one.output_tokens)
            for pool, one in work
        ]  # fmt: skip
        await self._database.transaction(list(_inserts("gpu_work", _WORK, rows)))

    async def pending(self, pool: str, before_us: int, limit: int) -> list[Piece]:
        """Work of a pool that began before a moment and is not wholly charged, the oldest first."""
        rows = await self._database.fetch(
            "SELECT id, attempt, target, started_us, first_us, ended_us, input_tokens, cached_tokens, "
            "output_tokens, begun FROM gpu_work WHERE pool = ? AND started_us < ? "
            "ORDER BY started_us LIMIT ?",
            (pool, before_us, limit),
        )
        return [_piece(row) for row in rows]

    async def closed_until(self, pool: str) -> tuple[int, int] | None:
        """The end of a pool's last window, and how many GPUs it had; None when there is none."""
        rows = await self._database.fetch(
            "SELECT end_us, gpus FROM gpu_windows WHERE pool = ? ORDER BY start_us DESC LIMIT 1", (pool,)
        )
        return (_int(rows[0][0]), _int(rows[0][1])) if rows else None

    async def close(self, pool: str, window: Window, shares: Sequence[Share]) -> bool:
        """Write a closed window and its shares; False when somebody else has closed it.

        Raises:
            StorageError: nothing was written.
        """
        weights = window.weights
        head = (pool, window.start_us, window.end_us, window.gpus, window.busy_us, window.gpu_us,
                window.reserved_microusd, window.used_microusd, window.requests, window.input_tokens,
                window.output_tokens, weights.prompt, weights.output, weights.source)  # fmt: skip
        rows = [
            (share.piece.id, share.piece.attempt, window.start_us, pool, share.piece.target, share.gpu_us,
             share.microusd)
            for share in shares
        ]  # fmt: skip
        over = [share.piece for share in shares if share.piece.ended_us <= window.end_us]
        under_way = [share.piece for share in shares if share.piece.ended_us > window.end_us]
        columns = ", ".join(_WINDOW)
        marks = ", ".join("?" * len(_WINDOW))
        statements: list[Statement] = [
            (f"INSERT INTO gpu_windows ({columns}) VALUES ({marks})", head)  # noqa: S608  # constants only
        ]
        statements += _inserts("gpu_shares", _SHARE, rows)
        statements += _each("DELETE FROM gpu_work", over)
        statements += _each("UPDATE gpu_work SET begun = 1", [one for one in under_way if not one.begun])
        try:
            await self._database.transaction(statements)
        except StatementRejected:
            last = await self.closed_until(pool)
            if last is None or last[0] < window.end_us:
                raise
            return False
        return True

    async def totals(self, since_us: int, until_us: int) -> list[Total]:
        """What the windows that began in a stretch of time add up to, by pool."""
        rows = await self._database.fetch(
            "SELECT pool, COUNT(*), CAST(SUM(gpus * (end_us - start_us)) AS BIGINT), "
            "CAST(SUM(gpu_us) AS BIGINT), CAST(SUM(reserved_microusd) AS BIGINT), "
            "CAST(SUM(used_microusd) AS BIGINT), CAST(SUM(requests) AS BIGINT), "
            "CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(output_tokens) AS BIGINT), MAX(end_us), "
            # In thousandths of a token's work: the sum of a month stays within a BIGINT.
            "CAST(SUM(input_tokens * (weight_prompt / 1000000) + output_tokens * (weight_output / 1000000)) "
            "AS BIGINT) FROM gpu_windows WHERE start_us >= ? AND start_us < ? GROUP BY pool ORDER BY pool",
            (since_us, until_us),
        )
        return [msgspec.convert(dict(zip(Total.__struct_fields__, row, strict=True)), Total) for row in rows]

    async def used_by(self, request_id: str) -> Used | None:
        """What a request has been charged so far; None when it was nothing."""
        rows = await self._database.fetch(
            "SELECT CAST(SUM(gpu_us) AS BIGINT), CAST(SUM(microusd) AS BIGINT) FROM gpu_shares WHERE id = ?",
            (request_id,),
        )
        if not rows or rows[0][0] is None:
            return None
        return Used(name=request_id, gpu_s=_int(rows[0][0]) / 1e6, microusd=_int(rows[0][1]))

    async def used(self, by: str, since_us: int, until_us: int) -> list[Used]:
        """What was charged in a stretch of time, by `target`, `pool`, or the requests' `tenant`, `model` or
        `key_id`; the largest first."""
        if by in ("target", "pool"):
            name, join = f"s.{by}", ""
        elif by in ("tenant", "model", "key_id"):
            # What the ledger has forgotten is still paid for.
            name, join = f"COALESCE(r.{by}, '')", "LEFT JOIN requests r ON r.id = s.id "
        else:
            raise ValueError(f"GPU cost is not grouped by {by}")
        rows = await self._database.fetch(
            f"SELECT {name}, CAST(SUM(s.gpu_us) AS BIGINT), CAST(SUM(s.microusd) AS BIGINT) "  # noqa: S608  # of the names above
            f"FROM gpu_shares s {join}WHERE s.start_us >= ? AND s.start_us < ? GROUP BY {name} "
            "ORDER BY 3 DESC, 1",
            (since_us, until_us),
        )
        return [Used(name=str(row[0]), gpu_s=_int(row[1]) / 1e6, microusd=_int(row[2])) for row in rows]

    async def expire(self, shares_before_us: int, windows_before_us: int) -> int:
        """Delete what is older, in small steps; the number of rows deleted."""
        deleted = 0
        for table, column, before in (
            ("gpu_shares", "start_us", shares_before_us),
            ("gpu_work", "ended_us", shares_before_us),
            ("gpu_windows", "start_us", windows_before_us),
        ):
            key = "pool, start_us" if table == "gpu_windows" else "id, attempt"
            if table == "gpu_shares":
                key += ", start_us"
            while True:
                count = await self._database.execute(
                    f"DELETE FROM {table} WHERE ({key}) IN "  # noqa: S608  # constants only
                    f"(SELECT {key} FROM {table} WHERE {column} < ? LIMIT ?)",
                    (before, _EXPIRE_ROWS),
                )
                deleted += count
                if count < _EXPIRE_ROWS:
                    break
        return deleted


def _inserts(table: str, columns: tuple[str, ...], rows: Sequence[Sequence[Value]]) -> Iterator[Statement]:
    start = 0
    row = "(" + ", ".join("?" * len(columns)) + ")"
    for size in _SIZES:
        sql = (
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * size)} "  # noqa: S608  # constants only
            "ON CONFLICT DO NOTHING"
        )
        while len(rows) - start >= size:
            yield sql, [value for one in rows[start : start + size] for value in one]
            start += size


def _each(statement: str, pieces: Sequence[Piece]) -> Iterator[Statement]:
    start = 0
    for size in _SIZES:
        sql = f"{statement} WHERE (id, attempt) IN (VALUES {', '.join(['(?, CAST(? AS INTEGER))'] * size)})"
        while len(pieces) - start >= size:
            yield sql, [value for one in pieces[start : start + size] for value in (one.id, one.attempt)]
            start += size


def _piece(row: Row) -> Piece:
    return Piece(
        id=str(row[0]),
        attempt=_int(row[1]),
        target=str(row[2]),
        started_us=_int(row[3]),
        first_us=_int(row[4]),
        ended_us=_int(row[5]),
        input_tokens=_int(row[6]),
        cached_tokens=_int(row[7]),
        output_tokens=_int(row[8]),
        begun=bool(row[9]),
    )


def _int(value: Value) -> int:
    assert isinstance(value, int), "a column of whole numbers"
    return value
