"""One upstream connection: the protocol between a transport and whoever awaits an answer.

The hot path. A request on a pooled connection makes no trip through the event
loop: `send` is one `Port.write`, and whoever waits in `head` or `read` is
resumed by a `Signal` in the stack of `data_received`, after the parser has
returned. When the whole answer came in one packet, `read_all` does not suspend.

Rules kept here:

- Framing is httptools' (llhttp in its strict mode); what it lets pass and a
  gateway must not is refused in `on_headers_complete`.
- A connection is used again only when request and answer are complete, the
  answer allows it and not one byte came beyond its end. Bytes that come while
  nothing was asked close it: they would be taken for the next answer.
- Nothing grows without bound: the header section, what comes between two
  pieces of a body (1xx heads, chunk extensions, trailers) and unread body,
  where the transport is paused.
- After a failure, what arrived before it can still be read; then the failure
  is raised. `abort` drops both.

Deadlines, the pool and opening connections are the client's.
"""

from __future__ import annotations

import asyncio
import math
import select
import ssl
from collections.abc import Callable
from typing import Final, cast

import httptools

from fairlead.errors import (
    BadUpstreamAnswer,
    UpstreamCut,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTlsFailed,
)
from fairlead.net.chunks import ChunkSizes
from fairlead.net.client_tls import tls_reason
from fairlead.net.outbox import Outbox, Port
from fairlead.net.pool import Pool
from fairlead.net.response import AnswerMemo, ResponseHead, joined, size_bytes
from fairlead.net.run import Signal
from fairlead.types import Headers

MAX_HEAD_BYTES: Final = 65_536
PAUSE_BYTES: Final = 262_144
"""Unread body beyond which reading pauses."""

_LAST_CHUNK: Final = b"0\r\n\r\n"
_PEEK_AFTER_S: Final = 1.0
_UNSENT: Final = "closed the connection before the request was sent"
# Of the others llhttp does not know that no body follows: it would read the final answer as one.
_INTERIM: Final = frozenset((100, 102, 103))
_BODILESS: Final = frozenset((204, 304))


class Shared:
    """What all connections of one client share."""

    __slots__ = ("now", "outbox", "sizes")

    def __init__(self, soon: Callable[[Callable[[], object]], object]) -> None:
        self.now = 0.0
        """The time of the client's last tick, for whatever need not know it better."""
        self.outbox = Outbox(soon)
        self.sizes = ChunkSizes()


class _EndOfAnswer(Exception):
    """Stops the parser: whatever it would read next does not belong to this answer."""


class Connection(asyncio.Protocol):
    """A connection to one origin, lent to one request at a time.

    The borrower sends, awaits `head`, reads, and ends with `release` or
    `abort`, in every case: a cancelled wait leaves the connection open.
    Waits raise `UpstreamDisconnected` (closed before any byte), `UpstreamCut`
    (closed later), `UpstreamProtocolError`, `UpstreamTimeout` or
    `UpstreamTlsFailed` (the peer refused our certificate, which TLS 1.3 says
    only after the handshake).
    """

    # fmt: off
    __slots__ = (
        "_at_chunk",
        "_buffered",
        "_chunked",
        "_connected",
        "_expecting",
        "_failure",
        "_head",
        "_head_only",
        "_in_chunk",
        "_interim",
        "_keep",
        "_label",
        "_max_head_bytes",
        "_memo",
        "_parser",
        "_pause_at",
        "_paused",
        "_pieces",
        "_pool",
        "_port",
        "_raised",
        "_raw",
        "_reason",
        "_sent",
        "_shared",
        "_signal",
        "_sink",
        "_tail",
        "_transport",
        "_unframed",
        "_until_eof",
        "_whole_only",
        "_whole_request",
        "_why",
        "_write_paused",
        "deadline",
        "finished",
        "reused",
    )
    # fmt: on

    def __init__(
        self, pool: Pool[Connection], shared: Shared, label: str, *, max_head_bytes: int = MAX_HEAD_BYTES
    ) -> None:
        self.deadline = math.inf
        """Loop time at which pending waits raise `UpstreamTimeout` and the connection is closed."""
        self.reused = False
        """It has carried an earlier request."""
        self.finished = False
        """The whole answer has been received."""
        self._pool = pool
        self._shared = shared
        self._label = label
        self._max_head_bytes = max_head_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._memo = AnswerMemo()
        self._signal = Signal()
        self._transport: asyncio.Transport
        self._connected = False
        self._failure: type[UpstreamError] | None = None
        self._why = ""
        self._paused = False
        self._write_paused = False
        self._expecting = False
        self._whole_request = True
        self._pieces: list[bytes] = []
        self._sink: Callable[[bytes], bool] | None = None
        self._raised: Exception | None = None
        self._reset()

    def _reset(self) -> None:
        self.finished = False
        self._head: ResponseHead | None = None
        self._raw: Headers = []
        self._reason = b""
        self._interim = False
        self._chunked = False
        self._at_chunk = False
        self._in_chunk = False
        self._until_eof = False
        self._keep = True
        self._sent = False
        self._buffered = 0
        self._unframed = 0
        self._tail = b""
        self._pause_at = PAUSE_BYTES
        self._whole_only = False

    # --- the borrower's side ---------------------------------------------------------------

    def send(self, data: bytes, *, complete: bool = True) -> None:
        """Send a request, head and body in one write.

        With `complete=False` more of the body follows by `send_piece`. On a
        connection that was lost meanwhile nothing is sent, and `head` raises
        `UpstreamDisconnected` with `unsent` set.
        """
        assert not self._expecting, "the answer before is not complete"
        if self.reused:
            self._reset()
        self._whole_request = complete
        self._head_only = data.startswith(b"HEAD ")
        if self._failure is not None:
            return
        transport = self._transport
        if not self._connected:
            self._fail(UpstreamDisconnected, _UNSENT)
        elif not transport.is_closing():
            self._sent = True
            self._expecting = True
            self._shared.outbox.active += 1
            self._port.write(data)
        # Else `connection_lost` is on its way, and says why.

    async def send_piece(self, data: bytes, *, last: bool = False) -> bool:
        """Send more of a streamed body, framed by the caller, as fast as the upstream takes it.

        Returns False, and drops the piece, when the upstream has answered
        already with anything but success: read the answer instead. A request
        of which no piece was the `last` leaves a connection that is not used
        again.
        """
        while not (self.finished or (self._head is not None and self._head.status >= 300)):
            if self._failure is not None:
                raise self._error()
            # A transport that is closing takes nothing; `connection_lost` is on its way, and says why.
            if not self._write_paused and not self._transport.is_closing():
                self._whole_request = last
                self._port.write(data)
                return True
            await self._signal
        return False

    async def head(self) -> ResponseHead:
        """Wait for the final answer's head; interim (1xx) ones are skipped."""
        while self._head is None:
            if self._failure is not None:
                raise self._error()
            await self._signal
        return self._head

    async def read(self) -> bytes:
        """Return what has arrived of the body, at least one byte; `b""` at its proper end."""
        while not self._pieces:
            if self.finished:
                return b""
            if self._failure is not None:
                raise self._error()
            self._whole_only = False  # left behind by a cancelled read_all
            await self._signal
        return self._take()

    async def pour(self, sink: Callable[[bytes], bool]) -> bool:
        """Hand each piece of the body to `sink` as it arrives, until that returns False.

        The sink runs in the stack of `data_received`: an event costs neither a
        trip through the event loop nor the resumption of whoever waits here.
        What it raises is raised here.

        Returns:
            True when the sink has stopped it, False at the body's proper end.
        """
        while self._pieces:
            if not sink(self._take()):
                return True
        self._whole_only = False
        self._sink = sink
        try:
            while self._pouring():
                if self.finished:
                    return False
                if self._failure is not None:
                    raise self._error()
                await self._signal
            if self._raised is not None:
                raise self._raised
            return True
        finally:
            self._sink = self._raised = None

    async def read_all(self, limit_bytes: int) -> bytes:
        """Return the rest of the body, without suspension when all of it is there.

        Raises:
            BadUpstreamAnswer: it is longer than `limit_bytes`; the connection is closed.
        """
        if not self.finished:
            self._pause_at = limit_bytes
            self._whole_only = True
            while not self.finished and self._buffered <= limit_bytes:
                if self._failure is not None:
                    raise self._error()
                await self._signal
        if self._buffered > limit_bytes:
            self.abort()
            raise BadUpstreamAnswer(f"{self._label} sent an answer of more than {limit_bytes} bytes")
        return self._take() if self._pieces else b""

    def whole(self, limit_bytes: int) -> bytes | None:
        """The whole body when it is here already and within the limit, else None: then await `read_all`."""
        if not self.finished or self._buffered > limit_bytes:
            return None
        return self._take() if self._pieces else b""

    def release(self) -> None:
        """Give the connection back: to the pool when it can be used again, else it is closed."""
        if (
            self.finished
            and self._keep
            and self._whole_request
            and self._failure is None
            and not self._transport.is_closing()
        ):
            if self._pieces:
                self._take()
            self._signal.clear()
            self.deadline = math.inf
            self.reused = True
            self._pool.put(self, self._shared.now)
        else:
            self.abort()

    def abort(self) -> None:
        """Close at once, which is what makes an upstream stop its work.

        Body that was not read is dropped. Whoever waits at this moment, or
        later, gets `UpstreamCut`; a wait that was itself cancelled keeps its
        `CancelledError`. Safe to call more than once.
        """
        self._pieces.clear()
        self._buffered = 0
        self.finished = False
        self._head = None
        self._failure = UpstreamCut
        self._why = "was asked no further: the connection was aborted"
        self._close()
        self._signal.fire()

    # --- the client's side -----------------------------------------------------------------

    def usable(self, idle_since: float) -> bool:
        """Whether a pooled connection is still there.

        One that has idled for a second or more is looked at in the kernel too:
        the loop may not yet have been told that the peer closed it, and an
        inference request that was written to it could not be repeated safely.
        """
        if self._failure is not None or self._transport.is_closing():
            return False
        if self._shared.now - idle_since < _PEEK_AFTER_S:
            return True
        # Readable: the peer closed it, or sent bytes nobody asked for.
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    def expire(self) -> None:
        """The deadline has passed."""
        if self.finished:
            self._close()
        elif self._head is None:
            self._fail(UpstreamTimeout, "did not answer in time")
        else:
            self._fail(UpstreamTimeout, "did not end its answer in time")
        self._signal.fire()

    # --- asyncio's side --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._port = Port(self._transport, self._shared.outbox)
        self._connected = True

    def data_received(self, data: bytes) -> None:
        if not self._expecting:
            self._unasked()
            return
        sink = self._sink
        if sink is not None and self._at_chunk:
            # The rest of a stream, nearly always: an event or some, each a chunk.
            content = self._shared.sizes.joined(data)
            if content is not None:
                if not self._hand(sink, content):
                    self._signal.fire()
                return
        head_was_read = self._head is not None
        if self._unframed == 0 and self._head is None and not self._head_only:
            known = self._memo.recall(data)
            if known is not None:
                self._head, body = known
                self._pieces.append(body)
                self._buffered = len(body)
                self.on_message_complete()
                self._signal.fire()
                return
        if self._head is None:
            # Head and body are fed apart, so that a body in chunks begins where one is.
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end < len(data) and self._unframed == 0:
                self._feed(data[:end])
                self._at_chunk = self._chunked and not self.finished
                if self._failure is None:
                    self._feed_body(data[end:])
            else:
                self._feed(data)
        else:
            self._feed_body(data)
        if self.finished:
            if self._keep:
                self._keep = not self._overran(data, head_was_read)
                if not head_was_read:
                    self._learn(data)
        elif self._failure is None:
            if self._unframed > self._max_head_bytes:
                self._fail(UpstreamProtocolError, self._too_long())
            else:
                # The last bytes of the answer may come one by one; see _overran.
                self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
                if self._buffered > self._pause_at:
                    if not self._paused:
                        self._paused = True
                        self._transport.pause_reading()
                elif self._whole_only:
                    return
        if sink is not None and self._pieces:
            handed = self._hand(sink, self._take())
            # A fault behind the piece is for whoever waits: nothing else would ever wake him.
            if handed and not self.finished and self._failure is None:
                return
        # Last: the waiter runs in here, and may have released this connection and sent its next
        # request on it by the time this returns.
        self._signal.fire()

    def eof_received(self) -> None:
        if self._until_eof and self._expecting:
            # Only this is a proper end. `connection_lost` alone is a reset, or TLS cut off by
            # somebody on the way: without its closing alert the body may be a part (RFC 9112, 9.8).
            self.on_message_complete()
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connected = False
        if self._port.drop():
            self._sent = False
        self._ended(exc)
        # Breaks the reference cycle with the parser; nothing is fed after this.
        del self._parser

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._signal.fire()

    # --- the parser's side: nothing here may fire the signal or touch the transport ----------

    def on_message_begin(self) -> None:
        if self.finished:
            raise _EndOfAnswer

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self._raw.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if not 200 <= status <= 599:
            if status not in _INTERIM:
                raise UpstreamProtocolError(f"answered with status {status}")
            self._interim = True
            self._raw = []
            self._reason = b""
            return
        raw = self._raw
        headers = dict(raw)
        if len(headers) != len(raw):
            headers = joined(raw)
        if self._unframed > self._max_head_bytes and size_bytes(raw) > self._max_head_bytes:
            raise UpstreamProtocolError(self._too_long())
        keep = self._parser.should_keep_alive()
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise UpstreamProtocolError("used a transfer coding that was not asked for")
            self._chunked = True
            # RFC 9112, 6.1: such framing is faulty, and the connection is closed after the answer.
            if status in _BODILESS or self._parser.get_http_version() != "1.1":
                keep = False
        elif b"content-length" not in headers:
            self._until_eof = status not in _BODILESS
        self._keep = keep
        self._head = ResponseHead(status, self._reason, headers, raw, keep)
        self._raw = []  # trailers come here, and are dropped
        if self._head_only:
            # The parser cannot be told that no body follows; it is stopped, and not used again.
            self._keep = self._until_eof = False
            self.on_message_complete()
            raise _EndOfAnswer

    def on_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered += len(piece)
        self._unframed = 0

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            return
        self.finished = True
        if self._expecting:
            self._expecting = False
            self._shared.outbox.active -= 1

    def on_chunk_header(self) -> None:
        self._in_chunk = True

    def on_chunk_complete(self) -> None:
        self._in_chunk = False

    # --- inside --------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        self._unframed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._stopped(error)

    def _feed_body(self, data: bytes) -> None:
        """Take in body; whole chunks without the parser, which does not miss what it need not remember."""
        if self._at_chunk:
            last = data.endswith(_LAST_CHUNK)
            content = self._shared.sizes.joined(data[: -len(_LAST_CHUNK)] if last else data)
            if content is not None:
                self.on_body(content)
                if last:
                    self._feed(_LAST_CHUNK)
                return
        self._feed(data)
        self._at_chunk = self._chunked and not self._in_chunk and data.endswith(b"\r\n")

    def _pouring(self) -> bool:
        return self._sink is not None

    def _hand(self, sink: Callable[[bytes], bool], piece: bytes) -> bool:
        """Hand over a piece. False when whoever waits in `pour` has to go on."""
        try:
            if sink(piece):
                return True
        except Exception as error:  # it belongs to whoever waits, not to the event loop
            self._raised = error
        self._sink = None
        return False

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered = 0
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    def _learn(self, data: bytes) -> None:
        """Remember the shape of an answer that came whole in this packet."""
        pieces = self._pieces
        if self._keep and len(pieces) == 1 and not self._chunked and self._head is not None:
            raw = data[: len(data) - len(pieces[0])]
            if raw.startswith(b"HTTP/1.1 200 ") and raw.find(b"\r\n\r\n") == len(raw) - 4:
                self._memo.remember(raw, self._head)

    def _overran(self, data: bytes, head_was_read: bool) -> bool:
        """Whether line ends follow a complete answer in the packet that ended it.

        The parser skips those silently; any other byte it takes for the start
        of a message, and says so.
        """
        if data[-1] not in b"\r\n":
            return False
        end = b"\r\n\r\n"  # of a head without body, or of the last chunk and its trailers
        if self._pieces and not self._chunked:
            piece = self._pieces[-1]
            if head_was_read:
                return len(piece) != len(data)
            if piece.strip(b"\r\n"):
                return not data.endswith(piece)
            end += piece
        # What precedes that end is no line end, or the message would have ended before.
        tail = (data if len(data) > len(end) else self._tail + data)[-len(end) - 1 :]
        return tail[1:] != end or tail[0] in b"\r\n"

    def _stopped(self, error: Exception) -> None:
        """The parser has stopped: at the end of the answer, or at a fault."""
        cause = error.__context__
        if self.finished:
            self._keep = False
        elif isinstance(cause, UpstreamProtocolError):
            self._fail(UpstreamProtocolError, cause.message)
        elif isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
            raise cause
        else:
            self._fail(UpstreamProtocolError, f"does not answer in valid HTTP: {error}")

    def _unasked(self) -> None:
        """Bytes came while no answer was due."""
        if self.finished:
            self._close()
        elif self._failure is None:
            self._fail(UpstreamProtocolError, "sent bytes before anything was asked")
            self._signal.fire()

    def _ended(self, exc: Exception | None) -> None:
        """The peer has closed; nothing more will come."""
        if self._failure is not None:
            return
        if self.finished:
            self._close()
        elif isinstance(exc, ssl.SSLError):
            self._fail(UpstreamTlsFailed, f"ended the TLS connection: {tls_reason(exc)}")
        elif not self._sent:
            self._fail(UpstreamDisconnected, _UNSENT)
        elif self._head is None and self._unframed == 0:
            self._fail(UpstreamDisconnected, "closed the connection before it answered")
        else:
            self._fail(UpstreamCut, "ended its answer before it was complete")
        self._signal.fire()

    def _fail(self, failure: type[UpstreamError], why: str) -> None:
        """Remember why, for all waits to come, and close. The first failure is the one that counts."""
        if self._failure is None:
            self._failure = failure
            self._why = why
        self._close()

    def _close(self) -> None:
        self._keep = False
        if self._expecting:
            self._expecting = False
            self._shared.outbox.active -= 1
        self._pool.discard(self)
        if self._connected:
            self._port.drop()
            self._transport.abort()

    def _too_long(self) -> str:
        return f"sent more than {self._max_head_bytes} bytes of headers, chunk extensions or trailers"

    def _error(self) -> UpstreamError:
        # Made anew for each raise: one kept here would hold its traceback, which holds us.
        assert self._failure is not None
        error = self._failure(f"{self._label} {self._why}")
        if isinstance(error, UpstreamDisconnected):
            error.unsent = not self._sent
        return error
