"""One client connection: reads requests, starts them, and decides when the connection ends.

Rules kept here:

- Requests are answered in order, one at a time. What arrives meanwhile is held,
  up to a bound, then reading pauses.
- After an error nothing that follows on the connection is read as a request.
- A client that closes, half-closes included, has left: its call is cancelled at once.
- Application code never runs inside the parser.
- No timer belongs to a request: a connection has one deadline, and the server's
  ticker calls `expire` once it has passed.

Heads are read by `net.head`, bodies by `net.upload`; `net.call` writes answers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from math import inf
from typing import Final, cast

from fairlead.errors import (
    BodyTooLarge,
    FairleadError,
    HeadersTooLarge,
    MalformedHttp,
    Overloaded,
    RequestTimeout,
)
from fairlead.net.call import Application, Call, Inbox, Intake, Outlet
from fairlead.net.framing import CONTINUE
from fairlead.net.head import CHUNKED, Head, HeadBuffer, HeadMemo, skip_empty_lines
from fairlead.net.hub import Hub
from fairlead.net.run import Run
from fairlead.net.upload import Upload

log = logging.getLogger("fairlead.net")

# What the connection is doing. Plain integers: compared for each piece of input.
_IDLE: Final = 0  # waiting for a request, or inside a header section
_BODY: Final = 1  # receiving a body
_BUSY: Final = 2  # the request is complete, its answer is not
_DEAF: Final = 3  # the body turned out bad; an answer may still come, input is dropped
_LINGER: Final = 4  # answered for the last time; input is dropped until the client has read that
_CLOSED: Final = 5

_WRITE_HIGH_BYTES: Final = 262_144
_HELD_BYTES: Final = 65_536
"""Input held for later, pipelined or unread, above which reading pauses."""
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 262_144
_BURST: Final = 16
"""Pipelined requests taken in one turn of the event loop, so that one client cannot hog it."""
_OVERFLOW: Final = 256
"""Connections above the limit that still get a 503; more are closed without a word."""


class Connection(asyncio.Protocol):
    """The protocol of one accepted connection."""

    __slots__ = (
        "_app",
        "_body",
        "_call",
        "_dropped",
        "_gather",
        "_held",
        "_hub",
        "_level",
        "_memo",
        "_out",
        "_peer",
        "_phase",
        "_read_by",
        "_reading",
        "_run",
        "_transport",
        "_upload",
        "_write_by",
        "deadline",
    )

    _out: Outlet
    _transport: asyncio.Transport

    def __init__(self, hub: Hub, app: Application) -> None:
        self._hub = hub
        self._app = app
        self._phase = _IDLE
        self._peer = ""
        self._gather: HeadBuffer | None = None
        self._memo = HeadMemo()
        self._held = bytearray()
        self._call: Call | None = None
        self._run: Run | None = None
        self._upload: Upload | None = None
        self._body = bytearray()
        self._reading = True
        self._dropped = 0
        self._level = 0
        self._read_by = inf
        self._write_by = inf
        self.deadline = inf

    # --- asyncio.Protocol -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        hub = self._hub
        self._out = Outlet(self._transport, hub.outbox)
        hub.connections.add(self)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self._peer = str(peer[0])
            sock = transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH_BYTES)
        excess = len(hub.connections) - hub.config.max_connections
        if excess > _OVERFLOW:
            self.cut()
        elif excess > 0:
            self._refuse(Overloaded("All client connections are taken.", retry_after_s=1.0), None)
        else:
            self._rest()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase == _IDLE:
            if self._held:
                self._hold(data)
            elif self._gather is None:
                self._take(data)
            else:
                self._gather_head(self._gather, data)
        elif phase == _BODY:
            assert self._upload is not None
            self._go_on(self._feed(self._upload, data))
        elif phase == _BUSY:
            self._hold(data)
        elif phase == _LINGER:
            self._dropped += len(data)
            if self._dropped > _LINGER_BYTES:
                self.cut()

    def eof_received(self) -> None:
        if self._phase < _LINGER:
            call = self._call
            unfinished = call is not None and not call.ended
            self._depart()
            if unfinished:
                self._out.abort()  # nobody waits for the rest of the answer
            else:
                self._out.flush()  # the loop closes the transport next

    def connection_lost(self, error: Exception | None) -> None:
        self._depart()
        self._out.drop()
        self._hub.connections.discard(self)
        self.deadline = inf

    def pause_writing(self) -> None:
        self._out.paused = True
        self._level = self._transport.get_write_buffer_size()
        self._write_by = self._hub.now + self._hub.config.body_timeout_s
        self.deadline = min(self._read_by, self._write_by)

    def resume_writing(self) -> None:
        self._out.paused = False
        if self._phase != _CLOSED:  # what is left must leave in time all the same
            self._write_by = inf
            self.deadline = self._read_by
        if self._phase == _BUSY and self._call is None:
            self._rest()
        self._out.writable.fire()

    # --- called by the server -------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Act on a deadline that has passed."""
        phase = self._phase
        if self._write_by <= now:
            level = self._transport.get_write_buffer_size()
            if level >= self._level:  # not a byte was taken in all that time
                self.cut()
                return
            self._level = level
            self._write_by = now + self._hub.config.body_timeout_s
        if self._read_by > now:
            self.deadline = min(self._read_by, self._write_by)
        elif phase == _LINGER or (phase == _IDLE and self._gather is None):
            self._close()
        elif phase == _IDLE:
            self._refuse(RequestTimeout("The header section did not arrive in time."), None)
        elif phase == _BODY:
            self._spoil(RequestTimeout("The request body did not arrive in time."))
        else:
            self._until(inf)

    def retire(self) -> None:
        """Close the connection if no request is under way."""
        if self._phase == _IDLE and self._gather is None and not self._held:
            self._close()

    def cut(self) -> None:
        """Close the connection whatever it is doing."""
        self._depart()
        self._out.abort()

    # --- requests -------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        """Start the requests in `data`, one after the other, as far as they can be started."""
        for _ in range(_BURST):
            if data[0] == 0x0D:
                data = skip_empty_lines(data)
            end = data.find(b"\r\n\r\n") + 4
            if end < 4 or data[0] == 0x0D:
                self._until(self._hub.now + self._hub.config.header_timeout_s)
                self._gather = HeadBuffer(self._hub.parser, self._hub.config.max_header_bytes)
                self._gather_head(self._gather, data)
                return
            if end > self._hub.config.max_header_bytes:
                self._refuse(HeadersTooLarge(), None)
                return
            data = self._begin(data[:end], data[end:])
            if not data:
                return
            if self._phase != _IDLE:
                self._go_on(data)
                return
        self._held += data
        self._hub.soon(self._resume)

    def _gather_head(self, gather: HeadBuffer, data: bytes) -> None:
        try:
            whole = gather.feed(data)
        except MalformedHttp as error:
            self._refuse(error, None)
            return
        if whole is not None:
            self._gather = None
            self._take(whole)

    def _begin(self, raw: bytes, rest: bytes) -> bytes:
        """Start the request with this header section. Return what follows it."""
        hub = self._hub
        head = self._memo.recall(raw)
        if head is None:
            try:
                head = hub.parser.parse(raw, self._peer)
            except MalformedHttp as error:
                self._refuse(error, None)
                return b""
            self._memo.remember(raw, head)
        call = Call(hub, self._out, head, hub.time())
        try:
            intake = self._app.intake(head)
        except FairleadError as error:
            return self._decline(error, call, rest)
        except Exception:
            log.exception("intake of %s failed", head.method)
            return self._decline(FairleadError(), call, rest)
        length = head.content_length
        if length > intake.limit_bytes:
            return self._decline(BodyTooLarge(), call, rest)
        self._call = call
        if intake.streamed or length == CHUNKED or length > len(rest):
            return self._receive(call, intake, rest)
        if length == len(rest):
            call.body = rest
            rest = b""
        elif length:
            call.body = rest[:length]
            rest = rest[length:]
        self._phase = _BUSY
        self._launch(call)
        return rest

    def _go_on(self, data: bytes) -> None:
        """Deal with bytes that follow what has just been read."""
        if data:
            if self._phase == _IDLE:
                self._take(data)
            elif self._phase == _BUSY:
                self._hold(data)

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) > _HELD_BYTES:
            self._pause_reading()

    def _resume(self) -> None:
        """Take what was held; scheduled, so that one request does not start in the stack of another."""
        if self._phase == _IDLE and self._held:
            data = bytes(self._held)
            self._held.clear()
            self._resume_reading()
            self._take(data)

    # --- bodies ---------------------------------------------------------------------------------

    def _receive(self, call: Call, intake: Intake, rest: bytes) -> bytes:
        """Begin to receive a body. Return what follows it."""
        hub, head = self._hub, call.head
        self._phase = _BODY
        self._upload = Upload(head.content_length, intake.limit_bytes, hub.config.body_timeout_s, hub.now)
        call.received = False
        if intake.streamed:
            call.inbox = Inbox(self._wanted)
        if head.expects_continue and not rest:
            if intake.streamed:
                self._upload.pause(hub.now)  # until the application reads
            else:
                self._out.write(CONTINUE)
        rest = self._feed(self._upload, rest)
        if call.inbox is not None:
            self._launch(call)
        return rest

    def _feed(self, upload: Upload, data: bytes) -> bytes:
        """Take a piece of the body. Return what follows the body."""
        call = self._call
        assert call is not None
        try:
            piece, rest = upload.feed(data)
        except (BodyTooLarge, MalformedHttp) as error:
            self._spoil(error)
            return b""
        if upload.over:
            call.received = True
            self._phase = _BUSY
            self._upload = None
        else:
            if data and self._reading:  # it did not wait for a 100 after all
                upload.resume(self._hub.now)
            self._until(upload.due_at(self._hub.now))
        if call.inbox is not None:
            call.inbox.put(piece, upload.over)
            if self._phase == _BODY and call.inbox.size > _HELD_BYTES:
                self._pause_reading()
        else:
            self._body += piece
            if upload.over:
                call.body = bytes(self._body)
                self._body = bytearray()
                self._launch(call)
        return rest

    def _wanted(self) -> None:
        """The application waits for more of a streamed body."""
        call, upload = self._call, self._upload
        if call is None or upload is None or not upload.paused:
            return
        if not upload.received and not call.started:
            self._out.write(CONTINUE)
        upload.resume(self._hub.now)
        self._until(upload.due_at(self._hub.now))
        self._resume_reading()

    def _spoil(self, error: FairleadError) -> None:
        """Give up on the body; nothing after it can be understood."""
        call = self._call
        assert call is not None
        self._upload = None
        if call.inbox is not None:
            self._phase = _DEAF
            self._until(inf)
            self._resume_reading()
            call.inbox.fail(error)
        else:
            self._call = None
            self._refuse(error, call.head)

    # --- answers --------------------------------------------------------------------------------

    def _launch(self, call: Call) -> None:
        self._hub.outbox.active += 1
        self._run = run = Run(self._app.handle(call), self._done)
        run.start()

    def _done(self, run: Run, error: BaseException | None) -> None:
        """The application has finished with the call."""
        self._hub.outbox.active -= 1
        self._run = None
        call = self._call
        assert call is not None
        if error is not None or not call.ended:
            self._mend(call, error)
        self._settle(call)

    def _settle(self, call: Call) -> None:
        """Decide what becomes of the connection after an answer."""
        self._call = None
        if self._phase == _CLOSED:
            return
        if self._out.gone:
            self._close()
        elif call.keep:
            self._rest()
        elif call.received and not self._held:
            self._close()
        else:
            self._linger()

    def _mend(self, call: Call, error: BaseException | None) -> None:
        """Finish an answer that the application did not finish."""
        if self._phase == _CLOSED and isinstance(error, asyncio.CancelledError | OSError):
            call.abort()  # the usual end of a call whose client has left
            return
        if not isinstance(error, FairleadError) or call.ended:
            log.error(
                "answering %s failed: %s",
                call.head.method,
                "the answer was not ended" if error is None else "unexpected error",
                exc_info=error,
            )
        if call.ended:
            return
        if call.started:
            call.abort()
        else:
            call.reply(
                *self._refusal(error if isinstance(error, FairleadError) else FairleadError(), call.head)
            )

    def _decline(self, error: FairleadError, call: Call, rest: bytes) -> bytes:
        """Refuse a request by its head. The connection stays if the whole body is here anyway."""
        length = call.head.content_length
        call.received = 0 <= length <= len(rest)
        call.reply(*self._refusal(error, call.head))
        self._settle(call)
        return rest[length:] if call.keep else b""

    def _refuse(self, error: FairleadError, head: Head | None) -> None:
        """Answer for the last time on this connection."""
        status, headers, body = self._refusal(error, head)
        if head is not None and head.method == "HEAD":
            length, body = len(body), b""
        else:
            length = len(body)
        self._out.write(
            b"%b%bconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (self._hub.opening(status), headers, length, body)
        )
        self._linger()

    def _refusal(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
        try:
            return self._app.refuse(error, head)
        except Exception:
            log.exception("wording of %s failed", error.code)
            return 500, b"", b""

    # --- the connection's end -------------------------------------------------------------------

    def _rest(self) -> None:
        """Wait for the next request."""
        if self._hub.draining and not self._held:
            self._close()
        elif self._out.paused:
            self._phase = _BUSY  # until the client has read more of the answers it has
        else:
            self._phase = _IDLE
            self._read_by = self.deadline = self._hub.now + self._hub.config.idle_timeout_s
            if self._held:
                self._hub.soon(self._resume)

    def _linger(self) -> None:
        """Close once the client has read the answer.

        Closing while it still sends would reset the connection, and the reset
        overtakes the answer.
        """
        self._phase = _LINGER
        self._gather = None
        self._upload = None
        self._held.clear()
        self._body = bytearray()
        self._until(self._hub.now + _LINGER_S)
        self._resume_reading()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._out.flush()
            self._transport.write_eof()

    def _close(self) -> None:
        """Close when what was written has left; `expire` cuts it when the client does not take it."""
        self._out.flush()  # before its progress is measured from here on
        self._over()
        self._out.close()

    def _depart(self) -> None:
        """The client has left, or is made to leave."""
        if self._phase == _CLOSED:
            return
        self._over()
        call, run = self._call, self._run
        if call is None:
            return
        if run is None:
            self._call = None
        elif not call.ended:
            run.cancel()
        # Tasks of the application that wait here rather than `handle` itself.
        if call.inbox is not None:
            call.inbox.fail(ConnectionResetError("the client has left"))
        self._out.writable.fire()

    def _over(self) -> None:
        """Nothing is read or answered from here on; what was written may still leave."""
        self._phase = _CLOSED
        self._out.gone = True
        self._gather = None
        self._upload = None
        self._held.clear()
        self._body = bytearray()
        self._level = self._transport.get_write_buffer_size()
        self._write_by = self._hub.now + self._hub.config.body_timeout_s
        self._until(inf)

    # --- small change ---------------------------------------------------------------------------

    def _until(self, read_by: float) -> None:
        self._read_by = read_by
        self.deadline = min(read_by, self._write_by)

    def _pause_reading(self) -> None:
        if self._reading and not self._transport.is_closing():
            self._reading = False
            self._transport.pause_reading()
            if self._upload is not None:
                self._upload.pause(self._hub.now)
                self._until(inf)

    def _resume_reading(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()
