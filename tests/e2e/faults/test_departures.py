"""A client that leaves stops the upstream's work at once, whatever the request was doing."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.e2e.faults import stories
from tests.e2e.faults.gateway import Gateway, running
from tests.e2e.faults.page import Page
from tests.e2e.faults.play import full_port
from tests.e2e.faults.scenarios import begun, half, sends
from tests.e2e.faults.shapes import CHAT, CHAT_STREAM, EVERY, STREAMS, WHOLES, Shape
from tests.e2e.faults.stories import Story, config, name_of, per_shape, provider, target
from tests.e2e.faults.wire import Wire, until

from fairlead.testing import ReadRequest, Script, ScriptedUpstream, Send, Stall, Wait

AT_ONCE_S: Final = 0.1
"""How soon the upstream must see that the client has left."""
TIMES: Final = 5
"""The median of so many departures must be in time: one may be kept waiting by a busy machine."""

Leave = Callable[[Wire], float]
Ready = Callable[[Wire], bool]


def close(wire: Wire) -> float:
    return wire.leave()


def two_tokens(wire: Wire) -> bool:
    return wire.status == 200 and wire.reading().tokens == 2


PLACES: Final[tuple[tuple[Story, tuple[Shape, ...], Callable[[Shape], Script], Ready | None, Leave], ...]] = (
    (stories.LEAVES_EARLY, EVERY, lambda shape: sends(Stall()), None, close),
    (stories.LEAVES_WAITING, STREAMS, lambda shape: sends(shape.head(), shape.begin(), Stall()), None, close),
    (stories.LEAVES_BODY, WHOLES, lambda shape: sends(half(shape.whole()), Stall()), None, close),
    (stories.LEAVES_STREAM, STREAMS, lambda shape: sends(begun(shape), Stall()), two_tokens, close),
    (stories.HALF_CLOSES, STREAMS, lambda shape: sends(begun(shape), Stall()), two_tokens, Wire.half_close),
    (
        stories.RESETS,
        STREAMS,
        lambda shape: sends(begun(shape), Stall()),
        two_tokens,
        lambda wire: wire.leave(reset=True),
    ),
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place[0].name)
def test_the_upstream_is_left_at_once(place: Any, page: Page) -> None:
    story, shapes, does, ready, leave = place

    async def depart(gateway: Gateway, upstream: ScriptedUpstream, shape: Shape) -> float:
        before = len(upstream.requests)
        async with await Wire.open(gateway.port) as wire:
            wire.ask(shape, name_of(shape))
            await until(lambda: len(upstream.requests) > before)
            if ready is None:
                await asyncio.sleep(0.05)  # what the upstream sends at once has arrived
            else:
                await wire.until(lambda: ready(wire))
            left_at: float = leave(wire)
            return await upstream.connections[-1].gone() - left_at

    async def main() -> float:
        slowest = 0.0
        async with contextlib.AsyncExitStack() as stack:
            upstreams = {
                shape: await stack.enter_async_context(ScriptedUpstream(does(shape))) for shape in shapes
            }
            with running(per_shape(upstreams)) as gateway:
                for shape, upstream in upstreams.items():
                    delays = [await depart(gateway, upstream, shape) for _ in range(TIMES)]
                    assert statistics.median(delays) <= AT_ONCE_S, delays
                    slowest = max(slowest, statistics.median(delays))
                for shape in shapes:
                    for record in await gateway.records(name_of(shape), TIMES):
                        assert record["outcome"] == "client_gone"
                        assert record["status"] == (200 if ready is not None else 499)
                        assert len(record["attempts"]) == 1
                    seen = await gateway.target(name_of(shape))
                    assert (seen["state"], seen["in_flight"]) == ("closed", 0)
        return slowest

    waited_s = asyncio.run(main())
    words = "the upstream's connection is closed within 100 ms"
    page.show(story.row(shapes, words, waited_s=waited_s, attempts="given up", breaker="closed"))


def test_leaving_among_heartbeats(page: Page) -> None:
    async def main() -> None:
        for shape in STREAMS:
            top = {"server": {"commit_s": 0.1, "heartbeat_s": 0.1}}
            async with ScriptedUpstream(sends(Stall())) as upstream:
                with running(config({"p": provider(shape, upstream)}, [target("p")], top=top)) as gateway:
                    async with await Wire.open(gateway.port) as wire:
                        wire.ask(shape, "m")
                        await wire.until(lambda: wire.status == 200 and wire.reading().heartbeats >= 2)
                        left_at = wire.leave()
                        assert await upstream.connections[0].gone() - left_at < 1
                    [record] = await gateway.records("m")
                    assert (record["outcome"], record["status"]) == ("client_gone", 200)

    asyncio.run(main())
    words = "the upstream's connection is closed within 100 ms"
    page.show(stories.LEAVES_HEARTBEATS.row(STREAMS, words, attempts="given up", breaker="closed"))


def test_leaving_the_queue(page: Page) -> None:
    shape = CHAT

    async def main() -> None:
        release = asyncio.Event()
        script = (ReadRequest(), Wait(release), Send(shape.whole()), ReadRequest(), Send(shape.whole()))
        async with ScriptedUpstream(script) as upstream:
            settings = config({"p": provider(shape, upstream)}, [target("p", max_concurrency=1)])
            with running(settings) as gateway:
                async with (
                    await Wire.open(gateway.port) as first,
                    await Wire.open(gateway.port) as second,
                    await Wire.open(gateway.port) as third,
                ):
                    first.ask(shape, "m")
                    await until(lambda: len(upstream.requests) == 1)
                    for waiting in (second, third):
                        waiting.ask(shape, "m")
                        await asyncio.sleep(0.1)
                    second.leave()
                    await asyncio.sleep(0.1)
                    release.set()
                    await first.end()
                    await third.end()
                    assert (first.status, third.status) == (200, 200)
                # The one that left was never sent: the target saw two requests.
                assert len(upstream.requests) == 2
                records = await gateway.records("m", 3)
                gone = [record for record in records if record["outcome"] == "client_gone"]
                assert len(gone) == 1
                assert gone[0].get("attempts", []) == []

    asyncio.run(main())
    page.show(stories.LEAVES_QUEUE.row([shape], "nothing is sent for it; the next in the queue is served"))


def test_leaving_while_the_connection_is_opened(page: Page) -> None:
    shape = CHAT_STREAM

    async def main() -> None:
        with full_port() as port, running(config({"p": provider(shape, port)}, [target("p")])) as gateway:
            async with await Wire.open(gateway.port) as wire:
                wire.ask(shape, "m")
                await asyncio.sleep(0.3)
                wire.leave()
            [record] = await gateway.records("m")
            assert record["outcome"] == "client_gone"
            assert record["duration_s"] < 2
            seen = await gateway.target("p")
            assert (seen["state"], seen["in_flight"]) == ("closed", 0)

    asyncio.run(main())
    words = "the attempt to connect is given up at once"
    page.show(stories.LEAVES_DIALLING.row([shape], words, attempts="given up", breaker="closed"))


def test_leaving_two_hedged_attempts(page: Page) -> None:
    async def main() -> None:
        for shape in STREAMS:
            async with (
                ScriptedUpstream(sends(Stall())) as first,
                ScriptedUpstream(sends(Stall())) as second,
            ):
                providers = {"p": provider(shape, first), "q": provider(shape, second)}
                settings = config(
                    providers,
                    [target("p"), target("q", priority=1)],
                    hedge={"after_s": 0.1, "max_fraction": 1},
                )
                with running(settings) as gateway:
                    async with await Wire.open(gateway.port) as wire:
                        wire.ask(shape, "m")
                        await until(lambda: bool(first.requests) and bool(second.requests))
                        left_at = wire.leave()
                        for upstream in (first, second):
                            assert await upstream.connections[0].gone() - left_at < 1
                    [record] = await gateway.records("m")
                    assert record["outcome"] == "client_gone"
                    for name in ("p", "q"):
                        assert (await gateway.target(name))["in_flight"] == 0

    asyncio.run(main())
    words = "both upstreams' connections are closed within 100 ms"
    page.show(stories.LEAVES_HEDGED.row(STREAMS, words, attempts="given up, given up", breaker="closed"))
