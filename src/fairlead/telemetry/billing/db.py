"""Costs of past requests through their revisions, in SQL.

What a request costs now is in the ledger's own row, so that every sum and list
has it; what it cost before stays in `request_costs`. A batch of changes is one
transaction: the old cost is kept, the new one noted and the row changed, or
nothing is. A recomputation that breaks off leaves whole batches, and the next
one finds nothing to change in them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final, cast

import msgspec

from fairlead.errors import NotFound
from fairlead.storage.ports import Database, Row, Value
from fairlead.telemetry.ledger.db import By, Sum
from fairlead.types import GIVEN_AGAIN

_GROUPS: Final[dict[By, str]] = {
    "model": "r.model", "key": "r.key_id", "tenant": "r.tenant", "target": "r.target"
}  # fmt: skip
_WINDOW_S: Final = 3600.0
_ONE: Final = (
    "id", "outcome", "cache", "input_tokens", "output_tokens", "first_token_s", "saved_tokens",
    "saved_microusd", "cost_microusd",
)  # fmt: skip
_KEEP: Final = (
    "INSERT INTO request_costs (request_id, revision, started_at, cost_microusd, prices) "
    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (request_id, revision) DO NOTHING"
)
_CHANGE: Final = "UPDATE requests SET cost_microusd = ? WHERE id = ?"


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """One recomputation."""

    revision: int
    prices: str
    """Version of the price table."""
    since: float
    until: float
    begun_at: float
    ended_at: float | None
    """None while it is under way, or when it broke off."""
    changed: int
    """Requests whose cost is another one now."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Another cost of one request."""

    request_id: str
    started_at: float
    before_microusd: int | None
    before_prices: str
    after_microusd: int


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """What one request cost as of a revision."""

    revision: int
    cost_microusd: int | None
    prices: str


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """By how much the sums of a group were other ones as of an earlier revision."""

    cost_microusd: int
    unpriced: int


class CostHistory:
    """The tables `cost_revisions` and `request_costs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, prices: str, since: float, until: float, now: float) -> int:
        """A new revision; its number.

        Raises:
            StorageError: somebody else began one at the same time, or the store failed.
        """
        rows = await self._database.fetch("SELECT COALESCE(MAX(revision), 0) FROM cost_revisions")
        revision = cast(int, rows[0][0]) + 1
        await self._database.execute(
            "INSERT INTO cost_revisions (revision, prices, since, until, begun_at) VALUES (?, ?, ?, ?, ?)",
            (revision, prices, since, until, now),
        )
        return revision

    async def change(self, revision: int, prices: str, changes: Sequence[Change]) -> None:
        """Write one batch: all of it or nothing."""
        statements: list[tuple[str, Sequence[Value]]] = []
        for one in changes:
            key = one.request_id
            statements += (
                (_KEEP, (key, 0, one.started_at, one.before_microusd, one.before_prices)),
                (_KEEP, (key, revision, one.started_at, one.after_microusd, prices)),
                (_CHANGE, (one.after_microusd, key)),
            )
        statements.append(
            ("UPDATE cost_revisions SET changed = changed + ? WHERE revision = ?", (len(changes), revision))
        )
        await self._database.transaction(statements)

    async def end(self, revision: int, now: float) -> None:
        """Every request of the revision's period is done."""
        await self._database.execute(
            "UPDATE cost_revisions SET ended_at = ? WHERE revision = ?", (now, revision)
        )

    async def revisions(self) -> list[Revision]:
        """All of them, oldest first."""
        names = Revision.__struct_fields__
        rows = await self._database.fetch(
            f"SELECT {', '.join(names)} FROM cost_revisions ORDER BY revision"  # noqa: S608  # constants only
        )
        return [msgspec.convert(dict(zip(names, row, strict=True)), Revision) for row in rows]

    async def versions(self, request_id: str) -> list[Version]:
        """What one request cost through the revisions, oldest first; empty when none changed it."""
        rows = await self._database.fetch(
            "SELECT revision, cost_microusd, prices FROM request_costs WHERE request_id = ? "
            "ORDER BY revision",
            (request_id,),
        )
        return [_version(row) for row in rows]

    async def dearest(
        self,
        *,
        since: float,
        until: float | None,
        tenants: Collection[str] | None = None,
        most: int = 50,
    ) -> list[Sum]:
        """The requests of a period that cost most, the dearest first."""
        span = (await self._database.fetch("SELECT MIN(started_at), MAX(started_at) FROM requests"))[0]
        if span[0] is None:
            return []
        start = max(since, cast(float, span[0]))
        end = math.nextafter(cast(float, span[1]), math.inf)
        end = end if until is None else min(until, end)
        whose = "" if tenants is None else f" AND tenant IN ({', '.join('?' * len(tenants))})"
        found: list[Row] = []
        while start < end:
            stop = min((start // _WINDOW_S + 1) * _WINDOW_S, end)
            least = found[-1][-1] if len(found) == most else 0
            found += await self._database.fetch(
                f"SELECT {', '.join(_ONE)} FROM requests WHERE started_at >= ? AND started_at < ? "  # noqa: S608  # constants only
                f"AND cost_microusd > ?{whose} ORDER BY cost_microusd DESC, id LIMIT ?",
                (start, stop, least, *(tenants or ()), most),
            )
            found = sorted(found, key=lambda row: (-cast(int, row[-1]), str(row[0])))[:most]
            start = stop
        return [_one(row) for row in found]

    async def as_of(
        self,
        revision: int,
        by: By,
        *,
        since: float,
        until: float,
        tenants: Collection[str] | None = None,
    ) -> dict[str, Correction]:
        """What to add to the present sums of each group for those that held as of a revision.

        Raises:
            NotFound: there is no such revision.
        """
        newest = await self._database.fetch("SELECT COALESCE(MAX(revision), 0) FROM cost_revisions")
        if not 0 <= revision <= cast(int, newest[0][0]):
            raise NotFound(f"there is no revision {revision} of costs")
        span = await self._database.fetch(
            "SELECT MIN(started_at), MAX(started_at) FROM request_costs "
            "WHERE started_at >= ? AND started_at < ?",
            (since, until),
        )
        if span[0][0] is None:
            return {}
        start, last = cast(float, span[0][0]), cast(float, span[0][1])
        found: dict[str, Correction] = {}
        while start <= last:
            # Windows end on the hour, so that none lies in two days.
            stop = min((start // _WINDOW_S + 1) * _WINDOW_S, until)
            for name, cost, unpriced in await self._window(revision, by, start, stop, tenants):
                group = str(name) if by != "day" else _day(start)
                before = found.get(group, Correction(cost_microusd=0, unpriced=0))
                found[group] = Correction(
                    cost_microusd=before.cost_microusd + cast(int, cost),
                    unpriced=before.unpriced + cast(int, unpriced),
                )
            start = stop
        return found

    async def _window(
        self, revision: int, by: By, start: float, stop: float, tenants: Collection[str] | None
    ) -> list[Row]:
        column = _GROUPS.get(by)
        whose = "" if tenants is None else f" AND r.tenant IN ({', '.join('?' * len(tenants))})"
        rows = await self._database.fetch(
            f"SELECT {column or 'MIN(r.endpoint)'}, "  # noqa: S608  # constants only
            "CAST(SUM(COALESCE(c.cost_microusd, 0) - COALESCE(r.cost_microusd, 0)) AS BIGINT), "
            "SUM(CASE WHEN r.input_tokens + r.output_tokens = 0 THEN 0 WHEN c.cost_microusd IS NULL THEN 1 "
            "ELSE 0 END) - SUM(CASE WHEN r.input_tokens + r.output_tokens = 0 THEN 0 "
            "WHEN r.cost_microusd IS NULL THEN 1 ELSE 0 END) "
            "FROM request_costs c JOIN requests r ON r.id = c.request_id "
            "WHERE c.started_at >= ? AND c.started_at < ? AND c.revision = "
            "(SELECT MAX(x.revision) FROM request_costs x "
            "WHERE x.request_id = c.request_id AND x.revision <= ?)"
            + whose
            + (f" GROUP BY {column}" if column else ""),
            (start, stop, revision, *(tenants or ())),
        )
        return [row for row in rows if row[1] is not None]


def _one(row: Row) -> Sum:
    (request_id, outcome, cache, *numbers) = row
    input_tokens, output_tokens, first_token_s, saved_tokens, saved, cost = numbers
    return msgspec.convert(
        {
            "name": request_id,
            "requests": 1,
            "failed": int(outcome in ("failed", "cut")),
            "refused": int(outcome in ("refused", "upstream_refused")),
            "client_gone": int(outcome == "client_gone"),
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "first_tokens": int(bool(first_token_s)),
            "first_token_sum_s": first_token_s,
            "cost_microusd": cost,
            "cache_hits": int(cache in GIVEN_AGAIN),
            "saved_tokens": saved_tokens,
            "saved_microusd": saved or 0,
        },
        Sum,
    )


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _version(row: Row) -> Version:
    return Version(
        revision=cast(int, row[0]),
        cost_microusd=cast("int | None", row[1]),
        prices=str(row[2]),
    )
