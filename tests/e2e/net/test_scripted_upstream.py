"""The scripted upstream does what its scripts say, and tells what its peer did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from fairlead.testing import (
    Action,
    Close,
    HalfClose,
    ReadRequest,
    Repeat,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    Wait,
    answer,
    sse_answer,
)

Scenario = Callable[[], Awaitable[None]]
REQUEST = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Callable[[Scenario], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            async with asyncio.timeout(20):
                await scenario()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run


async def dial(upstream: ScriptedUpstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", upstream.port)


def test_requests_are_recorded_and_answered_in_order(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream([Repeat((ReadRequest(), Send(answer(b"ok"))))]) as upstream:
            reader, writer = await dial(upstream)
            writer.write(REQUEST * 2)
            for _ in range(2):
                assert await reader.readexactly(len(answer(b"ok"))) == answer(b"ok")
            request = upstream.requests[1]
            assert (request.method, request.target, request.path) == ("POST", "/v1/x?y=1", "/v1/x")
            assert (request.headers[b"host"], request.body) == (b"a", b"hi")
            assert upstream.connections[0].requests == upstream.requests
            writer.close()

    run(scenario)


def test_each_connection_has_its_script_and_the_last_repeats(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream([Send(b"1"), Close()], [Send(b"2"), Close()]) as upstream:
            assert [await _everything(upstream) for _ in range(3)] == [b"1", b"2", b"2"]

    run(scenario)


async def _everything(upstream: ScriptedUpstream) -> bytes:
    reader, writer = await dial(upstream)
    data = await reader.read()
    writer.close()
    return data


@pytest.mark.parametrize("leave", ["close", "abort"])
@pytest.mark.parametrize("action", [Stall(), Wait(60.0), ReadRequest(), Repeat((Send(b"x", pause_s=0.01),))])
def test_the_peers_departure_ends_any_action_and_is_recorded(
    run: Callable[[Scenario], None], leave: str, action: Action
) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream([ReadRequest(), action, Send(b"never")]) as upstream:
            reader, writer = await dial(upstream)
            writer.write(REQUEST)
            await asyncio.sleep(0.03)
            connection = upstream.connections[0]
            assert connection.left_at is None
            left = asyncio.get_running_loop().time()
            if leave == "close":
                writer.close()
            else:
                writer.transport.abort()
            assert 0 <= await connection.gone() - left + 0.01 < 0.5
            assert b"never" not in await reader.read()

    run(scenario)


def test_our_own_close_is_not_the_peers_departure(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        for action in (Close(), Reset()):
            async with ScriptedUpstream([ReadRequest(), action]) as upstream:
                reader, writer = await dial(upstream)
                writer.write(REQUEST)
                if isinstance(action, Reset):
                    with pytest.raises(ConnectionResetError):
                        await reader.read()
                else:
                    assert await reader.read() == b""
                assert upstream.connections[0].left_at is None
                writer.close()

    run(scenario)


def test_a_half_close_leaves_the_other_direction_open(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream([HalfClose(), ReadRequest(), Stall()]) as upstream:
            reader, writer = await dial(upstream)
            assert await reader.read() == b""
            writer.write(REQUEST)
            await asyncio.sleep(0.05)
            assert len(upstream.requests) == 1
            writer.close()

    run(scenario)


def test_a_wait_ends_with_its_event(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        event = asyncio.Event()
        async with ScriptedUpstream([Send(b"a"), Wait(event), Send(b"b")]) as upstream:
            reader, writer = await dial(upstream)
            assert await reader.readexactly(1) == b"a"
            event.set()
            assert await reader.readexactly(1) == b"b"
            writer.close()

    run(scenario)


def test_pieces_make_the_whole(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        stream = sse_answer(b"{}", b"[DONE]")
        async with ScriptedUpstream([Send(stream, piece_bytes=3), Close()]) as upstream:
            assert await _everything(upstream) == stream

    run(scenario)


def test_what_is_not_http_is_recorded(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        async with ScriptedUpstream([ReadRequest(), Stall()]) as upstream:
            _, writer = await dial(upstream)
            writer.write(b"\x16\x03\x01 this is TLS")
            writer.close()
            await upstream.connections[0].gone()
            assert upstream.connections[0].error is not None
            assert upstream.connections[0].bytes_in == 15
            assert upstream.requests == []

    run(scenario)


def test_a_fault_of_the_script_fails_the_test(run: Callable[[Scenario], None]) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream([Action()])
        await upstream.__aenter__()
        _, writer = await dial(upstream)
        await asyncio.sleep(0.02)
        writer.close()
        with pytest.raises(TypeError, match="no action"):
            await upstream.__aexit__(None, None, None)

    run(scenario)
