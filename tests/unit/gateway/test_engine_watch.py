"""Engines' metrics reach the queues; what does not answer is left alone for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fairlead import config as cfg
from fairlead.errors import UpstreamUnreachable
from fairlead.gateway.engine_watch import EngineWatch, Watched, tell_means
from fairlead.gateway.health import Breaker
from fairlead.gateway.queue import Ask, TargetQueue
from fairlead.gateway.router import Load, Target
from fairlead.gateway.upstream import Upstream
from fairlead.limits.fair import Rules
from fairlead.limits.flows import Flow
from fairlead.limits.inflight import Window, WindowRules
from fairlead.net.client import Client
from fairlead.net.client_tls import TlsContexts
from fairlead.net.origin import Origin
from fairlead.net.resolve import Resolver
from fairlead.telemetry.scrapers.board import Board
from fairlead.telemetry.scrapers.watch import contents
from fairlead.testing import FakeTransport, answer

PAGE = (
    b"vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n"
    b'vllm:kv_cache_usage_perc 0.1\nvllm:cache_config_info{block_size="16",num_gpu_blocks="100"} 1\n'
)


class Answering(FakeTransport):
    """A transport whose other end answers each request in the loop's next round."""

    def __init__(self, protocol: asyncio.Protocol, network: Network) -> None:
        super().__init__(protocol)
        self._peer = protocol
        self._network = network

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._network.requests.append(bytes(data))
        self._network.asked.set()
        asyncio.get_running_loop().call_soon(self._peer.data_received, self._network.answer)


class Network:
    """Engines that all say the same."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()
        self.answer = answer(PAGE)
        self.failure: Exception | None = None

    async def dial(
        self, origin: Origin, protocol: asyncio.Protocol, resolver: Resolver, contexts: TlsContexts
    ) -> None:
        if self.failure is not None:
            raise self.failure
        Answering(protocol, self)


def upstream(type_: str = "vllm", base_url: str = "http://engine:8000/v1") -> Upstream:
    provider = cfg.Provider(type=type_, base_url=base_url, api_key=cfg.Secret("env:KEY"))  # type: ignore[arg-type]  # a literal
    return Upstream("engine", provider, resolve=lambda secret: "sesame", proxy_for=lambda *_: None)


def new_queue() -> TargetQueue:
    return TargetQueue("engine", Rules(), Window(WindowRules()))


def scenario(main: Callable[[Network, EngineWatch], Coroutine[Any, Any, None]], *watched: Watched) -> None:
    async def all_of_it() -> None:
        network = Network()
        client = Client(dial=network.dial)
        try:
            await main(network, EngineWatch(client, lambda: watched))
        finally:
            await client.close()

    asyncio.run(all_of_it())


async def look(watch: EngineWatch) -> int:
    """Ask whoever is due; returns how many were."""
    due = watch.due(time.monotonic())
    for one, queues in due:
        await watch.look(one, queues)
    return len(due)


def busy(queue: TargetQueue) -> None:
    ask = Ask(flow=Flow(names=("a",), weights=(1.0,)), input_tokens=1, expected_tokens=1)
    assert queue.enter(ask, 0.0) is not None


def test_metrics_are_asked_beside_the_api_and_reach_every_queue_of_the_engine() -> None:
    one, first, second = upstream(), new_queue(), new_queue()

    async def main(network: Network, watch: EngineWatch) -> None:
        assert await look(watch) == 1
        (request,) = network.requests
        assert request.startswith(b"GET /metrics HTTP/1.1\r\n")
        assert b"authorization: Bearer sesame\r\n" in request
        assert [queue.window.tokens for queue in (first, second)] == [1440, 1440]

    scenario(main, Watched(upstream=one, queue=first), Watched(upstream=one, queue=second))


def test_behind_a_path_of_its_own_it_is_beside_that() -> None:
    async def main(network: Network, watch: EngineWatch) -> None:
        assert await look(watch) == 1
        assert network.requests[0].startswith(b"GET /one/metrics HTTP/1.1\r\nhost: engine:8000\r\n")

    scenario(main, Watched(upstream=upstream(base_url="http://engine:8000/one/v1"), queue=new_queue()))


def test_a_busy_engine_is_asked_each_time_on_one_connection_and_an_idle_one_now_and_then() -> None:
    one, queue = upstream(), new_queue()

    async def main(network: Network, watch: EngineWatch) -> None:
        assert [await look(watch) for _ in range(3)] == [1, 0, 0]
        busy(queue)
        assert [await look(watch) for _ in range(3)] == [1, 1, 1]
        assert len(network.requests) == 4

    scenario(main, Watched(upstream=one, queue=queue))


def test_an_engine_without_metrics_is_left_alone_also_when_it_is_busy() -> None:
    one, queue = upstream(), new_queue()

    async def main(network: Network, watch: EngineWatch) -> None:
        busy(queue)
        before = (queue.window.tokens, queue.window.requests)
        network.answer = answer(b"no such page", status=404)
        assert [await look(watch) for _ in range(3)] == [1, 0, 0]
        assert (queue.window.tokens, queue.window.requests) == before
        assert not watch.due(time.monotonic() + 59)
        assert watch.due(time.monotonic() + 61)

    scenario(main, Watched(upstream=one, queue=queue))


def test_failures_and_garbage_are_survived() -> None:
    one, queue = upstream(), new_queue()

    async def main(network: Network, watch: EngineWatch) -> None:
        network.failure = UpstreamUnreachable("engine: refused")
        assert await look(watch) == 1
        network.failure = None
        for said in (
            b"\x00\xff\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\xff{\n",
            answer(b"", status=500),
        ):
            network.answer = said
            await watch.look(one, [queue])
        network.answer = answer(PAGE)
        await watch.look(one, [queue])
        assert queue.window.tokens == 1440

    scenario(main, Watched(upstream=one, queue=queue))


def test_hosted_providers_are_not_asked() -> None:
    hosted = upstream("openai", "https://api.example.com/v1")

    async def main(network: Network, watch: EngineWatch) -> None:
        assert await look(watch) == 0
        assert network.requests == []

    scenario(main, Watched(upstream=hosted, queue=new_queue()))


def test_it_watches_until_it_is_cancelled() -> None:
    queue = new_queue()

    async def main(network: Network, watch: EngineWatch) -> None:
        task = asyncio.create_task(watch.run())
        async with asyncio.timeout(5):
            await network.asked.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        assert queue.window.tokens == 1440
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    scenario(main, Watched(upstream=upstream(), queue=queue))


def test_a_look_reaches_the_board_and_the_means_every_target() -> None:
    one, board = upstream(), Board()
    entry = cfg.Target(provider="engine", model="small")
    target = Target(entry, Breaker(cfg.Breaker()), Load())
    queue = TargetQueue(target.name, Rules(), Window(WindowRules()))
    page = PAGE + b"vllm:request_queue_time_seconds_sum %d\nvllm:request_queue_time_seconds_count %d\n"

    async def main() -> None:
        network = Network()
        client = Client(dial=network.dial)
        watch = EngineWatch(client, lambda: [Watched(upstream=one, queue=queue)], board)
        network.answer = answer(page % (0, 0))
        await watch.look(one, [queue])
        network.answer = answer(b"nothing", status=404)
        await watch.look(one, [queue])
        await client.close()
        reading = board.reading("engine/small", time.monotonic())
        assert reading is not None
        assert reading.running == 1.0
        board.engine(["engine/small"], contents(page % (6, 2)).engine or reading, time.monotonic() + 10)
        task = asyncio.create_task(tell_means(board, lambda: [target]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())

    assert target.load_state.engine is not None
    assert target.load_state.engine.queue_s == 3.0
    counts = {one.labels: one.value for one in board.readings(0.0) if one.name == "fairlead_scrapes_total"}
    assert counts == {("engine", "ok"): 1, ("engine", "status"): 1}
