"""A client that hides nothing: what came over the wire, when, and how it ended."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self, cast

import httptools
from tests.e2e.faults.shapes import Reading, Shape, read

PATIENCE_S: Final = 20.0
"""A client that waits longer than this has found a bug."""


class Wire(asyncio.Protocol):
    """One connection to the gateway, with at most one request at a time."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False
        """The answer came to the end that HTTP prescribes."""
        self.closed = False
        self.was_reset = False
        self.asked_at = 0.0
        self.headers_s = 0.0
        """From the request to the answer's header section."""
        self.ended_s = 0.0
        """From the request to the answer's end, proper or not."""
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._changed = asyncio.Event()
        self._shape: Shape | None = None
        self.transport: asyncio.Transport

    # --- talking --------------------------------------------------------------------------------

    @classmethod
    async def open(cls, port: int, *, receive_bytes: int = 0) -> Self:
        """Connect. A small `receive_bytes` makes a client that cannot take much at once."""
        sock = socket.socket()
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        _, protocol = await loop.create_connection(cls, sock=sock)
        return protocol

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transport.abort()

    def ask(self, shape: Shape, model: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a request."""
        self._shape = shape
        body = shape.request(model)
        head = [f"POST {shape.path} HTTP/1.1", "host: gateway", f"content-length: {len(body)}"]
        if shape.dialect == "anthropic":
            head.append("anthropic-version: 2023-06-01")
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.status, self.headers, self.body, self.complete = 0, {}, bytearray(), False
        self.asked_at = self._loop.time()
        self.transport.write("\r\n".join([*head, "", ""]).encode() + body)

    def get(self, path: str) -> None:
        """Send a GET."""
        self.status, self.headers, self.body, self.complete = 0, {}, bytearray(), False
        self.asked_at = self._loop.time()
        self.transport.write(f"GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())

    async def end(self) -> Self:
        """Wait until the answer has ended, whatever way."""
        await self.until(lambda: self.complete or self.closed)
        return self

    async def until(self, holds: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait until something holds of what was received."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def leave(self, *, reset: bool = False) -> float:
        """Close the connection now; return when."""
        if reset:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        return self._loop.time()

    def half_close(self) -> float:
        """Say that nothing more will be sent, and go on reading; return when."""
        self.transport.write_eof()
        return self._loop.time()

    # --- what came ------------------------------------------------------------------------------

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def reading(self) -> Reading:
        """What the client's dialect makes of it so far."""
        assert self._shape is not None
        return read(self._shape, bytes(self.body), streamed=self.streamed)

    # --- asyncio's and the parser's side --------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.was_reset = exc is not None
        if not self.complete:
            self.ended_s = self._loop.time() - self.asked_at
        self._changed.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.headers_s = self._loop.time() - self.asked_at

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete = True
        self.ended_s = self._loop.time() - self.asked_at


async def until(holds: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until something holds that another task or process brings about."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110  # processes and scripts set no event of ours
            await asyncio.sleep(0.005)


async def ask(port: int, shape: Shape, model: str, headers: Mapping[str, str] | None = None) -> Wire:
    """Ask once on a connection of its own, and read to the end."""
    async with await Wire.open(port) as wire:
        wire.ask(shape, model, headers)
        return await wire.end()
