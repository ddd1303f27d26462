"""What the fakes of key services share: an HTTP server on 127.0.0.1, and ways to fail."""

from __future__ import annotations

import asyncio
import json
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from fairlead import config
from fairlead.errors import FairleadError
from fairlead.net.call import Call, Intake
from fairlead.net.head import Head
from fairlead.net.server import Server

_JSON: Final = b"content-type: application/json\r\n"
_MAX_BODY_BYTES: Final = 1_048_576


class Outage(StrEnum):
    """Ways to fail before anything is looked at."""

    NONE = "none"
    DOWN = "down"
    """Closes the connection without an answer."""
    SLOW = "slow"
    """Answers nothing and keeps the connection."""
    BROKEN = "broken"
    """Answers 500."""
    BUSY = "busy"
    """Answers 503."""
    GARBAGE = "garbage"
    """Answers 200 with what is not JSON."""
    STRANGE = "strange"
    """Answers 200 with JSON of another API."""
    HUGE = "huge"
    """Answers 200 with four megabytes."""
    REDIRECT = "redirect"
    """Sends callers elsewhere."""


class Refused(Exception):
    """How a fake refuses: a status and a body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes


class FakeServer:
    """A server whose subclass answers `reply`; an asynchronous context manager."""

    def __init__(self) -> None:
        self.outage = Outage.NONE
        self.fails = 0
        """So many requests get the outage; all of them when 0."""
        self.seen: list[Seen] = []
        """Requests that arrived, those of an outage included."""
        self._server = Server(self, config.Server(port=0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.port}"

    async def __aenter__(self) -> Self:
        await self._server.start("127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._server.drain(0)

    def fail(self, outage: Outage, times: int = 0) -> None:
        """Fail from now on, or for so many requests."""
        self.outage = outage
        self.fails = times

    def reply(self, seen: Seen) -> dict[str, Any]:
        """The answer's JSON.

        Raises:
            Refused: it is refused.
        """
        raise NotImplementedError

    # --- Application ----------------------------------------------------------------------------

    def intake(self, head: Head) -> Intake:
        """Take any body of a reasonable size."""
        return Intake(limit_bytes=_MAX_BODY_BYTES)

    def refuse(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
        """Answer what is not HTTP."""
        return error.status, _JSON, b"{}"

    async def handle(self, call: Call) -> None:
        """Answer one request, or fail as told."""
        head = call.head
        seen = Seen(method=head.method, target=head.target, headers=dict(head.headers), body=call.body)
        self.seen.append(seen)
        outage = self.outage
        if outage is not Outage.NONE and self.fails:
            self.fails -= 1
            if self.fails == 0:
                self.outage = Outage.NONE
        match outage:
            case Outage.DOWN:
                call.abort()
            case Outage.SLOW:
                await asyncio.get_running_loop().create_future()
            case Outage.BROKEN:
                call.reply(500, _JSON, b'{"errors":["internal error"]}')
            case Outage.BUSY:
                call.reply(503, _JSON, b'{"errors":["sealed"]}')
            case Outage.GARBAGE:
                call.reply(200, _JSON, b"<html>")
            case Outage.STRANGE:
                call.reply(200, _JSON, b'{"data":{"answer":42},"KeyId":[]}')
            case Outage.HUGE:
                call.reply(200, _JSON, b'{"data":"' + b"x" * 4_194_304 + b'"}')
            case Outage.REDIRECT:
                call.reply(307, _JSON + b"location: https://198.51.100.1/\r\n", b"")
            case Outage.NONE:
                status, body = self._status_and_body(seen)
                call.reply(status, _JSON, body)

    def _status_and_body(self, seen: Seen) -> tuple[int, bytes]:
        try:
            return 200, json.dumps(self.reply(seen)).encode()
        except Refused as refused:
            return refused.status, json.dumps(refused.body).encode()
