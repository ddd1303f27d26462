"""A simulated engine in a thread of its own, so that tests can use blocking clients."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import uvloop

from fairlead.simulate.engine import Latency
from fairlead.simulate.faults import parse
from fairlead.simulate.server import EngineConfig, RunningEngine, start_engine

INSTANT = Latency(instant=True)


class Answer:
    """What came back over HTTP."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes, error: str | None = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.error = error
        """How the body ended early, if it did."""

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of each SSE event; JSON where it is JSON."""
        data = [
            block.split("data: ", 1)[1] for block in self.body.decode().split("\n\n") if "data: " in block
        ]
        return [text if text == "[DONE]" else json.loads(text) for text in data]


class Served:
    """An engine under test, and a plain client for it."""

    def __init__(self, running: RunningEngine, loop: asyncio.AbstractEventLoop) -> None:
        self.running = running
        self._loop = loop

    @property
    def port(self) -> int:
        return self.running.port

    def inside(self, function: Callable[[], object]) -> Any:
        """Call something in the engine's own thread."""
        result: Future[object] = Future()

        def call() -> None:
            try:
                result.set_result(function())
            except BaseException as error:
                result.set_exception(error)

        self._loop.call_soon_threadsafe(call)
        return result.result(10)

    def fault(self, text: str) -> None:
        self.inside(lambda: self.running.faults.install(parse(text), self._loop.time()))

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        port: int = 0,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, raw, headers or {})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            data, error = b"", None
            try:
                while piece := response.read1(65536):
                    data += piece
                if response.length:
                    error = "short"
            except (http.client.IncompleteRead, ConnectionError) as cut:
                error = type(cut).__name__
            return Answer(response.status, fields, data, error)
        finally:
            connection.close()

    def chat(self, fault: str | None = None, **fields: object) -> Answer:
        messages = [{"role": "user", "content": "Where does the river end?"}]
        body = {"model": "m", "messages": messages, "temperature": 0, **fields}
        return self.request(
            "POST", "/v1/chat/completions", body, {} if fault is None else {"x-simulate-fault": fault}
        )

    def eventually(self, check: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until something holds in the engine's thread."""
        deadline = time.monotonic() + timeout_s
        while not self.inside(check):
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)


@contextlib.contextmanager
def served(config: EngineConfig, *, control_port: int | None = None) -> Iterator[Served]:
    """Run an engine until the block ends."""
    ready: Future[Served] = Future()

    async def main() -> None:
        try:
            running = await start_engine(config, control_port=control_port)
        except BaseException as error:
            ready.set_exception(error)
            raise
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        served = Served(running, loop)
        stops.append(lambda: loop.call_soon_threadsafe(over.set))
        ready.set_result(served)
        await over.wait()
        await running.stop()

    stops: list[Callable[[], object]] = []
    thread = threading.Thread(target=lambda: uvloop.run(main()), daemon=True)
    thread.start()
    try:
        yield ready.result(10)
    finally:
        for stop in stops:
            stop()
        thread.join(10)
        assert not thread.is_alive(), "the engine did not stop"


@pytest.fixture(scope="module")
def engine() -> Iterator[Served]:
    """An OpenAI-compatible engine without delays."""
    with served(EngineConfig(models=("m", "other"), latency=INSTANT, responses=True)) as running:
        yield running
