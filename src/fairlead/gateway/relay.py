"""Passes a committed answer on to the client, and closes its attempt whatever happens.

After the first byte there is no silent switch: a stream that ends early
raises, and the client is told in-band. Where the configuration allows it
(`continue_cut_streams`) and the text can be continued, another attempt goes
on from what was sent.
"""

from __future__ import annotations

import time

from fairlead.errors import DeadlineExceeded, UpstreamCut, UpstreamError, UpstreamTimeout
from fairlead.gateway.attempt import AttemptFailed, UpstreamCall, failure_of
from fairlead.gateway.billing import answered
from fairlead.gateway.dispatch import Dispatch, timeouts_of
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.headers import answer_headers, stream_headers
from fairlead.gateway.prepare import Asked
from fairlead.gateway.router import Route
from fairlead.gateway.stream import Reader, TranslatedReader
from fairlead.providers.engine_times import in_headers
from fairlead.types import Failure, Usage


def deliver(ex: Exchange, call: UpstreamCall, dispatch: Dispatch) -> None:
    """Give the client a whole answer."""
    route = ex.route
    assert route is not None
    ex.adopt(call)
    ex.status = 200
    ex.out.reply(200, answer_headers(ex, call.head), call.body)
    if b"x-inference-time" in call.head.headers:
        ex.engine = in_headers(call.head.headers)
    usage, estimated = _account(ex, call)
    dispatch.close(ex, route, call, usage=usage, estimated=estimated)


async def relay(ex: Exchange, asked: Asked, call: UpstreamCall, dispatch: Dispatch) -> None:
    """Relay a stream to its end.

    Raises:
        UpstreamCut: the stream ended early and was not continued.
        asyncio.CancelledError: the client has left.
    """
    route, reader = ex.route, call.reader
    assert route is not None
    assert reader is not None
    ex.adopt(call)
    failure: Failure | None = None
    done = False
    try:
        failure = await _stream(ex, route, call, reader)
        done = True
    finally:
        usage, estimated = _account(ex, call)
        dispatch.close(ex, route, call, failure=failure, abandoned=not done, usage=usage, estimated=estimated)
    if failure is not None:
        again = await _continued(ex, asked, route, call, failure, dispatch)
        await relay(ex, asked, again, dispatch)


async def _stream(ex: Exchange, route: Route, call: UpstreamCall, reader: Reader) -> Failure | None:
    """Relay a stream to its end. Return what ended it early, if anything did."""
    client = ex.out
    conn = call.conn
    glimpse = call.glimpse
    client.quiet()
    if not client.started:
        client.start(200, stream_headers(ex, call.head if not reader.media else None))
    ex.status = 200
    # A client states how long it waits for the next piece; how long a stream may take is configured.
    ex.deadline = ex.started + route.config.timeouts.total_s
    if call.body:
        client.write(call.body)
        if ex.kept is not None:
            ex.kept.capture(call.body)
    if glimpse.chunks > ex.relayed:
        ex.tokens_arrived(glimpse.chunks - ex.relayed, call.first_token)
        if call.place is not None and call.target.queue is not None:
            call.target.queue.tokens(call.place, glimpse.chunks - ex.relayed)
    stall_s = timeouts_of(route, call.target).stall_s
    impatient = ex.patience_s < stall_s
    pump = _Pump(ex, call, reader, ex.patience_s if impatient else stall_s)
    while not glimpse.ended:
        pump.wind(call.first_token if client.bytes_out == 0 else time.monotonic())
        try:
            stopped = await conn.pour(pump.take)
        except UpstreamError as error:
            if impatient and isinstance(error, UpstreamTimeout):
                # The client's time is over, and that says nothing of the target.
                raise DeadlineExceeded(
                    f"no token came for the {pump.stall_s:g} s that the client waits"
                ) from error
            return failure_of(error)
        if not stopped:
            rest = reader.finish()
            if rest:
                client.write(rest)
                if ex.kept is not None:
                    ex.kept.capture(rest)
        if glimpse.failure is not None:
            return glimpse.failure
        if not stopped:
            break
        if client.congested:
            # The upstream is not to blame for a client that reads slowly.
            conn.deadline = ex.deadline
            await client.drain()
    client.end()
    if not conn.finished:
        # The last chunk's frame may come in a packet of its own; a second is plenty.
        conn.deadline = time.monotonic() + 1.0
        try:
            while await conn.read():
                pass
        except UpstreamError:
            pass  # the answer was complete; only the connection is lost
    return None


class _Pump:
    """Takes a stream's bytes as they arrive and passes them on."""

    __slots__ = ("_client", "_conn", "_ex", "_feed", "_glimpse", "_kept", "_place", "_queue", "stall_s")

    def __init__(self, ex: Exchange, call: UpstreamCall, reader: Reader, stall_s: float) -> None:
        self._ex = ex
        self._client = ex.out
        self._conn = call.conn
        self._glimpse = call.glimpse
        self._feed = reader.feed
        self._kept = ex.kept
        self._place = call.place
        self._queue = call.target.queue
        self.stall_s = stall_s
        """The longest silence between two pieces."""

    def wind(self, now: float) -> None:
        """The next piece is due within the stall time from now."""
        due, deadline = now + self.stall_s, self._ex.deadline
        self._conn.deadline = due if due < deadline else deadline

    def take(self, data: bytes) -> bool:
        """Pass on one piece. False when there is something to decide."""
        glimpse = self._glimpse
        seen = glimpse.chunks
        out = self._feed(data)
        if out:
            self._client.write(out)
            if self._kept is not None:
                self._kept.capture(out)
        now = time.monotonic()
        if glimpse.chunks != seen:
            self._ex.tokens_arrived(glimpse.chunks - seen, now)
            if self._queue is not None and self._place is not None:
                self._queue.tokens(self._place, glimpse.chunks - seen)
        self.wind(now)
        return not (glimpse.ended or glimpse.failure is not None or self._client.congested)


async def _continued(
    ex: Exchange, asked: Asked, route: Route, call: UpstreamCall, failure: Failure, dispatch: Dispatch
) -> UpstreamCall:
    """Another attempt that goes on where the stream was cut. Raises UpstreamCut when there is none."""
    reader = call.reader
    text = reader.text() if reader is not None else None
    now = time.monotonic()
    target = dispatch.continuation(ex, route, failure, now) if text else None
    if target is None or text is None or not isinstance(reader, TranslatedReader):
        raise UpstreamCut(f"the upstream's answer ended early: {failure.message}")
    try:
        again = asked.continuing(target, text, reader.glimpse.chunks)
        assert isinstance(again.reader, TranslatedReader)
        reader.continue_with(again.reader)
        again.reader = reader
        ex.relayed = reader.glimpse.chunks
        if not dispatch.hold(again, asked):
            raise UpstreamCut("the upstream's answer ended early, and nobody has a place to continue it")
        await dispatch.send(ex, route, again)
    except AttemptFailed as failed:
        message = f"the upstream's answer ended early and could not be continued: {failed.failure.message}"
        raise UpstreamCut(message) from failed
    return again


def _account(ex: Exchange, call: UpstreamCall) -> tuple[Usage | None, bool]:
    """Add what one attempt used for this request, whether or not the client has it all, and return it."""
    glimpse = call.glimpse
    ex.finish_reason = glimpse.finish_reason
    if glimpse.engine is not None:
        ex.engine = glimpse.engine
    usage, estimated = answered(call, ex.chunks - ex.relayed)
    if estimated:
        ex.usage_estimated = True
    if usage is not None:
        # Of a stream and its continuation the provider bills both.
        ex.usage = usage if ex.usage is None else ex.usage + usage
    return usage, estimated
