"""Sealing and opening a file takes the same little memory however long the file is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SIZE = 256 << 20
LIMIT_MIB = 64

JOB = """
import sys
from pathlib import Path
from fairlead.vault.context import Context
from fairlead.vault.opening import Reader
from fairlead.vault.sealing import seal_file
from fairlead.vault.sources import FileSource

def peak_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

place = Context(tenant="acme", name="fraud", version="7", file="model.bin")
begin = peak_kib()
if sys.argv[3] == "seal":
    seal_file(bytes(32), place, Path(sys.argv[1]), Path(sys.argv[2]), durable=False)
else:
    with FileSource(Path(sys.argv[2])) as source:
        reader = Reader(bytes(32), place, source)
        print(sum(len(piece) for piece in reader.pieces(threads=2)), file=sys.stderr)
print(peak_kib() - begin)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    source, target = tmp_path / "plain", tmp_path / "sealed"
    with source.open("wb") as file:
        file.truncate(SIZE)  # a hole: nothing is read from the disk
    for job in ("seal", "open"):
        command = [sys.executable, "-c", JOB, str(source), str(target), job]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100)

        assert int(done.stdout) / 1024 < LIMIT_MIB, job
    assert int(done.stderr) == SIZE
