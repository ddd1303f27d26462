"""The access log: one line per request, from its record.

A sink of the recorder. Lines are written by a thread, so that a reader of
stderr that has stopped reading costs lines (which are counted), not requests.
JSON as `logs` has it, or readable lines on a terminal.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
from collections.abc import Iterable
from typing import Final

import msgspec

from fairlead.telemetry.labels import LONGEST, clean
from fairlead.telemetry.logs import local_time, timestamp
from fairlead.telemetry.redact import redact
from fairlead.types import GIVEN_AGAIN, RequestRecord

_MOST_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Access lines kept for a stderr that does not take them."""
_PATIENCE_S: Final = 0.25
"""How long a commit waits for its write; a healthy one takes far less."""
_REMEMBERED_NAMES: Final = 1000


class _Access(msgspec.Struct, frozen=True, kw_only=True):
    """One request's line."""

    ts: str
    level: str = "info"
    logger: str = "fairlead.access"
    message: str = "request"
    id: str
    endpoint: str
    tenant: str
    key_id: str
    model: str
    target: str
    status: int
    outcome: str
    error: str
    input_tokens: int
    output_tokens: int
    ttft_s: float
    duration_s: float
    attempts: int
    cache: str


class AccessLog:
    """One line per request; a sink of the recorder."""

    def __init__(self, fd: int, *, human: bool = False) -> None:
        """Write to the open file `fd`, which stays the caller's."""
        self._fd = fd
        self._human = human
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._names: dict[str, str] = {}
        self._writing: asyncio.Future[None] | None = None
        self.dropped = 0
        """Lines that were not written, because nobody read or the file failed."""

    @property
    def backlog(self) -> int:
        """Always 0: a log that is not read must not stop the gateway."""
        return 0

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Format a line for each record."""
        for record in records:
            if self._waiting_bytes >= _MOST_WAITING_BYTES:
                self.dropped += 1
                continue
            line = self._line(record)
            self._waiting_bytes += len(line)
            self._lines.append(line)

    async def commit(self) -> None:
        """Write the lines; waits only for a moment when the file does not take them."""
        if self._writing is not None or not self._lines:
            return
        pieces = _pieces(self._lines)
        count = len(self._lines)
        self._lines = []
        self._waiting_bytes = 0
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._writing = done
        # Not the loop's executor: a stuck write would keep the process from exiting.
        threading.Thread(
            target=self._write, args=(pieces, count, done, loop), name="access-log", daemon=True
        ).start()
        await asyncio.wait([done], timeout=_PATIENCE_S)

    def _write(
        self, pieces: list[bytes], count: int, done: asyncio.Future[None], loop: asyncio.AbstractEventLoop
    ) -> None:
        lost = 0
        try:
            for piece in pieces:
                written = 0
                while written < len(piece):
                    written += os.write(self._fd, piece[written:])
        except OSError:
            lost = count  # some of them at least; where would one say so?
        try:
            loop.call_soon_threadsafe(self._written, lost, done)
        except RuntimeError:
            pass  # the loop has closed in the meantime, and nobody waits

    def _written(self, lost: int, done: asyncio.Future[None]) -> None:
        self.dropped += lost
        self._writing = None
        if not done.done():
            done.set_result(None)

    def _line(self, record: RequestRecord) -> bytes:
        usage = record.usage
        access = _Access(
            ts=timestamp(record.started_at),
            id=record.id,
            endpoint=record.endpoint,
            tenant=self._name(record.tenant),
            key_id=self._name(record.key_id),
            model=self._name(record.model),
            target=self._name(record.target),
            status=record.status,
            outcome=record.outcome.value,
            error=record.error,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            ttft_s=round(record.first_token_s, 6),
            duration_s=round(record.duration_s, 6),
            attempts=len(record.attempts),
            cache=record.cache,
        )
        if not self._human:
            return self._encode(access) + b"\n"
        ttft = f" ttft {access.ttft_s * 1000:.0f} ms" if record.stream else ""
        return (
            f"{local_time(record.started_at)} request {access.status} {access.outcome:<8} {access.endpoint} "
            f"{access.model or '-'} -> {access.target or _elsewhere(record)} "
            f"{access.duration_s * 1000:.0f} ms{ttft} "
            f"{access.input_tokens}+{access.output_tokens} tokens {access.tenant or '-'} {access.id}"
            f"{' ' + access.error if access.error else ''}\n"
        ).encode("utf-8", "replace")

    def _name(self, name: str) -> str:
        """`name` as it may be written; the few that most requests share are remembered."""
        known = self._names.get(name)
        if known is None:
            known = redact(clean(name))
            if len(name) <= LONGEST:
                if len(self._names) >= _REMEMBERED_NAMES:
                    self._names.clear()
                self._names[name] = known
        return known


def _pieces(lines: list[bytes]) -> list[bytes]:
    """Lines joined to pieces that a pipe takes whole, so that other writers' lines stay whole too."""
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > select.PIPE_BUF:
            pieces.append(b"".join(piece))
            piece = []
            size = 0
        piece.append(line)
        size += len(line)
    pieces.append(b"".join(piece))
    return pieces


def _elsewhere(record: RequestRecord) -> str:
    """Who answered, where no target did."""
    return "cache" if record.cache in GIVEN_AGAIN else "-"
