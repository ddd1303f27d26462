"""The clients of `fairlead demo`: a mix of requests against the gateway, each reported as a `Result`.

An answer counts as good when it is whole: status 200 and, for a stream, a
finish reason and the end mark without an error event.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import msgspec

from fairlead.cli.demo_board import Result
from fairlead.errors import FairleadError
from fairlead.net.client import Client
from fairlead.net.http1 import request, request_head
from fairlead.net.origin import Origin
from fairlead.net.upstream import Connection

_TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 4_194_304
_QUESTIONS = (
    "How does a circuit breaker protect a service?",
    "Write a short note about the harbour at dawn.",
    "Summarise the plan for the next quarter in a few sentences.",
    "What should I look at first when latency rises?",
    "Explain continuous batching to a new colleague.",
)


class Traffic:
    """`clients` loops that ask, pause and ask again until they are cancelled."""

    def __init__(
        self,
        origin: Origin,
        keys: tuple[str, ...],
        model: str,
        report: Callable[[Result], None],
        *,
        pause_s: float = 0.15,
    ) -> None:
        self._origin = origin
        self._keys = keys
        self._model = model
        self._report = report
        self._pause_s = pause_s
        self._client = Client()
        self._random = random.Random(7)  # noqa: S311 - which question is asked next

    async def run(self, clients: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(clients):
                    group.create_task(self._one(self._keys[number % len(self._keys)]))
        finally:
            await self._client.close()

    async def _one(self, key: str) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.2, 1.8) * self._pause_s)
            self._report(await self._ask(key, stream=self._random.random() < 0.7))

    async def _ask(self, key: str, *, stream: bool) -> Result:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        connection: Connection | None = None
        try:
            connection = self._client.idle(self._origin)
            if connection is None:
                connection = await self._client.connect(self._origin, begun + _TIMEOUT_S)
            connection.deadline = begun + _TIMEOUT_S
            connection.send(self._message(key, stream=stream))
            head = await connection.head()
            target = head.headers.get(b"x-fairlead-target", b"").decode("latin-1")
            body, first = b"", None
            while piece := await connection.read():
                if first is None and b'"content":"' in piece.replace(b'"content":""', b""):
                    first = (loop.time() - begun) * 1000
                body += piece
                if len(body) > _MAX_ANSWER_BYTES:
                    break
            error = _fault_of(head.status, body, stream=stream)
            return Result(
                ended_at=loop.time(),
                ok=not error,
                target=target,
                first_token_ms=first if stream else None,
                error=error,
            )
        except FairleadError as error:
            return Result(ended_at=loop.time(), ok=False, error=error.message)
        finally:
            if connection is not None:
                connection.release()

    def _message(self, key: str, *, stream: bool) -> bytes:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": self._random.choice(_QUESTIONS)}],
            "max_tokens": self._random.randint(20, 60),
            "stream": stream,
        }
        headers = ((b"authorization", b"Bearer " + key.encode()), (b"content-type", b"application/json"))
        head = request_head("POST", "/v1/chat/completions", self._origin.authority, headers)
        return request(head, msgspec.json.encode(body))


def _fault_of(status: int, body: bytes, *, stream: bool) -> str:
    """What is wrong with an answer; "" when it is whole."""
    if status != 200:
        return f"status {status}"
    if b'"error":{' in body.replace(b" ", b""):
        return "an error inside the stream"
    if stream and not (b"data: [DONE]" in body and b'"finish_reason":"' in body):
        return "a stream without an end"
    return ""
