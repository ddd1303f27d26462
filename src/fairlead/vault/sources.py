"""Where bytes to seal and sealed bytes come from: a file, memory, an object store's ranges.

A source has a size, fixed when it was opened, and gives exactly the bytes asked
for or raises. Files are read by `pread` and never mapped: OpenSSL passes over
the ciphertext more than once, and a mapped file that somebody rewrites between
the passes would give plaintext that no tag has checked.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from fairlead.errors import VaultError
from fairlead.vault.floe import Buffer

Fetch = Callable[[int, int], Awaitable[Buffer]]
"""Reads a range of an object: offset and length in, that many bytes out."""


class Source(Protocol):
    """Bytes with a known size that can be read anywhere. Reads may come from several threads."""

    size_bytes: int

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole buffer from `offset` on.

        Raises:
            VaultError: the source cannot be read, or is shorter than it said.
        """
        ...


class MemorySource:
    """Bytes in memory."""

    def __init__(self, data: Buffer) -> None:
        """Read from `data`, which must not change."""
        self._data = memoryview(data).cast("B")
        self.size_bytes = len(self._data)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Copy from memory."""
        if offset + len(buffer) > self.size_bytes:
            raise VaultError("the data ends before it should")
        buffer[:] = self._data[offset : offset + len(buffer)]


class FileSource:
    """A regular file, opened once: later renames and links change nothing."""

    def __init__(self, path: Path) -> None:
        """Open a file for reading. A symbolic link at the end of the path is refused.

        Raises:
            VaultError: there is no such regular file, or it cannot be read.
        """
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise VaultError(f"{path} cannot be read: {error.strerror}") from error
        self._path = path
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode):
            os.close(self._fd)
            raise VaultError(f"{path} is not a regular file")
        self.size_bytes = facts.st_size
        self._mark = _mark(facts)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Read from the file."""
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise VaultError(f"{self._path} cannot be read: {error.strerror}") from error
            if not got:
                raise VaultError(f"{self._path} was cut while it was read")
            done += got

    def check_unchanged(self) -> None:
        """Make sure that nobody has written to the file since it was opened.

        Raises:
            VaultError: its size or its time of change is another.
        """
        if _mark(os.fstat(self._fd)) != self._mark:
            raise VaultError(f"{self._path} was changed while it was read")

    def close(self) -> None:
        """Close the file. Nobody may be reading."""
        os.close(self._fd)

    def __enter__(self) -> FileSource:
        """The source itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def _mark(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
