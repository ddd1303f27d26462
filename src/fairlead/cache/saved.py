"""Answers in a file of SQLite, which survive a restart. Several processes of one machine may share it.

Written behind: what is put is in the file a quarter of a second later, and
readable here at once. What a crash loses is the last moments, which costs
misses. While the file cannot be written (locked, its disk full) what is new
waits, up to a number of bytes, and then is dropped and counted.

Room is made by dropping what has ended, then what ends soonest. A purge is
also written down, so that other processes drop what they have in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fairlead.cache.entry import Entry
from fairlead.cache.key import Space
from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.trouble import Trouble
from fairlead.errors import StorageError
from fairlead.storage.ports import Database, Value

_INTERVAL_S: Final = 0.25
_LONGEST_BACKOFF_S: Final = 5.0
_PURGES_EVERY_S: Final = 1.0
_ROOM_EVERY_S: Final = 30.0
_PURGES_KEPT_S: Final = 86_400.0
_ROW_BYTES: Final = 200
"""What a row takes besides its blob: columns, three indexes, the pages' slack."""
_AT_ONCE: Final = 256
_NEVER: Final = float("-inf")

_GET: Final = "SELECT blob FROM cache_entries WHERE id = ?"
_MANY: Final = 128
_GET_MANY: Final = f"SELECT id, blob FROM cache_entries WHERE id IN ({', '.join('?' * _MANY)})"  # noqa: S608 - constants
_PUT: Final = (
    "INSERT INTO cache_entries (id, tenant, model, created_at, kept_until, size_bytes, blob) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, "
    "model = excluded.model, created_at = excluded.created_at, kept_until = excluded.kept_until, "
    "size_bytes = excluded.size_bytes, blob = excluded.blob"
)
_DROP: Final = "DELETE FROM cache_entries WHERE id = ?"
# The conditions of a purge; a parameter that is "" holds for all.
_MEANT: Final = "(? = '' OR tenant = ?) AND (? = '' OR model = ?) AND created_at < ?"
_COUNT: Final = f"SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM cache_entries WHERE {_MEANT}"  # noqa: S608 - constants
_PURGE: Final = f"DELETE FROM cache_entries WHERE {_MEANT}"  # noqa: S608 - constants
_SIZES: Final = (
    "SELECT tenant, model, COUNT(*), SUM(size_bytes) FROM cache_entries GROUP BY tenant, model ORDER BY 1, 2"
)
_TOTAL: Final = "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM cache_entries"
_ENDED: Final = "DELETE FROM cache_entries WHERE kept_until <= ?"
_SOONEST: Final = (
    "DELETE FROM cache_entries WHERE id IN (SELECT id FROM cache_entries ORDER BY kept_until LIMIT ?)"
)
_NOTE: Final = (
    "INSERT INTO cache_purges (id, tenant, model, before_at, purged_at) "
    "SELECT COALESCE(MAX(id), 0) + 1, ?, ?, ?, ? FROM cache_purges"
)
_NOTES: Final = "SELECT id, tenant, model, before_at FROM cache_purges WHERE id > ? ORDER BY id"
# The last one stays: it holds the number that the next one counts on from.
_OLD_NOTES: Final = "DELETE FROM cache_purges WHERE purged_at < ? AND id < (SELECT MAX(id) FROM cache_purges)"

Meets = Callable[[Purge], Awaitable[object]]


class SavedTier:
    """`lookup.Tier` on a database with the schema `schema_cache`."""

    name = "disk"

    def __init__(
        self,
        database: Database,
        *,
        max_bytes: int,
        pending_bytes: int,
        trouble: Trouble,
        purged: Meets,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts; `start` begins to write.

        Args:
            database: of the entries alone.
            max_bytes: the most that entries may take, rows counted with what they need besides.
            pending_bytes: the most that may wait to be written.
            trouble: told of what fails.
            purged: told of purges of other processes.
            now: Unix seconds.
        """
        self.pending_bytes = 0
        self._database = database
        self._max_bytes = max_bytes
        self._most_pending = pending_bytes
        self._trouble = trouble
        self._purged = purged
        self._now = now
        self._pending: dict[bytes, bytes | None] = {}
        """To be written; None is to be deleted."""
        self._writing: dict[bytes, bytes | None] = {}
        # From the first: one that was noted while this process opened the file must not be missed, and there
        # is hardly anything yet that the older ones could be about.
        self._last_note = 0
        self._since_room = 0
        self._room_at = _NEVER
        self._notes_at = _NEVER
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # --- the port ---------------------------------------------------------------------------

    async def get(self, key: bytes, space: Space) -> bytes | None:
        """The bytes under a key, as they are. Raises StorageError."""
        for waiting in (self._pending, self._writing):
            if key in waiting:
                return waiting[key]
        rows = await self._database.fetch(_GET, (key,))
        if not rows:
            return None
        (blob,) = rows[0]
        # Another type than was written is damage too; the caller's checksum says so.
        return blob if isinstance(blob, bytes) else b""

    async def get_many(self, keys: Sequence[bytes], space: Space) -> dict[bytes, bytes]:
        """The bytes under those of the keys that are there, as they are. Raises StorageError."""
        found: dict[bytes, bytes] = {}
        wanted: list[bytes] = []
        for key in keys:
            if key in self._pending or key in self._writing:
                blob = self._pending[key] if key in self._pending else self._writing[key]
                if blob is not None:
                    found[key] = blob
            else:
                wanted.append(key)
        for start in range(0, len(wanted), _MANY):
            some: list[Value] = list(wanted[start : start + _MANY])
            some += [some[0]] * (_MANY - len(some))  # one statement, which stays prepared
            for id, value in await self._database.fetch(_GET_MANY, some):
                if isinstance(id, bytes):
                    found[id] = value if isinstance(value, bytes) else b""
        return found

    def put(self, key: bytes, space: Space, blob: bytes, kept_s: float) -> None:
        """Write an entry soon; drop it when too much waits already."""
        old = self._pending.get(key)
        growth = len(blob) - (len(old) if old is not None else 0)
        if self.pending_bytes + growth > self._most_pending:
            self._trouble.met(self.name, "dropped")
            return
        self.pending_bytes += growth
        self._pending[key] = blob

    def drop(self, key: bytes, space: Space) -> None:
        """Delete an entry soon."""
        old = self._pending.get(key)
        if old is not None:
            self.pending_bytes -= len(old)
        self._pending[key] = None

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Delete what is meant, and let other processes know. Raises StorageError."""
        await self.flush()
        meant = _parameters(purge)
        ((entries, size),) = await self._database.fetch(_COUNT, meant)
        if not dry_run:
            note = (purge.tenant or "", purge.model or "", purge.before, self._now())
            _, entries = await self._database.transaction([(_NOTE, note), (_PURGE, meant)])
        return Purged(entries=_int(entries), bytes=_int(size))

    async def sizes(self) -> list[Size]:
        """What is held, by tenant and model. Raises StorageError."""
        return [
            Size(tenant=str(tenant), model=str(model), entries=_int(entries), bytes=_int(size))
            for tenant, model, entries, size in await self._database.fetch(_SIZES)
        ]

    # --- in the background ------------------------------------------------------------------

    def start(self) -> None:
        """Write in the background from now on."""
        assert self._task is None, "started once"
        self._task = asyncio.get_running_loop().create_task(self._work(), name="cache writer")

    async def stop(self) -> None:
        """Write what waits, once, and end. The database stays open."""
        self._stopping.set()
        if self._task is not None:
            await self._task
            self._task = None
        await self._try("put", self.flush)

    async def flush(self) -> None:
        """Write what waits.

        Raises:
            StorageError: what was not written waits on.
        """
        while self._pending:
            batch: dict[bytes, bytes | None] = {}
            while self._pending and len(batch) < _AT_ONCE:
                key = next(iter(self._pending))
                batch[key] = self._pending.pop(key)
            self._writing = batch
            rows = [_row(key, blob) for key, blob in batch.items() if blob is not None]
            deleted: list[tuple[Value, ...]] = [(key,) for key, blob in batch.items() if blob is None]
            try:
                if rows:
                    await self._database.execute_many(_PUT, rows)
                if deleted:
                    await self._database.execute_many(_DROP, deleted)
            except BaseException:
                # Writing it again does no harm; what has come meanwhile is newer.
                self._pending = {**batch, **self._pending}
                raise
            finally:
                self._writing = {}
                self.pending_bytes = sum(len(blob) for blob in self._pending.values() if blob is not None)
            self._since_room += sum(_int(row[5]) for row in rows)

    async def follow_purges(self) -> None:
        """Tell of the purges that other processes have noted since the last time. Raises StorageError."""
        for number, tenant, model, before in await self._database.fetch(_NOTES, (self._last_note,)):
            purge = Purge(before=float(before or 0), tenant=str(tenant) or None, model=str(model) or None)
            self._forget(purge)
            await self._purged(purge)
            self._last_note = _int(number)

    async def make_room(self) -> None:
        """Delete what has ended, and what ends soonest until the rest fits. Raises StorageError."""
        self._since_room = 0
        now = self._now()
        await self._database.execute(_ENDED, (now,))
        await self._database.execute(_OLD_NOTES, (now - _PURGES_KEPT_S,))
        while True:
            ((entries, size),) = await self._database.fetch(_TOTAL)
            count, excess = _int(entries), _int(size) - self._max_bytes
            if excess <= 0 or not count:
                return
            # As many as this takes on average, and some more so that this is not done all the time.
            share = excess / _int(size)
            await self._database.execute(_SOONEST, (min(count, int(count * (share + 0.02)) + 1),))

    async def _work(self) -> None:
        pause_s = _INTERVAL_S
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            except TimeoutError:
                done = await self._turn(time.monotonic())
                pause_s = _INTERVAL_S if done else min(2 * pause_s, _LONGEST_BACKOFF_S)

    async def _turn(self, clock: float) -> bool:
        """What is due; false when something failed."""
        done = True
        if clock >= self._notes_at:
            self._notes_at = clock + _PURGES_EVERY_S
            done &= await self._try("purge", self.follow_purges)
        done &= await self._try("put", self.flush)
        if clock >= self._room_at or self._since_room > self._max_bytes // 16:
            self._room_at = clock + _ROOM_EVERY_S
            done &= await self._try("put", self.make_room)
        return done

    async def _try(self, what: str, function: Callable[[], Awaitable[None]]) -> bool:
        try:
            await function()
        except StorageError as error:
            self._trouble.met(self.name, what, error)
            return False
        return True

    def _forget(self, purge: Purge) -> None:
        """What waits to be written is not written after a purge that is about it."""
        for key, blob in list(self._pending.items()):
            if blob is not None and purge.meets(Entry(blob)):
                self.drop(key, _NOWHERE)


_NOWHERE: Final = Space("", "", "", b"")


def _row(key: bytes, blob: bytes) -> tuple[Value, ...]:
    entry = Entry(blob)
    facts = entry.facts
    size = len(blob) + _ROW_BYTES
    return key, facts.tenant, facts.model, entry.created_at, entry.kept_until, size, blob


def _parameters(purge: Purge) -> tuple[Value, ...]:
    tenant, model = purge.tenant or "", purge.model or ""
    return tenant, tenant, model, model, purge.before


def _int(value: Value) -> int:
    assert isinstance(value, int), "the column's type"
    return value
