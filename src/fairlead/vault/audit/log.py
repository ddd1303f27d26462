"""The audit log: `append` returns when the event is on the disk, in the tree and under a signature.

Events that arrive while the disk is busy are written together, with the
signed checkpoint over them, in one write and one sync (group commit). One
thread does that, one process holds the lock.

Whatever cannot be recorded did not happen: the disk full, failing or slow is
`AuditUnavailable`, and whoever asked must release nothing. After a failed
write the file is cut back and the next event tried afresh; after a failed
sync nobody knows what the disk has, so the log stays shut until it is opened
again. An event that was not confirmed may be in the log all the same: it
records too much rather than too little.

Opening reads the whole file. What follows the last signed checkpoint was never
confirmed to anybody: it is set aside in `audit.torn-OFFSET`, and an entry of
its own says so. Damage anywhere before a signed checkpoint is refused.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import msgspec

from fairlead.errors import AuditUnavailable, InvalidRequest
from fairlead.vault.audit import checkpoint, records
from fairlead.vault.audit.checkpoint import Checkpoint, Signer
from fairlead.vault.audit.event import NO_HASH, Entry, Event, encode
from fairlead.vault.audit.files import Folder, LogFile
from fairlead.vault.audit.merkle import Tree, leaf_hash
from fairlead.vault.audit.opening import Found, examine

MAX_BATCH_BYTES: Final = 1 << 20
MAX_BATCH: Final = 512
MAX_WAITING: Final = 10_000
"""Events that wait for the disk; the next is refused."""

_Waiting = tuple[Event, "Future[Position]"]


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where an event lies."""

    seq: int
    leaf: bytes
    """Its leaf hash, for an inclusion proof."""
    size: int
    """Entries of the first signed head that covers it."""


class Log:
    """An open log. Made by `open`; one instance serves any number of tasks."""

    def __init__(self, file: LogFile, signer: Signer, found: Found) -> None:
        """Use `open`."""
        self._file = file
        self._signer = signer
        self._tree: Tree = found.tree
        self._end = found.end
        self._last = found.tree.leaf(found.tree.size - 1).hex() if found.tree.size else NO_HASH
        self._head = found.head
        self._note = found.note
        self._broken: str | None = None
        self._waiting: list[_Waiting] = []
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="audit-log")

    @classmethod
    async def open(
        cls,
        folder: Folder,
        signer: Signer,
        clock: Callable[[], float],
        pinned: Checkpoint | None = None,
    ) -> Log:
        """Open a log for writing, made where there is none.

        Args:
            folder: where it lies.
            signer: the key that signs its heads, under the log's name.
            clock: Unix seconds, for the entry about a recovery.
            pinned: a head that it had before, from elsewhere; None where none is known.

        Raises:
            Tampered: what was signed is not there, or went back behind `pinned`.
            AuditUnavailable: it cannot be read or written, or somebody else writes it.
        """
        return await asyncio.to_thread(cls._open, folder, signer, clock, pinned)

    @classmethod
    def _open(
        cls, folder: Folder, signer: Signer, clock: Callable[[], float], pinned: Checkpoint | None
    ) -> Log:
        try:
            file = folder.open()
        except OSError as error:
            raise _unavailable("cannot be opened", error) from error
        try:
            found = examine(folder, signer.verifier, pinned)
            log = cls(file, signer, found)
            log._mend(folder, found, clock)
        except OSError as error:
            file.close()
            raise _unavailable("cannot be read or mended", error) from error
        except BaseException:
            file.close()
            raise
        return log

    @property
    def head(self) -> Checkpoint:
        """The newest signed head."""
        assert self._head is not None, "signed when the log was opened"
        return self._head

    @property
    def note(self) -> bytes:
        """The newest head as a signed note."""
        return self._note

    async def append(self, event: Event, timeout_s: float = 10.0) -> Position:
        """Record an event. It is durable and signed when this returns.

        Raises:
            AuditUnavailable: it is not known to be recorded; release nothing.
            InvalidRequest: the event breaks the bounds of `event`; release nothing.
        """
        future: Future[Position] = Future()
        with self._guard:
            if len(self._waiting) >= MAX_WAITING:
                raise AuditUnavailable("too many events wait for the audit log")
            self._waiting.append((event, future))
            try:
                self._pool.submit(self._write_waiting)
            except RuntimeError as error:
                self._waiting.pop()
                raise AuditUnavailable("the audit log is closed") from error
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except TimeoutError:
            raise AuditUnavailable(f"the audit log's disk did not answer within {timeout_s:g} s") from None

    def inclusion(self, seq: int) -> list[bytes]:
        """The proof that entry `seq` is under `head`; ValueError when there is no such entry."""
        return self._tree.inclusion(seq, self.head.size)

    def consistency(self, old: int) -> list[bytes]:
        """The proof that `head` grew from the log's first `old` entries; ValueError when it has fewer."""
        return self._tree.consistency(old, self.head.size)

    async def close(self) -> None:
        """Write what waits, and let another writer in. Events sent afterwards are refused."""
        await asyncio.to_thread(self._pool.shutdown)
        with self._guard:
            file_is_open, self._broken = self._broken != "closed", "closed"
        if file_is_open:
            self._file.close()

    # --- on the writing thread ---------------------------------------------------------------

    def _write_waiting(self) -> None:
        """Write what waits, which may be nothing: an earlier turn has taken it along."""
        with self._guard:
            taken, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        taken = [waiting for waiting in taken if waiting[1].set_running_or_notify_cancel()]
        while taken:
            written = self._write(taken)
            taken = taken[written:]

    def _write(self, waiting: list[_Waiting]) -> int:
        """Write one batch from the beginning of `waiting`, answer it, and return how many that were."""
        if self._broken is not None:
            error = AuditUnavailable(f"the audit log is shut: {self._broken}", hint=_REOPEN)
            for _, future in waiting:
                future.set_exception(error)
            return len(waiting)
        size, last = self._tree.size, self._last
        data = bytearray()
        placed: list[tuple[Future[Position], int, bytes]] = []
        refused: list[tuple[Future[Position], InvalidRequest]] = []
        for event, future in waiting:
            try:
                body = encode(Entry(seq=self._tree.size, prev=self._last, event=event))
            except InvalidRequest as error:
                refused.append((future, error))
                continue
            leaf = leaf_hash(body)
            placed.append((future, self._tree.size, leaf))
            self._tree.add(leaf)
            self._last = leaf.hex()
            data += records.frame(records.ENTRY, body)
            if len(data) >= MAX_BATCH_BYTES:
                break
        failure = self._committed(data, size, last) if placed else None
        for future, wrong in refused:
            future.set_exception(wrong)
        for future, seq, leaf in placed:
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(Position(seq=seq, leaf=leaf, size=self._tree.size))
        return len(placed) + len(refused)

    def _committed(self, data: bytearray, size: int, last: str) -> AuditUnavailable | None:
        """Put a batch on the disk; when that fails, the tree is as before, and this says why."""
        try:
            self._sign_and_sync(data)
        except Exception as error:
            # Whatever it was: whoever waits must hear that nothing is recorded.
            self._tree.cut(size)
            self._last = last
            failure = _unavailable("cannot be written", error)
            failure.__cause__ = error
            return failure
        return None

    def _sign_and_sync(self, data: bytearray) -> None:
        """Write entries that are in the tree already, and a head over them; all of it or none."""
        head = Checkpoint(origin=self._signer.verifier.name, size=self._tree.size, root=self._tree.root())
        note = checkpoint.sign(head, self._signer).encode()
        data += records.frame(records.CHECKPOINT, note)
        try:
            self._file.write(bytes(data))
        except BaseException:
            self._cut_back()
            raise
        try:
            self._file.sync()
        except BaseException:
            # The kernel may have dropped the pages and report success next time.
            self._broken = "a sync of its disk failed"
            raise
        self._end += len(data)
        self._head, self._note = head, note

    def _cut_back(self) -> None:
        """Undo a write that failed half-way, or shut the log."""
        try:
            self._file.truncate(self._end)
            self._file.sync()
        except OSError as error:
            self._broken = f"a write failed and could not be undone ({error.strerror})"

    def _mend(self, folder: Folder, found: Found, clock: Callable[[], float]) -> None:
        """Bring the file into order: its first line, no torn tail, a signed head at its end."""
        if found.torn:
            folder.keep(f"audit.torn-{found.end}", found.torn)
            self._file.truncate(found.end)
            self._file.sync()
        data = bytearray()
        if not found.end:
            data += records.MAGIC
        if found.torn:
            event = Event(
                kind="recovery",
                at_ms=int(clock() * 1000),
                detail={"offset": str(found.end), "torn_bytes": str(len(found.torn))},
            )
            body = encode(Entry(seq=self._tree.size, prev=self._last, event=event))
            leaf = leaf_hash(body)
            self._tree.add(leaf)
            self._last = leaf.hex()
            data += records.frame(records.ENTRY, body)
        if data or self._head is None:
            self._sign_and_sync(data)


_REOPEN: Final = "mend the disk, then restart: the log is read anew and continues after its last signed head"


def _unavailable(what: str, error: Exception) -> AuditUnavailable:
    why = (error.strerror or type(error).__name__) if isinstance(error, OSError) else type(error).__name__
    return AuditUnavailable(
        f"the audit log {what}: {why}", hint="nothing was released; free space on its disk or mend it"
    )
