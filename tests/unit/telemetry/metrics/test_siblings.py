"""Metrics of all workers, over Unix sockets in a temporary directory."""

from __future__ import annotations

import asyncio
import shutil
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.telemetry.records import record

from fairlead.errors import ConfigError
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.metrics.samples import Family
from fairlead.telemetry.metrics.siblings import Siblings


@pytest.fixture
def directory() -> Iterator[Path]:
    # Not pytest's own: its paths can be longer than a socket's may be.
    path = Path(tempfile.mkdtemp(prefix="fl"))
    yield path / "run"
    shutil.rmtree(path)


class Worker:
    """One worker's metrics and its place among its siblings."""

    def __init__(self, directory: Path, number: int, generation: str = "g1", timeout_s: float = 5.0) -> None:
        self.metrics = Metrics()
        self.siblings = Siblings(
            directory,
            worker=number,
            generation=generation,
            families=lambda: self.metrics.families([Reading(name="fairlead_in_flight", value=1)]),
            timeout_s=timeout_s,
        )

    def serve(self, requests: int) -> None:
        self.metrics.take([record()] * requests)

    async def total(self) -> tuple[int, int, int]:
        """Requests, requests in flight, workers missing, as a scrape of this worker shows them."""
        families, missing = await self.siblings.collect()
        return _value(families, "fairlead_requests_total"), _value(families, "fairlead_in_flight"), missing

    def die(self) -> None:
        """As SIGKILL does: the socket stays, and nobody listens."""
        server = self.siblings._server
        assert server is not None
        path = self.siblings._path("sock")
        server.close()
        path.unlink(missing_ok=True)
        _dead_socket(path)


def _dead_socket(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()


def _value(families: tuple[Family, ...], name: str) -> int:
    return int(sum(series.value for family in families if family.name == name for series in family.series))


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())}


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_one_scrape_shows_all_workers(directory: Path) -> None:
    async def main() -> None:
        workers = [Worker(directory, number) for number in range(3)]
        for number, worker in enumerate(workers):
            await worker.siblings.start()
            worker.serve(10**number)
        for worker in workers:
            assert await worker.total() == (111, 3, 0)
        for worker in workers:
            await worker.siblings.stop()

    asyncio.run(main())


def test_only_this_user_can_reach_a_worker(directory: Path) -> None:
    async def main() -> None:
        worker = Worker(directory, 0)
        await worker.siblings.start()
        await worker.total()
        assert modes(directory) == {"run": 0o700, "worker-0.sock": 0o600, "worker-0.snapshot": 0o600}
        await worker.siblings.stop()

    asyncio.run(main())


def test_what_was_shown_of_a_killed_worker_stays_in_the_sum(directory: Path) -> None:
    async def main() -> None:
        one, other = Worker(directory, 0), Worker(directory, 1)
        for worker in (one, other):
            await worker.siblings.start()
        one.serve(5)
        other.serve(7)
        assert await one.total() == (12, 2, 0)

        other.die()

        assert await one.total() == (12, 1, 1)
        successor = Worker(directory, 1)
        await successor.siblings.start()
        assert await one.total() == (12, 2, 0)
        successor.serve(1)
        assert await one.total() == (13, 2, 0)
        assert await successor.total() == (13, 2, 0)
        for worker in (one, successor):
            await worker.siblings.stop()

    asyncio.run(main())


def test_a_worker_that_stopped_leaves_its_last_numbers(directory: Path) -> None:
    async def main() -> None:
        one, other = Worker(directory, 0), Worker(directory, 1)
        for worker in (one, other):
            await worker.siblings.start()
        other.serve(7)

        await other.siblings.stop()

        assert await one.total() == (7, 1, 0)
        await one.siblings.stop()

    asyncio.run(main())


def test_a_worker_that_hangs_is_counted_and_shown_as_last_seen(directory: Path) -> None:
    async def main() -> None:
        one, other = Worker(directory, 0, timeout_s=0.05), Worker(directory, 1)
        for worker in (one, other):
            await worker.siblings.start()
        other.serve(7)
        await other.total()
        other.die()
        path = other.siblings._path("sock")
        path.unlink()
        never = asyncio.Event()

        async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await never.wait()
            writer.close()

        server = await asyncio.start_unix_server(hang, path)
        assert await one.total() == (7, 1, 1)
        never.set()
        server.close()
        await one.siblings.stop()

    asyncio.run(main())


@pytest.mark.parametrize("answer", [b"", b"nonsense", b"\x93\x01\xa2g1\x90trailing"])
def test_a_worker_that_talks_nonsense_is_counted(directory: Path, answer: bytes) -> None:
    async def main() -> None:
        one, other = Worker(directory, 0), Worker(directory, 1)
        for worker in (one, other):
            await worker.siblings.start()
        other.die()
        path = other.siblings._path("sock")
        path.unlink()

        async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            writer.close()

        server = await asyncio.start_unix_server(babble, path)
        assert await one.total() == (0, 1, 1)
        server.close()
        await one.siblings.stop()

    asyncio.run(main())


def test_a_new_start_of_the_gateway_begins_at_zero(directory: Path) -> None:
    async def main() -> None:
        for number in range(3):
            worker = Worker(directory, number, "g1")
            await worker.siblings.start()
            worker.serve(5)
            await worker.total()
            worker.die()

        fresh = Worker(directory, 0, "g2")
        await fresh.siblings.start()
        fresh.serve(1)

        assert await fresh.total() == (1, 1, 0), "nothing of workers 1 and 2, which no longer are"
        await fresh.siblings.stop()

    asyncio.run(main())


def test_a_damaged_snapshot_is_as_none(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    (directory / "worker-0.snapshot").write_bytes(b"\x93")
    (directory / "worker-x.snapshot").write_bytes(b"")

    async def main() -> None:
        worker = Worker(directory, 0)
        await worker.siblings.start()
        assert await worker.total() == (0, 1, 0)
        await worker.siblings.stop()

    asyncio.run(main())


def test_metrics_are_shown_even_when_the_snapshot_cannot_be_written(directory: Path) -> None:
    async def main() -> None:
        worker = Worker(directory, 0)
        await worker.siblings.start()
        worker.serve(2)
        (directory / "worker-0.draft").mkdir()
        assert await worker.total() == (2, 1, 0)
        await worker.siblings.stop()

    asyncio.run(main())


def test_a_path_too_long_for_a_socket_is_said_so(tmp_path: Path) -> None:
    async def main() -> None:
        await Worker(tmp_path / ("d" * 120), 0).siblings.start()

    with pytest.raises(ConfigError, match="too long for a Unix socket"):
        asyncio.run(main())


def test_the_snapshot_is_never_seen_half_written(directory: Path) -> None:
    async def main() -> None:
        worker = Worker(directory, 0)
        await worker.siblings.start()
        before = inode(directory / "worker-0.snapshot")
        await worker.total()
        assert inode(directory / "worker-0.snapshot") != before, "replaced, not overwritten"
        await worker.siblings.stop()

    asyncio.run(main())
