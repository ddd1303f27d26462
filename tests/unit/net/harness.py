"""A server without sockets and without time: what the server's tests and its fuzzer stand on."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, cast

import httptools

from fairlead import config
from fairlead.errors import FairleadError
from fairlead.net.server import Call, Head, Intake, Server


class ManualClock:
    """A clock that moves when told to; also the fake transports' event loop."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.call_later(0.0, callback)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> ManualTimer:
        heapq.heappush(self._due, (self.now + delay_s, next(self._order), callback))
        return ManualTimer(self, callback)

    def cancel(self, callback: Callable[[], object]) -> None:
        self._due = [entry for entry in self._due if entry[2] is not callback]
        heapq.heapify(self._due)

    def run(self) -> None:
        """Run what is due."""
        while self._due and self._due[0][0] <= self.now:
            heapq.heappop(self._due)[2]()


class ManualTimer:
    """What `call_later` returned."""

    def __init__(self, clock: ManualClock, callback: Callable[[], object]) -> None:
        self._clock = clock
        self._callback = callback

    def cancel(self) -> None:
        self._clock.cancel(self._callback)


class FakeTransport(asyncio.Transport):
    """A transport into memory. The peer takes everything at once unless `stuck`."""

    def __init__(self, clock: ManualClock, peer: str = "192.0.2.7") -> None:
        super().__init__()
        self._clock = clock
        self._peer = peer
        self._high = 65_536
        self._paused_writer = False
        self._protocol: asyncio.Protocol | None = None
        self._lost = False
        self.taken = b""
        """What the peer has read."""
        self.buffer = b""
        """What waits for the peer to read."""
        self.writes: list[bytes] = []
        self.stuck = False
        self.reading = True
        self.closing = False
        self.aborted = False
        self.half_closed = False

    def connect(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        protocol.connection_made(self)

    def take(self, size: int | None = None) -> None:
        """Let the peer read."""
        size = len(self.buffer) if size is None else size
        self.taken += self.buffer[:size]
        self.buffer = self.buffer[size:]
        if self._paused_writer and len(self.buffer) <= self._high // 4:
            self._paused_writer = False
            assert self._protocol is not None
            self._protocol.resume_writing()
        self._finish()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self.half_closed:
            raise RuntimeError("write after write_eof")
        if self.closing:
            raise RuntimeError("write to a closed transport")
        self.writes.append(bytes(data))
        self.buffer += data
        if not self.stuck:
            self.take()
        elif len(self.buffer) > self._high and not self._paused_writer:
            self._paused_writer = True
            assert self._protocol is not None
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        self.half_closed = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True
        self._finish()

    def abort(self) -> None:
        self.closing = self.aborted = True
        self.buffer = b""
        self._finish()

    def pause_reading(self) -> None:
        assert not self.closing
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.closing
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None
        self._high = high

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self._peer, 4711) if name == "peername" else default

    def _finish(self) -> None:
        if self.closing and not self.buffer and not self._lost:
            self._lost = True
            assert self._protocol is not None
            protocol = self._protocol
            self._clock.call_soon(lambda: protocol.connection_lost(None))


class Answer(NamedTuple):
    """One answer as a client's parser sees it."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


class _AnswerReader:
    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)
        self._open = False

    def read(self, raw: bytes) -> list[Answer]:
        if raw:
            self._parser.feed_data(raw)
        if self._open:
            self._add(complete=False)
        return self.answers

    def on_message_begin(self) -> None:
        self._headers, self._body, self._open = {}, [], True

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode() not in self._headers
        self._headers[name.decode()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._add(complete=True)

    def _add(self, *, complete: bool) -> None:
        self._open = False
        self.answers.append(
            Answer(self._parser.get_status_code(), self._headers, b"".join(self._body), complete)
        )


def read_answers(raw: bytes) -> list[Answer]:
    """Parse what a server sent; answers to HEAD are not for this function."""
    return _AnswerReader().read(raw)


Handle = Callable[[Call], Awaitable[None]]


async def echo(call: Call) -> None:
    """Answer with the request's body."""
    call.reply(200, b"content-type: text/plain\r\n", call.body)


class App:
    """An application made of one function; it notes what it was asked and how it ended."""

    def __init__(
        self,
        handle: Handle = echo,
        intake: Callable[[Head], Intake] = lambda head: Intake(1_048_576),
    ) -> None:
        self._handle = handle
        self._intake = intake
        self.calls: list[Call] = []
        self.refused: list[str] = []
        self.cancelled = 0
        self.finished = 0

    @property
    def seen(self) -> list[tuple[str, str, bytes]]:
        """Method, target and body of each call, in order."""
        return [(call.head.method, call.head.target, call.body) for call in self.calls]

    def intake(self, head: Head) -> Intake:
        return self._intake(head)

    async def handle(self, call: Call) -> None:
        self.calls.append(call)
        try:
            await self._handle(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.finished += 1

    def refuse(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
        self.refused.append(error.code)
        headers = b"content-type: text/plain\r\n"
        if error.retry_after_s is not None:
            headers += b"retry-after: %d\r\n" % error.retry_after_s
        return error.status, headers, error.code.encode()


class Client:
    """One client of a `Stage`."""

    def __init__(self, stage: Stage, peer: str = "192.0.2.7") -> None:
        self._stage = stage
        self._unread = b""
        self.transport = FakeTransport(stage.clock, peer)
        self.protocol = stage.server.protocol()
        self.transport.connect(self.protocol)
        stage.clock.run()

    def send(self, *pieces: bytes) -> None:
        """Send pieces, each as one read; what the server does not read now, it reads once it resumes."""
        for piece in pieces:
            self._unread += piece
            self._deliver()

    def leave(self) -> None:
        """Close the client's side."""
        if not self.transport.closing:
            self.protocol.eof_received()
            self.transport.close()
        self._stage.clock.run()

    @property
    def raw(self) -> bytes:
        """What this client has been sent."""
        self._deliver()
        return self.transport.taken

    @property
    def answers(self) -> list[Answer]:
        return read_answers(self.raw)

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]

    @property
    def closed(self) -> bool:
        """The server has closed the connection, or its half of it."""
        return self.transport.closing or self.transport.half_closed

    def is_paused(self) -> bool:
        """The server does not read from this connection for now."""
        return not self.transport.reading

    def _deliver(self) -> None:
        while self._unread and self.transport.reading and not self.transport.closing:
            piece, self._unread = self._unread, b""
            self.protocol.data_received(piece)
            self._stage.clock.run()


class Stage:
    """A server, its application and a clock. Use it as a context manager."""

    def __init__(self, app: App | None = None, **options: Any) -> None:
        self.app = app or App()
        self.clock = ManualClock()
        self.server = Server(self.app, config.Server(**options), clock=self.clock)

    def client(self, peer: str = "192.0.2.7") -> Client:
        return Client(self, peer)

    def wait(self, seconds: float) -> None:
        """Let time pass in steps of the server's ticker."""
        for _ in range(round(seconds * 10)):
            self.clock.now += 0.1
            self.server.tick()
            self.clock.run()

    def __enter__(self) -> Stage:
        # As inside a loop's callback: a loop runs, no task does. Nothing here uses the loop itself.
        asyncio._set_running_loop(cast(asyncio.AbstractEventLoop, self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio._set_running_loop(None)
