"""The semantic tier in the file of kept answers: it survives a restart, and workers share entries.

Written behind, like the answers themselves. Each process follows what others
have added, about once a second, which is also how it fills its memory when it
starts. What was learned is each worker's own: it is read once, and written
when it has changed. No trouble with the file reaches a request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from fairlead.cache.purge import Purge, Purged
from fairlead.cache.semantic.embed import Vector
from fairlead.cache.semantic.record import (
    Learned,
    name_of,
    packed,
    packed_learned,
    unpacked,
    unpacked_learned,
)
from fairlead.cache.semantic.store import Known, Store, meets
from fairlead.cache.trouble import DAMAGED, Trouble
from fairlead.errors import StorageError
from fairlead.storage.ports import Database, Value

STORE: Final = "semantic"
"""What its troubles are counted under."""
_INTERVAL_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 5.0
_LEARNED_EVERY_S: Final = 5.0
_ROOM_EVERY_S: Final = 30.0
_PAGE: Final = 200
_NEVER: Final = float("-inf")

_GONE: Final = "DELETE FROM semantic_entries WHERE name = ?"
_PUT: Final = (
    "INSERT INTO semantic_entries (id, name, tenant, model, created_at, kept_until, size_bytes, blob) "
    "SELECT COALESCE(MAX(id), 0) + 1, ?, ?, ?, ?, ?, ?, ? FROM semantic_entries"
)
_NEW: Final = (
    "SELECT id, name, blob FROM semantic_entries WHERE id > ? AND kept_until > ? ORDER BY id LIMIT ?"
)
_MEANT: Final = "(? = '' OR tenant = ?) AND (? = '' OR model = ?) AND created_at < ?"
_COUNT: Final = f"SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM semantic_entries WHERE {_MEANT}"  # noqa: S608 - constants
_PURGE: Final = f"DELETE FROM semantic_entries WHERE {_MEANT}"  # noqa: S608 - constants
_ENDED: Final = "DELETE FROM semantic_entries WHERE kept_until <= ?"
_TOTAL: Final = "SELECT COUNT(*), COALESCE(SUM(size_bytes), 0) FROM semantic_entries"
_OLDEST: Final = (
    "DELETE FROM semantic_entries WHERE id IN (SELECT id FROM semantic_entries ORDER BY id LIMIT ?)"
)
_LEARNED: Final = "SELECT blob FROM semantic_learned WHERE worker = ? AND embedder = ?"
_LEARN: Final = (
    "INSERT INTO semantic_learned (worker, embedder, saved_at, blob) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (worker, embedder) DO UPDATE SET saved_at = excluded.saved_at, blob = excluded.blob"
)


class SemanticFile:
    """The tables `semantic_*` of the schema `schema_cache`."""

    def __init__(
        self,
        database: Database,
        store: Store,
        *,
        worker: int,
        trouble: Trouble,
        changed: Callable[[], dict[str, Learned]],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts; `start` begins to write and to follow.

        Args:
            database: of the kept answers.
            store: filled with what is in the file; the file holds no more bytes than it.
            worker: this process's number, which what it learns is stored under.
            trouble: told of what fails.
            changed: gives what was learned since the last call, by embedder.
            now: Unix seconds.
        """
        self._database = database
        self._store = store
        self._worker = worker
        self._trouble = trouble
        self._changed = changed
        self._now = now
        self._pending: dict[bytes, tuple[Known, bytes] | None] = {}
        """To be written, by name; None is to be deleted."""
        self._pending_bytes = 0
        self._most_pending = max(store.max_bytes // 8, 65_536)
        self._unsaved: dict[str, Learned] = {}
        self._last_id = 0
        self._learned_at = _NEVER
        self._room_at = _NEVER
        self._urgent = False
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def put(self, known: Known, vector: Vector) -> None:
        """Write an entry soon; drop it when too much waits already."""
        blob = packed(known, vector)
        name = name_of(known.key, known.embedder)
        self._waits_no_more(name)
        if self._pending_bytes + len(blob) > self._most_pending:
            self._trouble.met(STORE, "dropped")
            return
        self._pending_bytes += len(blob)
        self._pending[name] = (known, blob)

    def drop(self, known: Known) -> None:
        """Delete an entry soon."""
        name = name_of(known.key, known.embedder)
        self._waits_no_more(name)
        self._pending[name] = None

    def forget(self, purge: Purge) -> None:
        """What waits to be written is not written after a purge that is about it."""
        for entry in list(self._pending.values()):
            if entry is not None and meets(purge, entry[0]):
                self.drop(entry[0])

    def hurry(self) -> None:
        """What was learned is to be written at once: a route has changed its state."""
        self._urgent = True
        self._wake.set()

    async def learned(self, embedder: str) -> Learned | None:
        """What this worker knew of an embedder when it ended; None without a sound record of it."""
        try:
            rows = await self._database.fetch(_LEARNED, (self._worker, embedder))
        except StorageError as error:
            self._trouble.met(STORE, "get", error)
            return None
        if not rows:
            return None
        (blob,) = rows[0]
        found = unpacked_learned(blob, embedder) if isinstance(blob, bytes) else None
        if found is None:
            self._trouble.met(STORE, DAMAGED)
        return found

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Delete what is meant. Raises StorageError."""
        tenant, model = purge.tenant or "", purge.model or ""
        meant = (tenant, tenant, model, model, purge.before)
        await self.flush()
        ((entries, size),) = await self._database.fetch(_COUNT, meant)
        if not dry_run:
            await self._database.execute(_PURGE, meant)
        return Purged(entries=_int(entries), bytes=_int(size))

    async def forget_learned(self) -> None:
        """Delete what every worker has learned; each begins anew. Raises StorageError."""
        self._unsaved.clear()
        await self._database.execute("DELETE FROM semantic_learned")

    # --- in the background ----------------------------------------------------------------------

    def start(self) -> None:
        """Write and follow from now on."""
        assert self._task is None, "started once"
        self._task = asyncio.get_running_loop().create_task(self._work(), name="semantic cache writer")

    async def stop(self) -> None:
        """Write what waits, once, and end. The database stays open."""
        self._stopping.set()
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        await self._try("put", self.flush)
        await self._try("put", self.save_learned)

    async def flush(self) -> None:
        """Write what waits. Raises StorageError; what was not written waits on."""
        while self._pending:
            batch = {name: self._pending[name] for name in list(self._pending)[:_PAGE]}
            statements: list[tuple[str, tuple[Value, ...]]] = []
            for name, entry in batch.items():
                statements.append((_GONE, (name,)))
                if entry is not None:
                    known, blob = entry
                    owner = (known.tenant, known.model, known.created_at, known.expires_at)
                    statements.append((_PUT, (name, *owner, len(blob), blob)))
            await self._database.transaction(statements)
            for name, entry in batch.items():
                # What has come for the same name meanwhile waits on.
                if self._pending.get(name) is entry:
                    self._waits_no_more(name)

    async def follow(self) -> None:
        """Take into memory what is new in the file, at first all of it. Raises StorageError."""
        while not self._stopping.is_set():
            rows = await self._database.fetch(_NEW, (self._last_id, self._now(), _PAGE))
            for number, name, blob in rows:
                self._last_id = _int(number)
                found = unpacked(name, blob) if isinstance(name, bytes) and isinstance(blob, bytes) else None
                if found is None:
                    self._trouble.met(STORE, DAMAGED)
                    continue
                known, vector = found
                if not self._store.has(known):
                    try:
                        self._store.add(known, vector)
                    except ValueError:
                        self._trouble.met(STORE, DAMAGED)  # other dimensions than its embedder's
            if len(rows) < _PAGE:
                return

    async def save_learned(self) -> None:
        """Write what was learned since the last time. Raises StorageError; it is tried again then."""
        self._unsaved.update(self._changed())
        loop = asyncio.get_running_loop()
        for embedder, learned in list(self._unsaved.items()):
            # In a thread: with its tables full it is some megabytes, and takes tens of milliseconds.
            blob = await loop.run_in_executor(None, packed_learned, learned, embedder)
            await self._database.execute(_LEARN, (self._worker, embedder, self._now(), blob))
            if self._unsaved.get(embedder) is learned:
                del self._unsaved[embedder]

    async def make_room(self) -> None:
        """Delete what has ended, and the oldest until the rest fits into memory. Raises StorageError."""
        await self._database.execute(_ENDED, (self._now(),))
        while True:
            ((entries, size),) = await self._database.fetch(_TOTAL)
            count, excess = _int(entries), _int(size) - self._store.max_bytes
            if excess <= 0 or not count:
                return
            share = excess / _int(size)
            await self._database.execute(_OLDEST, (min(count, int(count * (share + 0.02)) + 1),))

    async def _work(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._wake.wait(), pause_s)
            except TimeoutError:
                pass
            self._wake.clear()
            done = await self._turn(time.monotonic())
            pause_s = _INTERVAL_S if done else min(2 * max(pause_s, _INTERVAL_S), _LONGEST_BACKOFF_S)

    async def _turn(self, clock: float) -> bool:
        done = await self._try("put", self.flush)
        done &= await self._try("get", self.follow)
        if self._urgent or clock >= self._learned_at:
            self._urgent = False
            self._learned_at = clock + _LEARNED_EVERY_S
            done &= await self._try("put", self.save_learned)
        if clock >= self._room_at:
            self._room_at = clock + _ROOM_EVERY_S
            done &= await self._try("put", self.make_room)
        return done

    async def _try(self, what: str, function: Callable[[], Awaitable[None]]) -> bool:
        try:
            await function()
        except StorageError as error:
            self._trouble.met(STORE, what, error)
            return False
        return True

    def _waits_no_more(self, name: bytes) -> None:
        old = self._pending.pop(name, None)
        if old is not None:
            self._pending_bytes -= len(old[1])


def _int(value: Value) -> int:
    assert isinstance(value, int), "the column's type"
    return value
