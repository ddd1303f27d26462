"""What semantic metrics keep in the state store: items, windows, money spent, the key of marks.

All gateways on one store share it: their items add up to one series, and a
comparison is made by whoever inserts its row first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, cast

import msgspec

from fairlead.signals.board import Outcome, Signal, Stored
from fairlead.storage.ports import Database, Row

_ITEM: Final = (
    "model", "signal", "embedder", "at_us", "id", "user_mark", "session_mark", "lot", "digest", "vector",
    "marks", "example",
)  # fmt: skip
_INSERT: Final = (
    f"INSERT INTO signal_items ({', '.join(_ITEM)}) VALUES ({', '.join('?' * len(_ITEM))}) "  # noqa: S608 - names
    "ON CONFLICT DO NOTHING"
)
_INSERT_WINDOW: Final = """
    INSERT INTO signal_windows (model, signal, number, compared_us, ended_us, p_value, alpha, outcome)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"""
_THIN: Final = """
    DELETE FROM signal_items WHERE at_us >= ? AND at_us < ? AND (model, signal, embedder, at_us, id) IN (
        SELECT model, signal, embedder, at_us, id FROM (
            SELECT model, signal, embedder, at_us, id,
                ROW_NUMBER() OVER (PARTITION BY model, signal, embedder ORDER BY lot, id) AS place
            FROM signal_items WHERE at_us >= ? AND at_us < ?
        ) AS ranked WHERE place > ?
    )"""
_STORED: Final = "id, at_us, user_mark, session_mark, digest, vector, marks"
_OF_SERIES: Final = "FROM signal_items WHERE model = ? AND signal = ? AND embedder = ?"
_THIN_HOURS: Final = 3
"""How long after its end an hour is thinned: late items have come by then."""
_WINDOWS_S: Final = 366 * 86_400.0
_HOUR_US: Final = 3_600_000_000
MOST_ITEMS: Final = 15_000
"""Candidates that are read for one comparison."""
_IDS: Final = 500

_encode: Final = msgspec.msgpack.Encoder().encode
_outcome: Final = msgspec.msgpack.Decoder(Outcome).decode


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An item on its way to the store."""

    model: str
    signal: Signal
    embedder: str
    stored: Stored
    example: str = ""


class SignalStore:
    """The tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, items: Sequence[Kept]) -> None:
        """Keep items. Raises StorageError."""
        await self._database.execute_many(_INSERT, [_row(item) for item in items])

    async def series(self, signal: Signal, embedder: str, since: float) -> list[str]:
        """The models that have items of a signal since a time."""
        rows = await self._database.fetch(
            "SELECT DISTINCT model FROM signal_items WHERE signal = ? AND embedder = ? AND at_us >= ? "
            "ORDER BY model",
            (signal, embedder, _us(since)),
        )
        return [str(model) for (model,) in rows]

    async def count(self, model: str, signal: Signal, embedder: str, after: float) -> int:
        """Items of a series after a time."""
        rows = await self._database.fetch(
            f"SELECT COUNT(*) {_OF_SERIES} AND at_us > ?", (model, signal, embedder, _us(after))
        )
        return int(cast(int, rows[0][0]))

    async def latest(self, model: str, signal: Signal, embedder: str, most: int) -> list[Stored]:
        """The last items of a series, in order of time."""
        rows = await self._database.fetch(
            f"SELECT {_STORED} {_OF_SERIES} ORDER BY at_us DESC, id DESC LIMIT ?",
            (model, signal, embedder, most),
        )
        return [_stored(row) for row in reversed(rows)]

    async def candidates(
        self, model: str, signal: Signal, embedder: str, span: tuple[float, float], hours: Iterable[int]
    ) -> list[Stored]:
        """The items of a series in a span of time, of some hours of the day (UTC), in order, without vectors.

        The latest, where there are too many.
        """
        wanted = sorted(set(hours))
        rows = await self._database.fetch(
            f"SELECT {_STORED.replace('vector', 'NULL')} {_OF_SERIES} AND at_us >= ? AND at_us < ? "
            f"AND (at_us / {_HOUR_US}) % 24 IN ({', '.join('?' * len(wanted))}) "
            "ORDER BY at_us DESC, id DESC LIMIT ?",
            (model, signal, embedder, _us(span[0]), _us(span[1]), *wanted, MOST_ITEMS),
        )
        return [_stored(row) for row in reversed(rows)]

    async def vectors(
        self, model: str, signal: Signal, embedder: str, items: Sequence[tuple[str, float]]
    ) -> dict[str, bytes]:
        """Vectors by id, of items with their times."""
        found: dict[str, bytes] = {}
        for start in range(0, len(items), _IDS):
            part = items[start : start + _IDS]
            times = [_us(at) for _, at in part]
            rows = await self._database.fetch(
                f"SELECT id, vector {_OF_SERIES} AND at_us >= ? AND at_us <= ? "
                f"AND id IN ({', '.join('?' * len(part))})",
                (model, signal, embedder, min(times), max(times), *(name for name, _ in part)),
            )
            found.update((str(name), bytes(cast(bytes, vector))) for name, vector in rows)
        return found

    async def examples(self, model: str, signal: Signal, ids: Sequence[str]) -> dict[str, str]:
        """The kept beginnings of texts, by request."""
        if not ids:
            return {}
        rows = await self._database.fetch(
            f"SELECT id, example FROM signal_items WHERE model = ? AND signal = ? AND example <> '' "  # noqa: S608
            f"AND id IN ({', '.join('?' * len(ids))})",
            (model, signal, *ids),
        )
        return {str(name): str(text) for name, text in rows}

    async def finish(self, outcome: Outcome) -> bool:
        """Keep a window. False when another gateway has made this comparison."""
        made = await self._database.execute(
            _INSERT_WINDOW,
            (
                outcome.model, outcome.signal, outcome.number, _us(outcome.compared_at),
                _us(outcome.ended_at), outcome.result.p_value, outcome.alpha, _encode(outcome),
            ),
        )  # fmt: skip
        return made > 0

    async def windows(self, *, model: str | None = None, limit: int = 100) -> list[Outcome]:
        """Windows, the latest first."""
        where, params = ("", ()) if model is None else (" WHERE model = ?", (model,))
        rows = await self._database.fetch(
            f"SELECT outcome FROM signal_windows{where} ORDER BY compared_us DESC LIMIT ?",  # noqa: S608 - fixed
            (*params, limit),
        )
        return [_outcome(cast(bytes, row[0])) for row in rows]

    async def last(self) -> dict[tuple[str, Signal], Outcome]:
        """The last window of each series."""
        rows = await self._database.fetch(
            "SELECT outcome FROM signal_windows AS w WHERE number = "
            "(SELECT MAX(number) FROM signal_windows AS o WHERE o.model = w.model AND o.signal = w.signal)"
        )
        found = [_outcome(cast(bytes, row[0])) for row in rows]
        return {(outcome.model, outcome.signal): outcome for outcome in found}

    async def thin(self, *, kept_per_hour: int, now: float) -> int:
        """Take from each hour that ended lately what is more than is kept of it; the number of items gone.

        Which ones stay is left to chance, and not to when they came or what they say.
        """
        until = int(now * 1e6) // _HOUR_US * _HOUR_US - _THIN_HOURS * _HOUR_US
        gone = 0
        for hour in (until - 2 * _HOUR_US, until - _HOUR_US):
            gone += await self._database.execute(
                _THIN,
                (hour, hour + _HOUR_US, hour, hour + _HOUR_US, kept_per_hour),
            )
        return gone

    async def expire(self, before: float) -> int:
        """Delete items from before a time, and windows a year older; the number of items gone."""
        await self._database.execute(
            "DELETE FROM signal_windows WHERE compared_us < ?", (_us(before - _WINDOWS_S),)
        )
        return await self._database.execute("DELETE FROM signal_items WHERE at_us < ?", (_us(before),))

    async def reserve(self, day: str, microusd: int, most: int) -> bool:
        """Take money of a day's; False when that is too much."""
        if microusd > most:
            return False
        await self._database.execute(
            "INSERT INTO signal_spending (day, microusd) VALUES (?, 0) ON CONFLICT DO NOTHING", (day,)
        )
        changed = await self._database.execute(
            "UPDATE signal_spending SET microusd = microusd + ? WHERE day = ? AND microusd + ? <= ?",
            (microusd, day, microusd, most),
        )
        return changed > 0

    async def settle(self, day: str, difference_microusd: int) -> None:
        """Correct what was reserved by what was used."""
        await self._database.execute(
            "UPDATE signal_spending SET microusd = microusd + ? WHERE day = ?", (difference_microusd, day)
        )

    async def spent(self, day: str) -> int:
        """What was spent on a day, in micro-dollars."""
        rows = await self._database.fetch("SELECT microusd FROM signal_spending WHERE day = ?", (day,))
        return int(cast(int, rows[0][0])) if rows else 0

    async def secret(self, name: str, fresh: bytes) -> bytes:
        """A secret of the store; `fresh` becomes it when there is none."""
        await self._database.execute(
            "INSERT INTO signal_secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, fresh)
        )
        rows = await self._database.fetch("SELECT value FROM signal_secrets WHERE name = ?", (name,))
        return bytes(cast(bytes, rows[0][0]))


def _row(item: Kept) -> tuple[str | int | bytes, ...]:
    one = item.stored
    return (
        item.model, item.signal, item.embedder, _us(one.at), one.id, one.user, one.session, _lot(one.id),
        one.digest, one.vector, one.marks, item.example,
    )  # fmt: skip


def _stored(row: Row) -> Stored:
    name, at_us, user, session, digest, vector, marks = row
    return Stored(
        id=str(name),
        at=cast(int, at_us) / 1e6,
        user=str(user),
        session=str(session),
        digest=bytes(cast(bytes, digest)),
        vector=b"" if vector is None else bytes(cast(bytes, vector)),
        marks=int(cast(int, marks)),
    )


def _lot(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) >> 1


def _us(at: float) -> int:
    return round(at * 1e6)
