"""The files of a log, behind a port small enough to inject every fault into it.

`Folder` opens the one log file for its one writer, sets a torn tail aside, and
reads. An append is on the disk only after `sync`; a name that was created is,
too, because the folder is synced with it. A lock that the kernel drops with
the process keeps a second writer out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from fairlead.errors import AuditUnavailable

LOG: Final = "audit.log"
LOCK: Final = "audit.lock"


class LogFile(Protocol):
    """The log, open for its one writer. Failures are OSError."""

    def write(self, data: bytes) -> None:
        """Append all of `data`. It may be lost in a crash until `sync` returns."""
        ...

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        ...

    def close(self) -> None:
        """Close, and let another writer in."""
        ...


class Folder(Protocol):
    """Where a log lies. Failures are OSError."""

    def open(self) -> LogFile:
        """The log, made if there is none.

        Raises:
            AuditUnavailable: somebody else has it open.
        """
        ...

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes of the log from `offset`; none at its end, or where there is no log."""
        ...

    def keep(self, name: str, data: bytes) -> None:
        """Put a small file beside the log, whole and on the disk before this returns."""
        ...


class DiskFolder:
    """`Folder` in a directory of a local file system."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> DiskLogFile:
        """The log, made (mode 0600, its directory 0700) if there is none."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self._path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log = os.open(
                self._path / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
        except BlockingIOError as error:
            os.close(lock)
            raise AuditUnavailable(
                f"the audit log in {self._path} is being written by another process",
                hint="one process writes a log; stop the other, or give this one a directory of its own",
            ) from error
        except BaseException:
            os.close(lock)
            raise
        file = DiskLogFile(log, lock)
        try:
            self._sync_names()
        except BaseException:
            file.close()
            raise
        return file

    def read(self, offset: int, size: int) -> bytes:
        try:
            log = os.open(self._path / LOG, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        with contextlib.closing(os.fdopen(log, "rb", buffering=0)) as file:
            return os.pread(file.fileno(), size, offset)

    def keep(self, name: str, data: bytes) -> None:
        temporary = self._path / f".{name}.part"
        with open(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb"
        ) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path / name)
        self._sync_names()

    def _sync_names(self) -> None:
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


class DiskLogFile:
    """`LogFile` on two descriptors: the log's and the lock's."""

    def __init__(self, log: int, lock: int) -> None:
        self._log = log
        self._lock = lock

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._log, rest) :]

    def sync(self) -> None:
        os.fsync(self._log)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._log, size)

    def close(self) -> None:
        os.close(self._log)
        os.close(self._lock)


def chunks(folder: Folder, size: int = 1 << 20) -> Iterator[bytes]:
    """The whole log in pieces."""
    offset = 0
    while piece := folder.read(offset, size):
        yield piece
        offset += len(piece)
