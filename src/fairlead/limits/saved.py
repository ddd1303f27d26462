"""Keeps the state of a `MemoryStore` in the database, so that a restart goes on where it was.

Written behind: a few times a second what changed since the last time goes into
one transaction, as of one moment. So

- after `stop` everything is there, exactly;
- after a crash (SIGKILL) everything is there that happened more than
  `PROMISED_S` before it. What was admitted or settled in the last moments may
  be forgotten, in favour of who asked. What was open counts as reserved until
  it expires and is then given back; its places are free at once, since the
  requests that held them died with the process;
- while the database fails, requests go on, and what changes is kept and tried
  again. `failures` tells.

One process owns the rows: several need a shared store.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgspec

from fairlead.errors import StorageError, StorageUnusable
from fairlead.limits.memory import Changes, KeptCell, MemoryStore, Reservation
from fairlead.storage.ports import Database, Value

_log: Final = logging.getLogger(__name__)

PROMISED_S: Final = 1.0
"""What is older than this survives a crash, as long as the database answers."""
_INTERVAL_S: Final = 0.25
_LONGEST_BACKOFF_S: Final = 5.0
_SLICE: Final = 64
"""Rows encoded between two turns of the event loop: about 0.3 ms for requests with six limits."""

_CELLS: Final = "SELECT id, detail FROM limit_cells"
_RESERVATIONS: Final = "SELECT id, detail FROM limit_reservations"
_CLOCK: Final = "SELECT saved_at_us FROM limit_clock WHERE id = 1"
_PUT_CELL: Final = (
    "INSERT INTO limit_cells (id, detail) VALUES (?, ?) "
    "ON CONFLICT (id) DO UPDATE SET detail = excluded.detail"
)
_PUT_RESERVATION: Final = (
    "INSERT INTO limit_reservations (id, detail) VALUES (?, ?) "
    "ON CONFLICT (id) DO UPDATE SET detail = excluded.detail"
)
_DROP_CELL: Final = "DELETE FROM limit_cells WHERE id = ?"
_DROP_RESERVATION: Final = "DELETE FROM limit_reservations WHERE id = ?"
_SET_CLOCK: Final = "UPDATE limit_clock SET saved_at_us = ? WHERE id = 1"

_Statement = tuple[str, tuple[Value, ...]]
T = TypeVar("T")


class Saver:
    """Writes what changes in one store. Make it with `open_saved`."""

    def __init__(self, database: Database, store: MemoryStore, written: set[str]) -> None:
        """Go on from a store that was just restored; `written` are the reservations that have a row."""
        self.store = store
        self.failures = 0
        """Writes that failed since the start."""
        self._database = database
        self._written = written
        self._lock = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Write in the background from now on."""
        assert self._task is None, "started once"
        self._task = asyncio.get_running_loop().create_task(self._write_regularly(), name="limits saver")

    async def flush(self) -> None:
        """Write everything that changed until now.

        Raises:
            StorageError: it is not written, and part of the next write.
        """
        async with self._lock:
            changes = self._needed(self.store.changes())
            if not changes.cells and not changes.reservations:
                return
            try:
                await self._database.transaction(await _statements(changes))
            except BaseException:
                # A cancelled write may have been made; making it again changes nothing.
                self.store.changed_again(changes)
                raise
            for name, reservation in changes.reservations.items():
                if reservation is None:
                    self._written.discard(name)
                else:
                    self._written.add(name)

    async def stop(self) -> None:
        """End the background writes with a last one, which is logged when it fails."""
        self._stopping.set()
        if self._task is not None:
            await self._task
        self._task = None
        await self._try()

    async def _write_regularly(self) -> None:
        pause_s = _INTERVAL_S
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), pause_s)
            except TimeoutError:
                written = await self._try()
                pause_s = _INTERVAL_S if written else min(2 * pause_s, _LONGEST_BACKOFF_S)

    async def _try(self) -> bool:
        """Flush; log the first of a row of failures, and its end."""
        try:
            await self.flush()
        except StorageError as error:
            self.failures += 1
            if not self._failing:
                self._failing = True
                _log.error("the state of limits cannot be saved", extra={"error": str(error)})
            return False
        if self._failing:
            self._failing = False
            _log.warning("the state of limits is saved again")
        return True

    def _needed(self, changes: Changes) -> Changes:
        """Without reservations that came and went between two writes."""
        reservations = {
            name: reservation
            for name, reservation in changes.reservations.items()
            if reservation is not None or name in self._written
        }
        return msgspec.structs.replace(changes, reservations=reservations)


async def open_saved(database: Database, clock: Callable[[], int]) -> Saver:
    """A store with the state that was saved, and what goes on saving it; `start` is the caller's.

    Args:
        database: with the schema up to date.
        clock: for the store.

    Raises:
        StorageUnusable: a row cannot be read.
        StorageError: the database failed.
    """
    cells = await _kept(database, _CELLS, KeptCell)
    reservations = await _kept(database, _RESERVATIONS, Reservation)
    ((saved_at_us,),) = await database.fetch(_CLOCK)
    store = MemoryStore(clock, tracked=True)
    store.restore(cells.values(), reservations, int(saved_at_us or 0))
    return Saver(database, store, set(reservations))


async def _kept(database: Database, sql: str, kind: type[T]) -> dict[str, T]:
    """The rows of a table by id."""
    decoder = msgspec.msgpack.Decoder(kind)
    try:
        return {str(name): decoder.decode(_bytes(detail)) for name, detail in await database.fetch(sql)}
    except msgspec.MsgspecError as error:
        raise StorageUnusable(
            f"the saved state of limits cannot be read ({error})",
            hint="restore a backup of the state store, or empty its tables `limit_cells` and "
            "`limit_reservations`: every budget then begins its window anew",
        ) from error


def _bytes(value: Value) -> bytes:
    assert isinstance(value, bytes), "the column's type"
    return value


async def _statements(changes: Changes) -> list[_Statement]:
    """The changes as SQL, made in slices: nobody waits for a long one."""
    statements: list[_Statement] = []
    for statement in _each(changes):
        statements.append(statement)
        if len(statements) % _SLICE == 0:
            await asyncio.sleep(0)
    return statements


def _each(changes: Changes) -> Iterator[_Statement]:
    encode = msgspec.msgpack.encode
    yield _SET_CLOCK, (changes.at_us,)
    for name, cell in changes.cells.items():
        yield (_DROP_CELL, (name,)) if cell is None else (_PUT_CELL, (name, encode(cell)))
    for name, reservation in changes.reservations.items():
        if reservation is None:
            yield _DROP_RESERVATION, (name,)
        else:
            yield _PUT_RESERVATION, (name, encode(reservation))
