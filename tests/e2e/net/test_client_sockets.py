"""The upstream client against real sockets, on uvloop and on asyncio's own loop."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import uvloop

from fairlead.errors import (
    FairleadError,
    UpstreamCut,
    UpstreamDisconnected,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTlsFailed,
    UpstreamUnreachable,
)
from fairlead.net.client import Client, Connection, Counts, Origin
from fairlead.net.http1 import LAST_CHUNK, chunk, chunked_request, request, request_head
from fairlead.net.proxy import absolute_form
from fairlead.net.resolve import Address
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
    sse_event,
    sse_head,
)

Scenario = Callable[[Client], Awaitable[None]]
RunScenario = Callable[[Scenario], None]


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> RunScenario:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(scenario: Scenario) -> None:
        async def main() -> None:
            client = Client()
            try:
                async with asyncio.timeout(20):
                    await scenario(client)
            finally:
                await client.close()

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return run


def to(upstream: ScriptedUpstream) -> Origin:
    return Origin(scheme="http", host="127.0.0.1", port=upstream.port)


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


GET = request_head("GET", "/v1/models", "engine", []) + b"\r\n"
SERVE = Repeat((ReadRequest(), Send(answer(b"{}"))))


async def exchange(client: Client, origin: Origin, data: bytes = GET) -> tuple[int, bytes]:
    connection = client.idle(origin) or await client.connect(origin, soon())
    connection.send(data)
    try:
        head = await connection.head()
        return head.status, await connection.read_all(10_000_000)
    finally:
        connection.release()


async def failure(
    client: Client, origin: Origin, deadline: float | None = None
) -> tuple[bytes, FairleadError]:
    """Send a request that fails; return what was read before, and the error."""
    connection = await client.connect(origin, soon())
    connection.deadline = soon() if deadline is None else deadline
    connection.send(GET)
    body = b""
    try:
        await connection.head()
        while piece := await connection.read():
            body += piece
    except FairleadError as error:
        return body, error
    finally:
        connection.release()
    raise AssertionError("the request succeeded")


def test_one_connection_serves_many_requests(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE]) as upstream:
            for _ in range(50):
                assert await exchange(client, to(upstream)) == (200, b"{}")
            assert len(upstream.connections) == 1
            assert len(upstream.requests) == 50
            assert client.counts(to(upstream)) == Counts(idle=1)

    run(scenario)


def test_large_bodies_travel_both_ways(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        body = bytes(range(256)) * 8192  # 2 MiB
        async with ScriptedUpstream([ReadRequest(), Send(answer(body))]) as upstream:
            data = request(request_head("POST", "/", "engine", []), body)
            assert await exchange(client, to(upstream), data) == (200, body)
            assert upstream.requests[0].body == body

    run(scenario)


def test_a_slow_reader_pauses_the_upstream_and_loses_nothing(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        body = b"0123456789abcdef" * 262_144  # 4 MiB, more than the kernel buffers
        async with ScriptedUpstream([ReadRequest(), Send(answer(body), piece_bytes=65_536)]) as upstream:
            connection = await client.connect(to(upstream), soon())
            connection.send(GET)
            await connection.head()
            received = b""
            largest = 0
            while piece := await connection.read():
                largest = max(largest, len(piece))
                received += piece
                await asyncio.sleep(0.005)
            assert received == body
            assert largest <= 2 * 262_144
            connection.release()
            assert client.counts(to(upstream)) == Counts(idle=1)

    run(scenario)


def test_a_streamed_upload_waits_for_a_slow_upstream(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        body = b"x" * 65_536
        async with ScriptedUpstream([ReadRequest(), Send(answer(b"done"))]) as upstream:
            connection = await client.connect(to(upstream), soon())
            connection.send(chunked_request(request_head("POST", "/", "engine", [])), complete=False)
            for _ in range(64):
                assert await connection.send_piece(chunk(body))
            assert await connection.send_piece(LAST_CHUNK, last=True)
            assert (await connection.head()).status == 200
            assert await connection.read_all(100) == b"done"
            connection.release()
            assert len(upstream.requests[0].body) == 64 * 65_536
            assert client.counts(to(upstream)) == Counts(idle=1)

    run(scenario)


def test_a_stream_arrives_byte_by_byte(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        stream = sse_answer(b"one", b"two", b"[DONE]")
        async with ScriptedUpstream([ReadRequest(), Send(stream, piece_bytes=1)]) as upstream:
            assert await exchange(client, to(upstream)) == (
                200,
                b"data: one\n\ndata: two\n\ndata: [DONE]\n\n",
            )
            assert client.counts(to(upstream)) == Counts(idle=1)

    run(scenario)


def test_a_body_delimited_by_the_end_of_the_connection(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        script = [ReadRequest(), Send(b"HTTP/1.0 200 OK\r\n\r\nall of it"), Close()]
        async with ScriptedUpstream(script) as upstream:
            assert await exchange(client, to(upstream)) == (200, b"all of it")
            assert client.counts(to(upstream)) == Counts()

    run(scenario)


@pytest.mark.parametrize("end", [Close(), HalfClose(), Reset()], ids=["close", "half", "reset"])
def test_an_upstream_that_ends_without_a_byte(run: RunScenario, end: Action) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), end]) as upstream:
            _, error = await failure(client, to(upstream))
            assert type(error) is UpstreamDisconnected
            assert not error.unsent
            assert client.counts(to(upstream)) == Counts()

    run(scenario)


@pytest.mark.parametrize("end", [Close(), HalfClose(), Reset()], ids=["close", "half", "reset"])
@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"HTTP/1.1 20", b""),
        (answer(b"hello")[:-2], b"hel"),
        (sse_head() + sse_event(b"one"), b"data: one\n\n"),
    ],
    ids=["head", "length", "chunked"],
)
def test_an_answer_cut_short(run: RunScenario, sent: bytes, body: bytes, end: Action) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), Send(sent), Wait(0.02), end]) as upstream:
            received, error = await failure(client, to(upstream))
            assert (received, type(error)) == (body, UpstreamCut)
            assert client.counts(to(upstream)) == Counts()

    run(scenario)


def test_a_protocol_error_closes_the_connection(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), Send(b"NOT HTTP\r\n\r\n"), Stall()]) as upstream:
            _, error = await failure(client, to(upstream))
            assert type(error) is UpstreamProtocolError
            await upstream.connections[0].gone()

    run(scenario)


@pytest.mark.parametrize(
    ("sent", "words"), [(b"", "did not answer in time"), (sse_head(), "did not end its answer in time")]
)
def test_a_stalled_upstream_times_out_and_is_hung_up_on(run: RunScenario, sent: bytes, words: str) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), Send(sent), Stall()]) as upstream:
            started = asyncio.get_running_loop().time()
            _, error = await failure(client, to(upstream), deadline=started + 0.1)
            waited = asyncio.get_running_loop().time() - started
            assert type(error) is UpstreamTimeout
            assert words in error.message
            assert 0.09 <= waited < 1.0  # uvloop's clock counts in milliseconds
            await upstream.connections[0].gone()

    run(scenario)


def test_aborting_reaches_the_upstream_at_once(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        script = [ReadRequest(), Send(sse_head() + sse_event(b"one")), Stall()]
        async with ScriptedUpstream(script) as upstream:
            connection = await client.connect(to(upstream), soon())
            connection.send(GET)
            assert await connection.read() == b"data: one\n\n"
            aborted_at = asyncio.get_running_loop().time()
            connection.abort()
            assert await upstream.connections[0].gone() - aborted_at < 0.5

    run(scenario)


def test_a_connection_that_the_upstream_closed_is_replaced(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), Send(answer(b"1")), Close()], [SERVE]) as upstream:
            assert await exchange(client, to(upstream)) == (200, b"1")
            await asyncio.sleep(0.05)
            assert client.counts(to(upstream)) == Counts()
            assert await exchange(client, to(upstream)) == (200, b"{}")
            assert len(upstream.connections) == 2

    run(scenario)


def test_an_end_that_only_the_kernel_knows_of_is_seen(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), Send(answer(b"1"))], [SERVE]) as upstream:
            await exchange(client, to(upstream))
            loop = asyncio.get_running_loop()
            client.sweep(loop.time() + 2.0)  # it has idled for two seconds, as far as the client knows
            fileno = upstream.connections[0]._transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(fileno)) as theirs:
                theirs.shutdown(socket.SHUT_WR)
            time.sleep(0.02)  # noqa: ASYNC251 - the loop must not run
            assert client.idle(to(upstream)) is None
            assert await exchange(client, to(upstream)) == (200, b"{}")

    run(scenario)


def test_bytes_after_an_answer_are_not_the_next_answer(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        poisoned = [ReadRequest(), Send(answer(b"1")), Wait(0.02), Send(answer(b"evil")), Stall()]
        async with ScriptedUpstream(poisoned, [SERVE]) as upstream:
            assert await exchange(client, to(upstream)) == (200, b"1")
            await upstream.connections[0].gone()
            assert await exchange(client, to(upstream)) == (200, b"{}")

    run(scenario)


def test_refused(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream() as upstream:
            origin = to(upstream)
        with pytest.raises(UpstreamUnreachable) as caught:
            await client.connect(origin, soon())
        assert caught.value.message == f"127.0.0.1:{origin.port}: connection refused (127.0.0.1)"
        assert client.counts(origin) == Counts()

    run(scenario)


def test_a_name_that_does_not_resolve(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(UpstreamUnreachable, match=r"nowhere\.invalid:80: the name does not resolve"):
            await client.connect(Origin(scheme="http", host="nowhere.invalid", port=80), soon(15))

    run(scenario)


def test_a_name_that_cannot_be_one(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(UpstreamUnreachable, match="does not resolve"):
            await client.connect(Origin(scheme="http", host="a" * 70 + ".invalid", port=80), soon(15))

    run(scenario)


def test_the_name_localhost(run: RunScenario) -> None:
    """It resolves to ::1 first on many machines, where nothing listens here."""

    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE]) as upstream:
            origin = Origin(scheme="http", host="localhost", port=upstream.port)
            assert await exchange(client, origin) == (200, b"{}")

    run(scenario)


def test_the_connect_timeout_bounds_the_lookup(run: RunScenario) -> None:
    async def scenario(_: Client) -> None:
        async def never(host: str, port: int) -> list[Address]:
            await asyncio.Event().wait()
            return []

        client = Client(lookup=never)
        origin = Origin(scheme="http", host="slow", port=80, connect_timeout_s=0.05)
        with pytest.raises(UpstreamTimeout, match="slow:80: no connection in time"):
            await client.connect(origin, soon())
        assert client.counts(origin) == Counts()
        await client.close()

    run(scenario)


def test_cancelling_while_the_listener_does_not_answer_leaves_no_socket(run: RunScenario) -> None:
    """A full backlog: the kernel drops our SYN and the attempt hangs."""

    async def scenario(client: Client) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            port = listener.getsockname()[1]
            fillers = []
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
            try:
                origin = Origin(scheme="http", host="127.0.0.1", port=port)
                task = asyncio.get_running_loop().create_task(client.connect(origin, soon()))
                await asyncio.sleep(0.05)
                assert client.counts(origin) == Counts(opening=1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert client.counts(origin) == Counts()
            finally:
                for filler in fillers:
                    filler.close()

    run(scenario)


def test_plain_requests_go_to_a_proxy_in_absolute_form(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE]) as proxy:
            origin = Origin(
                scheme="http", host="engine.internal", port=8000, proxy=f"http://u:p@127.0.0.1:{proxy.port}"
            )
            prefix, headers = absolute_form(origin)
            head = request_head("GET", f"{prefix}/v1/models", origin.authority, headers)
            assert await exchange(client, origin, head + b"\r\n") == (200, b"{}")
            assert proxy.requests[0].target == "http://engine.internal:8000/v1/models"
            assert proxy.requests[0].headers[b"host"] == b"engine.internal:8000"
            assert proxy.requests[0].headers[b"proxy-authorization"] == b"Basic dTpw"

    run(scenario)


def test_a_dead_proxy_is_named_without_its_credential(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream() as proxy:
            port = proxy.port
        origin = Origin(scheme="http", host="engine", port=80, proxy=f"http://u:secret@127.0.0.1:{port}")
        with pytest.raises(UpstreamUnreachable) as caught:
            await client.connect(origin, soon())
        assert f"engine:80 through its proxy 127.0.0.1:{port}" in caught.value.message
        assert "secret" not in str(caught.value)

    run(scenario)


def test_sockets_are_without_delay_and_kept_alive(run: RunScenario) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE]) as upstream:
            connection: Connection = await client.connect(to(upstream), soon())
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1

    run(scenario)


def test_a_reset_during_connecting_never_closes_another_connections_descriptor(run: RunScenario) -> None:
    """A socket object that outlives its descriptor closes whatever has the number by then."""

    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE]) as healthy, ScriptedUpstream([Reset()]) as resetting:
            for _ in range(10):
                with pytest.raises((UpstreamTlsFailed, UpstreamTimeout)):
                    await client.connect(msgspec.structs.replace(to(resetting), scheme="https"), soon())
                assert await exchange(client, to(healthy)) == (200, b"{}")
                client.sweep(asyncio.get_running_loop().time() + 100.0)  # the next one reuses the number
                gc.collect()
            assert len(healthy.connections) == 10

    run(scenario)
