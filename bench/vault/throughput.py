"""`python -m bench.vault.throughput`: seal and open large files, next to `cp`, age, Tink and OpenSSL.

Everybody seals the same file of random bytes from the page cache into a new file
on the same file system, without waiting for the disk, taking turns; what is
compared are ratios within one round. Opening decrypts, authenticates and throws
away. `--write-docs` renews the section in docs/benchmarks.md, `--check` ends
with status 1 when a promise is broken.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.vault.peers import Peer, find_peers
from bench.vault.report import Figures, promises, section, table, write_section
from fairlead.vault.context import Context
from fairlead.vault.opening import Reader
from fairlead.vault.sealing import DigestName, seal_file
from fairlead.vault.sources import FileSource

PLACE: Final = Context(tenant="bench", name="model", version="1", file="weights.bin")
KEY: Final = bytes(range(32))
PIECE: Final = 4 << 20
OURS: Final[dict[str, tuple[DigestName, ...]]] = {
    "fairlead": ("sha256",),
    "fairlead, BLAKE3": ("blake3",),
    "fairlead, no digest": (),
}

_RSS_JOB: Final = """
import resource, sys
from pathlib import Path
from bench.vault.throughput import KEY, PLACE
from fairlead.vault.opening import Reader
from fairlead.vault.sealing import seal_file
from fairlead.vault.sources import FileSource
def peak_kib():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
source, target = Path(sys.argv[1]), Path(sys.argv[2])
begin = peak_kib()
if sys.argv[3] == "seal":
    seal_file(KEY, PLACE, source, target, durable=False)
else:
    with FileSource(target) as sealed:
        for piece in Reader(KEY, PLACE, sealed).pieces(threads=2):
            pass
print(peak_kib() - begin)
"""


def main(arguments: Sequence[str]) -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.vault.throughput", description=__doc__)
    parser.add_argument("--size-gib", type=float, default=4.0, help="of the file (default 4)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where the files go")
    parser.add_argument("--write-docs", action="store_true", help="renew the section in docs/benchmarks.md")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a promise is broken")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="fairlead-bench-", dir=options.folder) as folder:
        figures = measure(Path(folder), int(options.size_gib * (1 << 30)), options.rounds)
    print(section(figures))
    if options.write_docs:
        write_section(figures)
    return int(options.check and not all(promise.kept for promise in promises(figures)))


def measure(folder: Path, size_bytes: int, rounds: int) -> Figures:
    """All of it, in one run."""
    peers = find_peers(folder)
    source = folder / "plain"
    _write_random(source, size_bytes)
    figures = Figures(
        size_bytes=size_bytes, rounds=rounds, versions={peer.name: peer.version for peer in peers}
    )
    peers[0].seal(
        source, folder / "sealed"
    )  # memory that this machine has not used yet is slower to write to
    for round_ in range(rounds):
        _seal_round(figures, peers, source, folder)
        _open_round(figures, source, folder)
        print(f"round {round_ + 1} of {rounds}\n{table(figures)}", file=sys.stderr)
    figures.memory = {
        "memcpy": median(_memcpy() for _ in range(5)),
        "sha256": median(_sha256() for _ in range(3)),
    }
    small = folder / "small"
    _write_random(small, min(size_bytes, 2 << 30))
    target = folder / "small.sealed"
    figures.rss_mib = {job: _rss(job, small, target) for job in ("seal", "open")}
    figures.load = os.getloadavg()[0]
    return figures


def _seal_round(figures: Figures, peers: list[Peer], source: Path, folder: Path) -> None:
    target = folder / "sealed"
    for peer in peers:
        _settled(figures, peer.name, target, partial(peer.seal, source, target))
        if peer.open:
            figures.add("open", peer.name, peer.open(target, target))
    for name, digests in OURS.items():
        _settled(figures, name, target, partial(_seal, source, target, digests))


def _open_round(figures: Figures, source: Path, folder: Path) -> None:
    """Open what the last of us has sealed; also by processor time, which other processes disturb less."""
    target = folder / "sealed"
    with FileSource(target) as sealed:
        reader = Reader(KEY, PLACE, sealed)
        for name, threads in (("fairlead, 1 thread", 1), ("fairlead, 2 threads", 2)):
            begin, busy = time.perf_counter(), time.process_time()
            for _ in reader.pieces(threads=threads):
                pass
            figures.add("open", name, time.perf_counter() - begin)
            if threads == 1:
                figures.add("open_cpu", name, time.process_time() - busy)
    buffer = bytearray(PIECE)
    fd = os.open(source, os.O_RDONLY)
    begin, busy = time.perf_counter(), time.process_time()
    for offset in range(0, figures.size_bytes, PIECE):
        os.preadv(fd, [buffer], offset)
    figures.add("open", "only reading the file", time.perf_counter() - begin)
    figures.add("open_cpu", "only reading the file", time.process_time() - busy)
    os.close(fd)


def _seal(source: Path, target: Path, digests: tuple[DigestName, ...]) -> float:
    begin = time.perf_counter()
    seal_file(KEY, PLACE, source, target, digests=digests, durable=False)
    return time.perf_counter() - begin


def _settled(figures: Figures, name: str, target: Path, job: Callable[[], float]) -> None:
    """Run a job that writes a new file when nothing waits to be written."""
    target.unlink(missing_ok=True)
    os.sync()
    before = os.times()
    figures.add("seal", name, job())
    figures.add("seal_cpu", name, sum(os.times()[:4]) - sum(before[:4]))


def _memcpy() -> float:
    """Bytes per second of processor time, copied in main memory: far more than the caches hold."""
    size = 256 << 20
    one, other = bytearray(size), bytearray(size)
    other[:] = one
    busy = time.process_time()
    other[:] = one
    return size / (time.process_time() - busy)


def _sha256() -> float:
    """Bytes per second of processor time, hashed."""
    data = bytes(256 << 20)
    busy = time.process_time()
    hashlib.sha256(data)
    return len(data) / (time.process_time() - busy)


def _rss(job: str, source: Path, target: Path) -> float:
    command = [sys.executable, "-c", _RSS_JOB, str(source), str(target), job]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def _write_random(path: Path, size_bytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(0, size_bytes, PIECE):
            file.write(os.urandom(min(PIECE, size_bytes - file.tell())))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
