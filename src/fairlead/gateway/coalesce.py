"""One upstream call for everybody who asks the same at the same time.

The first request that misses the cache leads: its call to a model runs on its
own (`launch`) and fills a `Flight`. The leader and all who come later `follow`
it: each gets what has come already and then goes on live, at its own pace and
with its own patience. Nobody's leaving ends it for the others.

Followers share an answer, not a failure: whoever was sent nothing yet goes on
as an ordinary request.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from fairlead.cache.flight import Flight, Seat
from fairlead.errors import DeadlineExceeded, Overloaded, UpstreamCut
from fairlead.gateway.caching import Caching, Lookup, streams
from fairlead.gateway.exchange import Exchange
from fairlead.gateway.headers import own_headers, stream_headers
from fairlead.gateway.prepare import Asked
from fairlead.net.run import Run


class Fan:
    """Stands where a client's `Call` stands: what is written to it goes to everybody in the flight."""

    __slots__ = ("_flight", "bytes_out", "started")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self.started = False
        self.bytes_out = 0

    @property
    def congested(self) -> bool:
        """Even the fastest reader is far behind."""
        return self._flight.ahead

    async def drain(self) -> None:
        """Wait for the fastest reader."""
        flight = self._flight
        while flight.ahead:
            await flight.readable

    def quiet(self) -> None:
        """Each reader's own signs of life end with its own first piece."""

    def reply(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer has come."""
        self.start(status, headers)
        self.write(body)

    def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        """An answer begins."""
        self.started = True
        self._flight.opening = headers

    def write(self, data: bytes) -> None:
        """A piece of it has come."""
        if data:
            self.bytes_out += len(data)
            self._flight.add(data)

    def end(self) -> None:
        """It is complete; the flight lands when its books are closed too."""


def form_of(ex: Exchange, asked: Asked) -> object:
    """What makes two answers to the same request differ in their bytes."""
    if streams(ex, asked):
        return "stream", not ex.api.asks_usage or asked.head.include_usage
    return "whole", asked.head.encoding_format or ""


def launch(ex: Exchange, flight: Flight, call: Coroutine[Any, Any, None]) -> None:
    """Let the call that fills the flight run on its own, whoever stays."""

    def done(_: Run, error: BaseException | None) -> None:
        if error is None:
            error = UpstreamCut("the answer that was shared did not land")
        flight.fail(error)  # does nothing after a landing

    run = Run(call, done)
    flight.cancel = run.cancel
    ex.out = Fan(flight)
    ex.flight = flight
    # The leader's own patience is kept by `follow`; the call has that of the route.
    route = ex.route
    assert route is not None
    ex.patience_s = route.config.timeouts.total_s
    ex.deadline = ex.started + ex.patience_s
    run.start()


class _Watch:
    """A reader's patience: wakes it when nothing has come for too long."""

    __slots__ = ("_handle", "_loop", "_seat", "due", "over")

    def __init__(self, seat: Seat, due: float) -> None:
        self._seat = seat
        self._loop = asyncio.get_running_loop()
        self.due = due
        """On `time.monotonic()`."""
        self.over = False
        self._handle = self._loop.call_later(max(0.0, due - time.monotonic()), self._look)

    def stop(self) -> None:
        self._handle.cancel()

    def _look(self) -> None:
        left_s = self.due - time.monotonic()
        if left_s > 0:
            self._handle = self._loop.call_later(left_s, self._look)
        else:
            self.over = True
            self._seat.signal.fire()


async def follow(
    ex: Exchange, asked: Asked, caching: Caching, lookup: Lookup, flight: Flight, *, patience_s: float
) -> bool:
    """Answer with what the flight brings.

    Args:
        ex: the leader's, or that of a request that came later.
        asked: what it asks for.
        caching: renders the answer where it was asked for in another form.
        lookup: the request's business with the cache.
        flight: joined here, and left in every case.
        patience_s: how long the client waits for an answer, or for its next piece.

    Returns:
        False when nothing was sent: the flight found a kept answer (`flight.entry`), or has none for
        this request, which then goes its own way.

    Raises:
        DeadlineExceeded: the client's time is over.
        FairleadError: the leader's: why its call failed. Later ones get `UpstreamCut` in mid-answer.
    """
    leads = ex.flight is flight
    same = flight.form == form_of(ex, asked)
    live = same and streams(ex, asked)
    seat = flight.join()
    watch = _Watch(seat, ex.started + patience_s)
    try:
        while True:
            if live and await _pass_on(ex, asked, flight, seat, leads=leads):
                watch.due = time.monotonic() + patience_s
                continue
            if flight.over:
                break
            if watch.over:
                raise DeadlineExceeded(f"nothing came for the {patience_s:g} s that the client waits")
            await seat.signal
        if flight.error is not None:
            return _unlucky(flight.error, seat, leads=leads)
        if flight.entry is not None:
            return False
        if live:
            ex.call.end()
        elif not _whole(ex, asked, caching, lookup, flight, seat, same=same, leads=leads):
            return False
    finally:
        watch.stop()
        seat.leave()
    if not leads and flight.facts is not None:
        caching.shared(ex, lookup, flight.facts)
    return True


async def _pass_on(ex: Exchange, asked: Asked, flight: Flight, seat: Seat, *, leads: bool) -> bool:
    """Send what has come of a stream. False for nothing."""
    if seat.cut:
        raise Overloaded("this client read too slowly for an answer of this length")
    data = seat.take()
    if not data:
        return False
    call = ex.call
    if not call.started:
        opening = flight.opening if leads else None
        call.start(200, opening if opening is not None else stream_headers(ex))
    if not leads and not ex.first_token:
        ex.status = 200
        ex.first_token = time.monotonic()
    call.write(data)
    if call.congested:
        await call.drain()
    return True


def _whole(
    ex: Exchange,
    asked: Asked,
    caching: Caching,
    lookup: Lookup,
    flight: Flight,
    seat: Seat,
    *,
    same: bool,
    leads: bool,
) -> bool:
    """Send an answer that has landed. False when it cannot be had in the form that is asked for."""
    body: bytes | None = seat.take() if same else flight.body
    if not same and body is not None:
        body = caching.rendered(ex, asked, lookup, body)
    if body is None:
        return False
    if streams(ex, asked):
        ex.status = 200
        if not ex.call.started:
            ex.call.start(200, stream_headers(ex))
        ex.call.write(body)
        ex.call.end()
        return True
    opening = flight.opening if leads else None
    ex.status = 200
    ex.call.reply(
        200, opening if opening is not None else b"content-type: application/json\r\n" + own_headers(ex), body
    )
    return True


def _unlucky(error: BaseException, seat: Seat, *, leads: bool) -> bool:
    """The call has failed: the leader's error is its own, and later ones fail over while they can."""
    if leads:
        raise error
    if seat.read:
        raise UpstreamCut("the answer that this request shared with another ended early")
    return False
