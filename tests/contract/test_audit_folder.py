"""The audit log on a real disk: what a killed process had confirmed is there, and one process writes."""

from __future__ import annotations

import asyncio
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.vault.audit.crashing import CrashingFolder

from fairlead.errors import AuditUnavailable
from fairlead.vault.audit.checkpoint import Signer
from fairlead.vault.audit.event import Event
from fairlead.vault.audit.files import LOCK, LOG, DiskFolder, Folder
from fairlead.vault.audit.log import Log
from fairlead.vault.audit.verify import entries, verify

SIGNER = Signer("vault.test/audit", b"\x07" * 32)
WRITER = """
import asyncio, sys
from pathlib import Path
from fairlead.vault.audit.checkpoint import Signer
from fairlead.vault.audit.event import Event
from fairlead.vault.audit.files import DiskFolder
from fairlead.vault.audit.log import Log

async def main():
    signer = Signer("vault.test/audit", bytes([7]) * 32)
    log = await Log.open(DiskFolder(Path(sys.argv[1])), signer, lambda: 1.0)
    number = log.head.size
    while True:
        await asyncio.gather(*(log.append(Event(kind="read", at_ms=number + more)) for more in range(4)))
        number += 4
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return DiskFolder(tmp_path / "audit") if request.param == "disk" else CrashingFolder()


def test_what_is_written_is_read_back(folder: Folder) -> None:
    assert folder.read(0, 10) == b""
    file = folder.open()
    file.write(b"hello ")
    file.write(b"world")
    file.sync()
    assert folder.read(0, 100) == b"hello world"
    assert folder.read(6, 3) == b"wor"
    assert folder.read(11, 5) == b""
    file.truncate(5)
    file.write(b"!")
    assert folder.read(0, 100) == b"hello!"
    with pytest.raises(AuditUnavailable):
        folder.open()
    folder.keep("audit.torn-1", b"torn")
    file.close()
    folder.open().close()


def test_a_log_reads_what_it_wrote(folder: Folder) -> None:
    async def story() -> None:
        for number in range(3):
            log = await Log.open(folder, SIGNER, lambda: 1.0)
            await log.append(Event(kind="read", at_ms=number))
            await log.close()

    asyncio.run(story())

    assert [entry.event.at_ms for entry in entries(folder)] == [0, 1, 2]
    assert verify(folder, SIGNER.verifier).ok


def test_files_are_for_their_owner_and_are_no_links(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    folder = DiskFolder(path)
    folder.open().close()
    folder.keep("audit.torn-1", b"torn")

    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in (LOG, LOCK, "audit.torn-1"):
        assert stat.S_IMODE((path / name).stat().st_mode) == 0o600
    assert sorted(one.name for one in path.iterdir()) == sorted([LOG, LOCK, "audit.torn-1"])
    (path / LOG).unlink()
    (path / LOG).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        folder.open()
    folder_again = DiskFolder(path)
    (path / LOG).unlink()
    folder_again.open().close()  # the failed opening has let the lock go


def test_a_directory_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(AuditUnavailable):
        asyncio.run(Log.open(DiskFolder(tmp_path / "file"), SIGNER, lambda: 1.0))


def test_a_killed_writer_loses_nothing_that_it_was_told_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(5)]
        with pytest.raises(AuditUnavailable, match="another process"):
            asyncio.run(Log.open(DiskFolder(path), SIGNER, lambda: 1.0))
        writer.send_signal(signal.SIGKILL)
        told += [int(line) for line in writer.stdout.read().splitlines()]
        writer.wait(20)
        writer.stdout.close()

        async def reopened() -> int:
            log = await Log.open(DiskFolder(path), SIGNER, lambda: 1.0)
            await log.close()
            return log.head.size

        assert asyncio.run(reopened()) >= told[-1]
        assert verify(DiskFolder(path), SIGNER.verifier).ok
