"""Where an answer leaves the simulated engine, and where faults strike it.

A dialect writes its answer here as if nothing could go wrong; the outlet does
to it what the request's fault says. When a fault has ended an answer early
`AnswerOver` is raised through the dialect, so that its generation is
cancelled like that of a client who left.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from fairlead.net.call import Call
from fairlead.net.run import Signal
from fairlead.simulate.faults import Fault
from fairlead.simulate.shapes import (
    Shape,
    broken_event,
    error_event,
    error_headers,
    error_object,
    filler_event,
)
from fairlead.simulate.times import Times

_JSON = b"content-type: application/json\r\n"
_HTML = b"content-type: text/html; charset=utf-8\r\n"
SSE_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)
EventKind = Literal["plain", "token", "finish", "end"]

_PAGE = b"<!doctype html><html><head><title>%d</title></head><body><h1>Bad gateway</h1></body></html>\n"


class AnswerOver(Exception):
    """A fault has ended this answer."""


class Outlet:
    """One answer on its way out."""

    def __init__(self, call: Call, fault: Fault | None, shape: Shape, times: Times | None = None) -> None:
        self._call = call
        self._fault = fault
        self._shape: Shape = shape
        self._times = times
        self._sent = 0
        self._next_at = 0.0

    async def strike_early(self, *, stream: bool) -> None:
        """Do what the fault does before any work. Raises AnswerOver when that was the answer."""
        fault = self._fault
        if fault is None:
            return
        if fault.name == "refuse":
            self._call.abort()
            raise AnswerOver
        if fault.name == "stall" and fault.at == "request":
            await self._pause(fault)
        elif fault.name == "status":
            self._fail(fault)
        elif fault.name == "html":
            status = fault.status or 200
            self._call.reply(status, fault.header_block + _HTML, _PAGE % status)
            raise AnswerOver
        elif fault.name == "empty_stream":
            self._call.reply(200, fault.header_block + (SSE_HEADERS if stream else _JSON), b"")
            raise AnswerOver

    def _fail(self, fault: Fault) -> None:
        status = fault.status or 500
        if fault.body is None:
            body = msgspec.json.encode(error_object(self._shape, status, f"Simulated failure {status}."))
        else:
            body = fault.body.encode()
        self._call.reply(status, fault.header_block + error_headers(self._shape, status) + _JSON, body)
        raise AnswerOver

    # --- whole answers ------------------------------------------------------------------------

    async def whole(self, body: bytes, headers: bytes = _JSON, *, tokens: int = 0) -> None:
        """A whole 200 answer of `tokens` tokens."""
        fault, call = self._fault, self._call
        if fault is None:
            call.reply(200, headers, body)
            return
        headers = fault.header_block + headers
        if fault.name == "error_in_stream":
            body = msgspec.json.encode(error_object(fault.shape or self._shape, 500, "Simulated failure."))
        elif fault.name == "wrong_json":
            body = body[: max(1, len(body) // 2)]
        elif fault.name == "huge_event":
            body = b" " * fault.size + body
        elif fault.name == "slow":
            await self._whole_slowly(fault, headers, body, tokens)
            return
        elif fault.name in ("cut", "stall"):
            await self._whole_partly(fault, headers, body)
            return
        call.reply(200, headers, body)

    async def _whole_slowly(self, fault: Fault, headers: bytes, body: bytes, tokens: int) -> None:
        if fault.rate is not None:
            await asyncio.sleep(tokens / fault.rate)
        self._call.start(200, headers, len(body))
        await self._write(body)
        self._call.end()

    async def _whole_partly(self, fault: Fault, headers: bytes, body: bytes) -> None:
        call = self._call
        call.start(200, headers, len(body))
        half = 0 if fault.at == "headers" else len(body) // 2
        call.write(body[:half])
        if fault.name == "cut":
            await self._cut()
        await self._pause(fault)
        call.write(body[half:])
        call.end()

    # --- streams ------------------------------------------------------------------------------

    async def open(self, headers: bytes = SSE_HEADERS) -> None:
        """Begin a streamed 200 answer."""
        fault, call = self._fault, self._call
        call.start(200, headers if fault is None else fault.header_block + headers)
        if fault is not None and fault.at == "headers" and fault.name in ("cut", "stall"):
            if fault.name == "cut":
                await self._cut()
            await self._pause(fault)

    async def event(self, data: bytes, kind: EventKind = "plain") -> None:
        """One event: a token, the finish reason, the dialect's end mark, or plain."""
        fault = self._fault
        if fault is not None:
            await self._before(fault, data, kind)
        if kind == "token" and self._times is not None:
            self._times.sent()
        await self._write(data)
        if kind == "token":
            self._sent += 1

    async def close(self) -> None:
        """The proper end of a stream."""
        if self._fault is not None:
            await self._before(self._fault, b"", "end")
        self._call.end()

    async def _before(self, fault: Fault, data: bytes, kind: EventKind) -> None:
        if fault.name == "slow":
            if kind == "token" and fault.rate is not None:
                now = asyncio.get_running_loop().time()
                await asyncio.sleep(max(0.0, self._next_at - now))
                self._next_at = max(now, self._next_at) + 1 / fault.rate
            return
        if not self._strikes(fault, kind):
            return
        call = self._call
        if fault.name == "cut":
            if fault.at == "event":
                call.write(data[: max(1, len(data) // 2)])
            await self._cut()
        elif fault.name == "no_finish":
            call.end()
            raise AnswerOver
        elif fault.name == "error_in_stream":
            call.write(error_event(fault.shape or self._shape))
            call.end()
            raise AnswerOver
        elif fault.name == "stall":
            await self._pause(fault)
        elif fault.name == "wrong_json":
            call.write(broken_event(self._shape))
            self._fault = None
        elif fault.name == "huge_event":
            call.write(filler_event(self._shape, fault.size))
            await call.drain()
            self._fault = None

    def _strikes(self, fault: Fault, kind: EventKind) -> bool:
        if fault.at == "end" and fault.name in ("cut", "stall"):
            return kind == "end"
        due = fault.tokens
        return kind == "finish" if due is None else self._sent >= due

    async def _write(self, data: bytes) -> None:
        fault, call = self._fault, self._call
        if fault is None or fault.drip is None or fault.name != "slow":
            call.write(data)
            await call.drain()
            return
        for start in range(0, len(data), fault.drip):
            if start:
                await asyncio.sleep(fault.every)
            call.write(data[start : start + fault.drip])

    async def _cut(self) -> None:
        # The head leaves at the end of this turn of the loop at the latest; an abort would drop it.
        await asyncio.sleep(0)
        await self._call.drain()
        self._call.abort()
        raise AnswerOver

    async def _pause(self, fault: Fault) -> None:
        """Nothing happens for the fault's time, or until the client leaves; then all is well again."""
        if fault.seconds is None:
            await Signal()
        else:
            await asyncio.sleep(fault.seconds)
        self._fault = None
