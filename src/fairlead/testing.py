"""Fakes that ship, for the product's own tests and for those of its users.

`ScriptedUpstream` is a real server on 127.0.0.1 that misbehaves on command;
`FakeTransport` stands in for a socket where a protocol is tested without one.

An upstream is a list of actions per connection::

    async with ScriptedUpstream(
        [ReadRequest(), Send(answer(b"{}")), Close()],         # the first connection
        [ReadRequest(), Send(answer(b"{}")[:20]), Reset()],    # the second and all further ones
    ) as upstream:
        ...                                      # talk to upstream.port
        assert upstream.requests[0].path == "/v1/models"
        await upstream.connections[1].gone()     # the peer has hung up on the second

A script goes on as far as the peer lets it: when the peer leaves, its current
action is cancelled and the time recorded, so a test can show that a client's
departure reached the upstream, and when. After the last action the connection
stays open until the peer leaves; `Repeat` serves keep-alive connections.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self, cast

import httptools
import msgspec

from fairlead.net.http1 import LAST_CHUNK, chunk

# --- actions ------------------------------------------------------------------------------------


class Action(msgspec.Struct, frozen=True):
    """One step of a script."""


class ReadRequest(Action, frozen=True):
    """Wait until one whole request, body included, has arrived and is recorded."""


class Send(Action, frozen=True):
    """Send bytes as they are, whole or in pieces of `piece_bytes` with `pause_s` between them."""

    data: bytes
    piece_bytes: int | None = None
    pause_s: float = 0.0


class Wait(Action, frozen=True):
    """Wait for so many seconds, or until the test sets an event."""

    until: float | asyncio.Event


class Close(Action, frozen=True):
    """Close properly: what was sent is delivered, then FIN (after TLS's closing alert)."""


class HalfClose(Action, frozen=True):
    """Send FIN but go on reading. Not for TLS."""


class Reset(Action, frozen=True):
    """Close with RST (SO_LINGER 0): the peer sees a reset, and may lose what it had not read."""


class Stall(Action, frozen=True):
    """Do nothing until the peer leaves."""


class Repeat(Action, frozen=True):
    """Run actions again and again until the peer leaves."""

    actions: tuple[Action, ...]


Script = Sequence[Action]


def answer(
    body: bytes, *, status: int = 200, content_type: str = "application/json", headers: Sequence[str] = ()
) -> bytes:
    """The bytes of a whole answer with a content-length. `headers` are lines such as `retry-after: 1`."""
    return _head(status, content_type, [f"content-length: {len(body)}", *headers]) + body


def sse_head(*, status: int = 200, headers: Sequence[str] = ()) -> bytes:
    """The head of a chunked event stream; follow it with `sse_event`s and `LAST_CHUNK`."""
    return _head(status, "text/event-stream", ["transfer-encoding: chunked", *headers])


def sse_event(data: bytes, event: str = "") -> bytes:
    """One event as one chunk."""
    name = f"event: {event}\n".encode() if event else b""
    return chunk(b"%bdata: %b\n\n" % (name, data))


def sse_answer(*data: bytes, headers: Sequence[str] = ()) -> bytes:
    """A whole event stream with one event for each of `data`."""
    return b"".join([sse_head(headers=headers), *map(sse_event, data), LAST_CHUNK])


def _head(status: int, content_type: str, lines: Sequence[str]) -> bytes:
    head = [f"HTTP/1.1 {status} Scripted", f"content-type: {content_type}", *lines]
    return "\r\n".join([*head, "", ""]).encode()


# --- what was seen ------------------------------------------------------------------------------


class ReceivedRequest:
    """One request as it arrived."""

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.headers: dict[bytes, bytes] = {}
        """Names in lower case; of duplicates the last."""
        self.body = b""
        self.received_at = 0.0
        """Loop time at which its last byte was there."""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


class ScriptedConnection(asyncio.Protocol):
    """One accepted connection: plays its script and records what the peer does."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self.requests: list[ReceivedRequest] = []
        """Whole requests, in order."""
        self.bytes_in = 0
        """Everything received, incomplete requests included."""
        self.left_at: float | None = None
        """Loop time at which the peer closed or reset the connection; None while it has not."""
        self.was_reset = False
        """The peer went with RST, or the connection broke."""
        self.error: httptools.HttpParserError | None = None
        """What was received is not HTTP; nothing more is read into requests."""
        self._upstream = upstream
        self._left = asyncio.Event()
        self._lost = asyncio.Event()
        self._arrived = asyncio.Event()
        self._unread = 0
        self._incoming = ReceivedRequest()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None]
        self._closed_by_us = False

    @property
    def unsent_bytes(self) -> int:
        """What the script has sent and the network has not yet taken: the peer reads slowly."""
        return self._transport.get_write_buffer_size()

    async def gone(self, timeout_s: float = 5.0) -> float:
        """Wait until the peer has left; return when, in loop time.

        Raises:
            TimeoutError: it is still there after `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            await self._left.wait()
        assert self.left_at is not None
        return self.left_at

    # --- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._task = self._upstream.accept(self)

    def data_received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        if self.error is None:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                pass  # CONNECT: a whole request without a body; what follows is not HTTP
            except httptools.HttpParserError as error:
                self.error = error

    def eof_received(self) -> None:
        self._peer_left(reset=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peer_left(reset=exc is not None)
        self._lost.set()

    def _peer_left(self, *, reset: bool) -> None:
        if self.left_at is None and not self._closed_by_us:
            self.left_at = asyncio.get_running_loop().time()
            self.was_reset = reset
            self._left.set()
        self._task.cancel()

    # --- the parser's side

    def on_url(self, target: bytes) -> None:
        self._incoming.target += target.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._incoming.headers[name.lower()] = value

    def on_body(self, piece: bytes) -> None:
        self._incoming.body += piece

    def on_message_complete(self) -> None:
        request, self._incoming = self._incoming, ReceivedRequest()
        request.method = self._parser.get_method().decode()
        request.received_at = asyncio.get_running_loop().time()
        self.requests.append(request)
        self._upstream.requests.append(request)
        self._unread += 1
        self._arrived.set()

    # --- the script

    async def play(self, script: Script) -> None:
        """Run the actions, then wait for the peer to leave."""
        for action in script:
            await self._perform(action)
        await self._lost.wait()

    async def close(self) -> None:
        """End the connection, as the server goes down."""
        self._closed_by_us = True
        self._transport.abort()
        await self._lost.wait()

    async def _perform(self, action: Action) -> None:
        match action:
            case ReadRequest():
                while not self._unread:
                    self._arrived.clear()
                    await self._arrived.wait()
                self._unread -= 1
            case Send(data, piece_bytes, pause_s):
                size = piece_bytes or max(1, len(data))
                for start in range(0, len(data), size):
                    self._transport.write(data[start : start + size])
                    await asyncio.sleep(pause_s)
            case Wait(until):
                await (until.wait() if isinstance(until, asyncio.Event) else asyncio.sleep(until))
            case Close():
                self._closed_by_us = True
                self._transport.close()
                await self._lost.wait()
            case HalfClose():
                self._transport.write_eof()
            case Reset():
                self._closed_by_us = True
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._transport.abort()
                await self._lost.wait()
            case Stall():
                await self._lost.wait()
            case Repeat(actions):
                while True:
                    for repeated in actions:
                        await self._perform(repeated)
            case _:
                raise TypeError(f"{action!r} is no action of a script")


class ScriptedUpstream:
    """A TCP (or TLS) server on 127.0.0.1 with one script per connection; the last repeats."""

    def __init__(self, *scripts: Script, ssl: ssl_module.SSLContext | None = None) -> None:
        self.connections: list[ScriptedConnection] = []
        """In the order in which they were accepted; with TLS, after the handshake."""
        self.requests: list[ReceivedRequest] = []
        """Of all connections, in the order of arrival."""
        self.port = 0
        self._scripts: Final = scripts or ((Repeat((ReadRequest(), Send(answer(b"{}")))),),)
        self._ssl = ssl
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server

    @property
    def base_url(self) -> str:
        return f"{'http' if self._ssl is None else 'https'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: ScriptedConnection(self), "127.0.0.1", self.port, ssl=self._ssl
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything. A script that failed by its own fault fails the test."""
        self._server.close()
        for connection in self.connections:
            await connection.close()
        await self._server.wait_closed()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if error is None and isinstance(ended, Exception):
                raise ended

    def accept(self, connection: ScriptedConnection) -> asyncio.Task[None]:
        """Start the next script for a new connection."""
        script = self._scripts[min(len(self.connections), len(self._scripts) - 1)]
        self.connections.append(connection)
        task = asyncio.get_running_loop().create_task(connection.play(script))
        self._tasks.append(task)
        return task


# --- without a socket ---------------------------------------------------------------------------


class FakeTransport(asyncio.Transport):
    """Records what a protocol does to its transport. The test plays the network.

    As with a real one, closing does not call `connection_lost` at once: the
    test does, by `lose`. `sock` is what `get_extra_info("socket")` returns.
    """

    def __init__(self, protocol: asyncio.Protocol, sock: socket.socket | None = None) -> None:
        super().__init__({"socket": sock})
        self.written: list[bytes] = []
        """One element for each `write`."""
        self.aborted = False
        self.reading = True
        self._closing = False
        self._protocol = protocol
        protocol.connection_made(self)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone."""
        self._closing = True
        self._protocol.connection_lost(error)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._closing, "a protocol wrote to a closed transport"
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        self.aborted = self._closing = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading
