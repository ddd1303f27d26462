"""Metrics of all workers, from any one of them.

Workers share a port, so a scrape reaches one by chance; it asks the others.
Each worker serves its snapshot on a Unix socket in a directory only its user
may enter (`worker-N.sock`, mode 0600): whoever connects is sent the snapshot
and the end of the stream.

Sums never go backwards, because Prometheus would read that as a restart of
everything: a worker writes its snapshot to `worker-N.snapshot` before it shows
it to anybody and when it stops; for a worker that is dead or does not answer
in time, counters and histograms are taken from there; and the successor of a
dead worker goes on from its numbers. What is lost with a killed worker is what
nobody had seen yet. Snapshots belong to a generation, the start of the whole
gateway, so that a new start begins at zero.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fairlead.errors import ConfigError
from fairlead.telemetry.metrics.merge import cumulative, merge
from fairlead.telemetry.metrics.samples import Family, Snapshot

_log: Final = logging.getLogger(__name__)

_LARGEST_SNAPSHOT: Final = 64 * 1024 * 1024
_LONGEST_SOCKET_PATH: Final = 103
"""Bytes; macOS' limit, and Linux has four more."""


class Siblings:
    """One worker's place among those of its gateway."""

    def __init__(
        self,
        directory: Path,
        *,
        worker: int,
        generation: str,
        families: Callable[[], tuple[Family, ...]],
        timeout_s: float = 0.5,
    ) -> None:
        """Join the workers that meet in `directory`.

        Args:
            directory: `run` in the state directory; created with mode 0700.
            worker: this worker's number; its successor after a crash has the same.
            generation: the same text for all workers of one start of the gateway.
            families: this process' own metrics as they stand.
            timeout_s: how long a sibling may take to answer.
        """
        self._directory = directory
        self._worker = worker
        self._generation = generation
        self._families = families
        self._timeout_s = timeout_s
        self._inherited: tuple[Family, ...] = ()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decoder = msgspec.msgpack.Decoder(Snapshot)
        self._server: asyncio.Server | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Take over a dead predecessor's numbers and answer siblings from now on.

        Raises:
            ConfigError: the state directory's path is too long for a socket.
            OSError: the directory cannot be used.
        """
        path = self._path("sock")
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise ConfigError(
                f"state.dir: `{path}` is too long for a Unix socket ({_LONGEST_SOCKET_PATH} bytes)",
                hint="choose a shorter `state.dir`, or run one worker",
            )
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        left = await asyncio.to_thread(self._left_by, self._worker)
        self._inherited = left.families if left is not None else ()
        await self._shown()
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._answer, path)
        path.chmod(0o600)

    async def stop(self) -> None:
        """Leave this worker's last numbers behind and answer no more."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        self._path("sock").unlink(missing_ok=True)
        await self._shown()

    async def collect(self) -> tuple[tuple[Family, ...], int]:
        """The metrics of every worker as one, and how many workers did not answer."""
        known = await asyncio.to_thread(self._known)
        others = sorted(known - {self._worker})
        asked = await asyncio.gather(*map(self._ask, others))
        missing = 0
        sets = [(await self._shown()).families]
        for number, snapshot in zip(others, asked, strict=True):
            if snapshot is None or snapshot.generation != self._generation:
                snapshot = await asyncio.to_thread(self._left_by, number)
                # One that stopped in good order has removed its socket.
                missing += snapshot is not None and self._path("sock", number).exists()
            if snapshot is not None:
                sets.append(snapshot.families)
        return merge(sets), missing

    async def _shown(self) -> Snapshot:
        """This worker's snapshot, on disk before anybody sees it."""
        async with self._lock:
            families = self._families()
            if self._inherited:
                families = merge((self._inherited, families))
            snapshot = Snapshot(worker=self._worker, generation=self._generation, families=families)
            try:
                await asyncio.to_thread(self._write, self._encode(snapshot))
            except OSError as error:
                # Metrics are still shown; only a crash from here on would set the sum back.
                _log.warning("the snapshot of metrics was not written", extra={"error": str(error)})
            return snapshot

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self._encode(await self._shown()))
            await asyncio.wait_for(writer.drain(), 10 * self._timeout_s)
        except (OSError, TimeoutError) as error:
            _log.debug("a sibling did not take the metrics", extra={"error": str(error)})
        finally:
            writer.close()

    async def _ask(self, number: int) -> Snapshot | None:
        """A sibling's snapshot; None when it is dead, hangs or talks nonsense."""
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_unix_connection(
                    self._path("sock", number), limit=_LARGEST_SNAPSHOT
                )
                try:
                    return self._decoder.decode(await _read_all(reader))
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.MsgspecError, ValueError) as error:
            _log.debug("a sibling gave no metrics", extra={"worker": number, "error": str(error)})
            return None

    def _path(self, kind: str, worker: int | None = None) -> Path:
        return self._directory / f"worker-{self._worker if worker is None else worker}.{kind}"

    # --- in threads -------------------------------------------------------------------------

    def _known(self) -> set[int]:
        """Every worker that lives or has left numbers."""
        return {
            int(number)
            for path in self._directory.glob("worker-*")
            if path.suffix in (".sock", ".snapshot")
            and (number := path.stem.removeprefix("worker-")).isdecimal()
        }

    def _left_by(self, worker: int) -> Snapshot | None:
        """What a worker of this generation wrote last, without what is no longer true."""
        try:
            snapshot = self._decoder.decode(self._path("snapshot", worker).read_bytes())
        except (OSError, msgspec.MsgspecError):
            return None
        if snapshot.generation != self._generation:
            return None
        return msgspec.structs.replace(snapshot, families=cumulative(snapshot.families))

    def _write(self, data: bytes) -> None:
        path = self._path("snapshot")
        draft = path.with_suffix(".draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        draft.replace(path)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await reader.read(1 << 18):
        size += len(piece)
        if size > _LARGEST_SNAPSHOT:
            raise ValueError("a snapshot larger than any worker makes")
        pieces.append(piece)
    return b"".join(pieces)
