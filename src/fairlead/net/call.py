"""One request and its answer, as the application sees them.

`Call` frames the answer and keeps HTTP's rules about it: no body for HEAD, 204
and 304, chunks or a length or, for HTTP/1.0, the connection's end. It writes
each piece with one `Port.write`, the head together with the first of
them. What a header block says is the caller's business; `framing.header` builds
lines that cannot be split. `net.connection` reads the request and decides what
becomes of the connection afterwards.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from fairlead.errors import FairleadError
from fairlead.net.framing import LAST_CHUNK, chunk
from fairlead.net.head import Head
from fairlead.net.hub import Hub
from fairlead.net.outbox import Outbox, Port
from fairlead.net.run import Signal

# How an answer's body is delimited.
_CHUNKS: Final = 0
_LENGTH: Final = 1
_CLOSE: Final = 2
_NONE: Final = 3

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # struct linger: on, for 0 seconds


class Intake(msgspec.Struct, frozen=True):
    """How the application wants a request's body."""

    limit_bytes: int
    streamed: bool = False
    """True starts `handle` at once; it reads the body with `Call.read`."""


class Application(Protocol):
    """What a server serves."""

    def intake(self, head: Head) -> Intake:
        """Decide on a request by its head.

        Raises:
            FairleadError: the request is refused; its body is not read.
        """

    async def handle(self, call: Call) -> None:
        """Answer one request. Cancelled when the client leaves before the answer has ended."""

    def refuse(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
        """Return status, header block and body for a failure outside `handle`; no head, no valid request."""


class Outlet(Port):
    """The writing half of a client's connection."""

    __slots__ = ("gone", "paused", "writable")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        super().__init__(transport, outbox)
        self.gone = False
        """Nobody is there to write to."""
        self.paused = False
        """The client reads more slowly than we write."""
        self.writable = Signal()

    def close(self) -> None:
        """Close once everything written has left."""
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.drop()
        self.transport.abort()

    def reset(self) -> None:
        """End the connection so that the client cannot take it for a proper end."""
        self.drop()
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()


class Inbox:
    """A body on its way from the connection to an application that reads it in pieces."""

    __slots__ = ("_arrived", "_error", "_over", "_pieces", "_wanted", "size")

    def __init__(self, wanted: Callable[[], None]) -> None:
        self._wanted = wanted
        self._arrived = Signal()
        self._pieces: list[bytes] = []
        self._error: Exception | None = None
        self._over = False
        self.size = 0

    def put(self, piece: bytes, over: bool) -> None:
        """Add a piece; `over` says that it is the last one. The reader's code runs before this returns."""
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)
        self._over = over
        if piece or over:
            self._arrived.fire()

    def fail(self, error: Exception) -> None:
        """Let the reader have what is there, then the error."""
        if not self._over and self._error is None:
            self._error = error
            self._arrived.fire()

    async def take(self) -> bytes:
        """Return what has arrived, waiting for the first byte of it; b"" at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._over:
                return b""
            self._wanted()
            await self._arrived
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return data


class _Beat:
    __slots__ = ("due_at", "every_s", "frame", "headers", "status")

    def __init__(
        self, due_at: float, every_s: float, status: int, headers: Callable[[], bytes], frame: bytes
    ) -> None:
        self.due_at = due_at
        self.every_s = every_s
        self.status = status
        self.headers = headers
        self.frame = frame


class Call:
    """One request under way."""

    __slots__ = (
        "_beat",
        "_framing",
        "_hub",
        "_left",
        "_opening",
        "_out",
        "body",
        "bytes_out",
        "ended",
        "head",
        "inbox",
        "keep",
        "received",
        "started",
        "started_at",
        "tap",
    )

    def __init__(self, hub: Hub, out: Outlet, head: Head, started_at: float) -> None:
        self._hub = hub
        self._out = out
        self.head = head
        self.started_at = started_at
        """When the header section ended, on the event loop's clock."""
        self.body = b""
        """The whole body, unless it is streamed."""
        self.inbox: Inbox | None = None
        self.received = True
        """The body has been received to its end."""
        self.started = False
        """A status line was sent."""
        self.ended = False
        """The answer is complete, or was given up."""
        self.keep = False
        """The connection outlives this call; known once the answer has started."""
        self.bytes_out = 0
        """Bytes of the answer's body so far, without their framing."""
        self.tap: Callable[[bytes], None] | None = None
        """Sees the answer's body, in the pieces it is sent in; None for nobody."""
        self._beat: _Beat | None = None
        self._framing = _LENGTH
        self._left = 0
        self._opening = b""

    async def read(self) -> bytes:
        """Return the next piece of a streamed body, b"" at its end.

        Raises:
            BodyTooLarge: the body is longer than the intake's limit.
            RequestTimeout: the client stopped sending.
            MalformedHttp: the body is not framed as it should be.
            ConnectionResetError: the client has left (seen by tasks; `handle` itself is cancelled).
        """
        if self.inbox is None:
            raise RuntimeError("the body was not asked for in pieces")
        return await self.inbox.take()

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer. `headers` is a block of lines without length, connection and date."""
        if self.started:
            raise RuntimeError("an answer has begun")
        if self._beat is not None:
            self.quiet()
        if self.tap is not None:
            self.tap(body)
        self.started = self.ended = True
        connection = self._settle()
        length = len(body)
        if status in (204, 304):
            data = b"%b%b%b\r\n" % (self._hub.opening(status), headers, connection)
        elif self.head.method == "HEAD":
            data = b"%b%b%bcontent-length: %d\r\n\r\n" % (
                self._hub.opening(status), headers, connection, length,
            )  # fmt: skip
        else:
            self.bytes_out = length
            data = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
                self._hub.opening(status), headers, connection, length, body,
            )  # fmt: skip
        if not self._out.gone:
            self._out.write(data)

    def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Begin a streamed answer of `length` bytes, or of as many as will be written.

        The head leaves with the first piece, or on its own when none follows
        in the same turn of the event loop.
        """
        if self._beat is not None:
            self.quiet()
        self._start(status, headers, length)

    def write(self, data: bytes) -> None:
        """Send one piece of a streamed answer. To a client that has left, nothing is sent."""
        if self._beat is not None:
            self.quiet()
        if self.tap is not None:
            self.tap(data)
        if self._framing == _CHUNKS and data and self.started and not (self._opening or self.ended):
            out = self._out
            if not out.gone:
                size = len(data)
                self.bytes_out += size
                out.write(b"%x\r\n%b\r\n" % (size, data))
            return
        self._write(data)

    @property
    def congested(self) -> bool:
        """The client reads more slowly than we write: `drain` would wait."""
        return self._out.paused

    async def drain(self) -> None:
        """Wait while the client reads more slowly than we write."""
        out = self._out
        while out.paused and not out.gone:
            await out.writable

    def end(self, data: bytes = b"") -> None:
        """End a streamed answer properly, after one last piece."""
        if self._beat is not None:
            self.quiet()
        if self._out.gone:
            self.ended = True
            return
        if not self.started or self.ended:
            raise RuntimeError("no answer is under way")
        last = b""
        if self._framing == _CHUNKS:
            self.bytes_out += len(data)
            last = chunk(data) + LAST_CHUNK
        elif data:
            self._write(data)
        if self._framing == _LENGTH and self._left:
            self.abort()
            raise RuntimeError("the answer is shorter than announced")
        self.ended = True
        last = self._opening + last
        self._opening = b""
        if last:
            self._out.write(last)

    def abort(self) -> None:
        """Close the connection in the middle of the answer, so that the client knows it for incomplete."""
        if self._beat is not None:
            self.quiet()
        self.ended = True
        self.keep = False
        self._opening = b""
        out = self._out
        if out.gone:
            return
        out.gone = True
        if self.started and self._framing == _CLOSE:
            out.reset()
        else:
            out.close()

    def keepalive(
        self, first_s: float, every_s: float, status: int, headers: Callable[[], bytes], frame: bytes
    ) -> None:
        """Show a sign of life until the next write, reply, end or `quiet`.

        When nothing has been written for `first_s`, the answer starts with
        this status and header block, and `frame` is written every `every_s`.
        """
        self._beat = _Beat(self._hub.time() + first_s, every_s, status, headers, frame)
        self._hub.beating.add(self)

    def quiet(self) -> None:
        """Stop what `keepalive` began."""
        self._beat = None
        self._hub.beating.discard(self)

    def pulse(self, now: float) -> None:
        """Write a sign of life when it is due; called by the server's ticker."""
        beat = self._beat
        if beat is None or now < beat.due_at:
            return
        if self._out.gone:
            self.quiet()
            return
        beat.due_at = now + beat.every_s
        if not self._out.paused:
            if not self.started:
                self._start(beat.status, beat.headers(), None)
            self._write(beat.frame)

    def _settle(self) -> bytes:
        """Decide whether the connection outlives this answer, and return the field that says so."""
        head = self.head
        if not head.keep_alive or not self.received or self._hub.draining or self._framing == _CLOSE:
            return b"connection: close\r\n"
        self.keep = True
        return b"connection: keep-alive\r\n" if head.http10 else b""

    def _start(self, status: int, headers: bytes, length: int | None) -> None:
        if self.started:
            raise RuntimeError("an answer has begun")
        self.started = True
        head = self.head
        self._left = length or 0
        if status in (204, 304):
            self._framing, field = _NONE, b""
        elif length is not None:
            self._framing, field = _LENGTH, b"content-length: %d\r\n" % length
        elif head.http10:
            self._framing, field = _CLOSE, b""
        else:
            self._framing, field = _CHUNKS, b"transfer-encoding: chunked\r\n"
        connection = self._settle()
        if head.method == "HEAD":
            self._framing = _NONE
        self._opening = b"%b%b%b%b\r\n" % (self._hub.opening(status), headers, connection, field)
        self._hub.soon(self._flush)

    def _flush(self) -> None:
        if self._opening and not self._out.gone:
            self._out.write(self._opening)
        self._opening = b""

    def _write(self, data: bytes) -> None:
        if not data or self._out.gone:
            return
        if not self.started or self.ended:
            raise RuntimeError("no answer is under way")
        size = len(data)
        framing = self._framing
        if framing == _CHUNKS:
            data = b"%x\r\n%b\r\n" % (size, data)
        elif framing == _NONE:
            return
        elif framing == _LENGTH:
            self._left -= size
            if self._left < 0:
                self.abort()
                raise RuntimeError("the answer is longer than announced")
        self.bytes_out += size
        if self._opening:
            data = self._opening + data
            self._opening = b""
        self._out.write(data)
