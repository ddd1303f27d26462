"""A folder in memory that loses what was not synced, and fails at whichever call it is told to."""

from __future__ import annotations

import errno
from collections.abc import Callable

from fairlead.errors import AuditUnavailable

KEEPS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "nothing": lambda synced, written: synced,
    "half": lambda synced, written: synced + written[: len(written) // 2],
    "one byte less": lambda synced, written: synced + written[:-1],
    "zeros": lambda synced, written: synced + written[: len(written) // 2] + bytes(len(written) // 2),
    "everything": lambda synced, written: synced + written,
}
"""What of the bytes that were written and not synced is on the disk after a crash."""


class CrashingFolder:
    """`files.Folder`, with one crash and any number of errors.

    Args:
        content: what is on the disk.
        crash_at: the call, counted from 1, at which the machine stops; 0 for never.
    """

    def __init__(self, content: bytes = b"", crash_at: int = 0) -> None:
        self.synced = content
        self.seen = content
        self.kept: dict[str, bytes] = {}
        self.calls = 0
        self.crash_at = crash_at
        self.locked = False
        self.fail_write: list[int] = []
        """Room left at each of the next writes, in bytes; then the disk is full."""
        self.fail_sync = 0
        """That many of the next syncs fail."""

    def step(self) -> None:
        self.calls += 1
        if self.crash_at and self.calls >= self.crash_at:
            raise OSError(errno.EIO, "the machine has stopped")

    def after_crash(self, keeps: str) -> CrashingFolder:
        """The folder that the next start finds."""
        if not self.seen.startswith(self.synced):  # cut, and the cut not synced: it may be undone
            return CrashingFolder(self.synced if keeps != "everything" else self.seen)
        written = self.seen[len(self.synced) :]
        return CrashingFolder(KEEPS[keeps](self.synced, written))

    def open(self) -> CrashingFile:
        if self.locked:
            raise AuditUnavailable("locked")
        self.locked = True
        return CrashingFile(self)

    def read(self, offset: int, size: int) -> bytes:
        return self.seen[offset : offset + size]

    def keep(self, name: str, data: bytes) -> None:
        self.step()
        self.kept[name] = data


class CrashingFile:
    def __init__(self, folder: CrashingFolder) -> None:
        self.folder = folder

    def write(self, data: bytes) -> None:
        folder = self.folder
        try:
            folder.step()
        except OSError:
            if folder.calls == folder.crash_at:  # stopped within the write
                folder.seen += data
            raise
        if folder.fail_write:
            folder.seen += data[: folder.fail_write.pop(0)]
            raise OSError(errno.ENOSPC, "No space left on device")
        folder.seen += data

    def sync(self) -> None:
        self.folder.step()
        if self.folder.fail_sync:
            self.folder.fail_sync -= 1
            raise OSError(errno.EIO, "Input/output error")
        self.folder.synced = self.folder.seen

    def truncate(self, size: int) -> None:
        self.folder.step()
        self.folder.seen = self.folder.seen[:size]

    def close(self) -> None:
        self.folder.locked = False
