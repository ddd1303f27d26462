"""The server on real sockets and event loops. What needs no socket is in tests/unit/net."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from tests.unit.net.harness import App, echo, read_answers

from fairlead import config
from fairlead.net.run import Signal
from fairlead.net.server import Call, Intake, Server
from fairlead.net.server_tls import server_context

GET = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
POST = b"POST / HTTP/1.1\r\nHost: gateway\r\nContent-Length: 300000\r\n\r\n"

Loops = pytest.mark.parametrize(
    "loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run(main: Coroutine[Any, Any, None], loop_factory: LoopFactory = uvloop.new_event_loop) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main)


@asynccontextmanager
async def serving(app: App, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[Server]:
    server = Server(app, config.Server(**options), ssl=tls)
    await server.start("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.drain(0.0)


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop turns until something is so; the test's own time-out is the bound."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)


@Loops
def test_requests_over_a_socket(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        app = App()
        async with serving(app) as server:
            assert server.port > 0
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET + POST + b"x" * 300_000 + LAST)
            answers = read_answers(await reader.read())
            assert [(answer.status, len(answer.body)) for answer in answers] == [
                (200, 0),
                (200, 300_000),
                (200, 0),
            ]
            assert app.calls[0].head.peer == "127.0.0.1"
            writer.close()
            await until(lambda: server.connections == 0)

    run(main(), loop_factory)


@Loops
def test_an_early_refusal_is_read_by_a_client_that_is_still_sending(loop_factory: LoopFactory) -> None:
    async def main() -> None:
        async with serving(App(intake=lambda head: Intake(1000))) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(POST + b"x" * 150_000)
            assert [answer.status for answer in read_answers(await reader.read())] == [413]
            writer.close()

    run(main(), loop_factory)


@Loops
def test_a_stream_waits_for_a_slow_client(loop_factory: LoopFactory) -> None:
    written = 0

    async def pour(call: Call) -> None:
        nonlocal written
        call.start(200, b"")
        for _ in range(120):
            call.write(b"x" * 100_000)
            written += 1
            await call.drain()
        call.end()

    async def main() -> None:
        async with serving(App(pour)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(LAST)
            await reader.read(1)
            await asyncio.sleep(0.05)
            assert written < 120
            rest = await reader.read()
            assert len(read_answers(b"H" + rest)[0].body) == 12_000_000
            writer.close()

    run(main(), loop_factory)


@Loops
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
def test_a_client_that_leaves_cancels_its_call(loop_factory: LoopFactory, reset: bool) -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"")
        call.write(b"x")
        await Signal()

    async def main() -> None:
        app = App(handle)
        async with serving(app) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET)
            await reader.readuntil(b"x")
            assert server.active == 1
            if reset:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            await until(lambda: app.cancelled == 1)
            await until(lambda: server.connections == 0)
            assert server.active == 0

    run(main(), loop_factory)


@Loops
def test_an_aborted_http_1_0_stream_reaches_the_client_as_a_reset(loop_factory: LoopFactory) -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"")
        call.write(b"x")
        await release
        call.abort()

    release = Signal()

    async def main() -> None:
        async with serving(App(handle)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            await reader.readuntil(b"x")
            release.fire()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    run(main(), loop_factory)


def test_small_writes_are_not_delayed() -> None:
    flags: list[int] = []

    async def handle(call: Call) -> None:
        sock = call._out.transport.get_extra_info("socket")
        flags.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await echo(call)

    async def main() -> None:
        async with serving(App(handle)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(LAST)
            await reader.read()
            writer.close()

    run(main())
    assert flags == [1]


def test_a_bound_socket_can_be_handed_in() -> None:
    async def main() -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            server = Server(App(), config.Server())
            await server.start("", 0, sock=sock)
            assert server.port == sock.getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(LAST)
            assert [answer.status for answer in read_answers(await reader.read())] == [200]
            writer.close()
            await server.drain(0.0)

    run(main())


def test_two_servers_can_share_a_port() -> None:
    async def main() -> None:
        first, second = Server(App(), config.Server()), Server(App(), config.Server())
        await first.start("127.0.0.1", 0, reuse_port=True)
        await second.start("127.0.0.1", first.port, reuse_port=True)
        assert second.port == first.port
        await first.drain(0.0)
        await second.drain(0.0)

    run(main())


# --- drain --------------------------------------------------------------------------------------


def test_drain_lets_calls_finish_and_closes_what_is_idle() -> None:
    finish = Signal()

    async def handle(call: Call) -> None:
        if call.head.path == "/slow":
            await finish
        await echo(call)

    async def main() -> None:
        app = App(handle)
        async with serving(app) as server:
            idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", server.port)
            idle_writer.write(GET)
            await idle_reader.readuntil(b"\r\n\r\n")
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET.replace(b"/v1/models", b"/slow"))
            await until(lambda: server.active == 1)
            draining = asyncio.create_task(server.drain(30.0))
            assert await idle_reader.read() == b""
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", server.port)
            assert not draining.done()
            finish.fire()
            answers = read_answers(await reader.read())
            assert [(answer.status, answer.headers["connection"]) for answer in answers] == [(200, "close")]
            await draining
            assert (server.connections, server.active, app.cancelled) == (0, 0, 0)
            idle_writer.close()
            writer.close()

    run(main())


def test_drain_cuts_what_does_not_finish() -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"")
        call.write(b"x")
        await Signal()

    async def main() -> None:
        app = App(handle)
        async with serving(app) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET)
            await reader.readuntil(b"x")
            await server.drain(0.01)
            assert (server.connections, server.active, app.cancelled) == (0, 0, 1)
            writer.close()

    run(main())


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(authority: trustme.CA, folder: Path, *, client_ca: bool = False) -> config.ServerTls:
    issued = authority.issue_cert("localhost")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return config.ServerTls(
        cert=str(folder / "cert.pem"),
        key=str(folder / "key.pem"),
        client_ca=str(folder / "ca.pem") if client_ca else None,
    )


async def ask(server: Server, tls: ssl.SSLContext) -> list[int]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=tls, server_hostname="localhost"
    )
    writer.write(POST + b"x" * 300_000 + LAST)
    answers = read_answers(await reader.read())
    writer.close()
    return [answer.status for answer in answers]


@Loops
def test_requests_over_tls(authority: trustme.CA, tmp_path: Path, loop_factory: LoopFactory) -> None:
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    async def main() -> None:
        async with serving(App(), server_context(certificate(authority, tmp_path))) as server:
            assert await ask(server, trusting) == [200, 200]
            await until(lambda: server.connections == 0)

    run(main(), loop_factory)


def test_clients_show_a_certificate_when_they_must(authority: trustme.CA, tmp_path: Path) -> None:
    stranger = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    known = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    authority.issue_cert("client@example.org").configure_cert(known)

    async def main() -> None:
        app = App()
        async with serving(app, server_context(certificate(authority, tmp_path, client_ca=True))) as server:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await ask(server, stranger)
            assert app.calls == []
            assert await ask(server, known) == [200, 200]

    run(main())


def test_plain_http_on_a_tls_port_is_not_answered(authority: trustme.CA, tmp_path: Path) -> None:
    async def main() -> None:
        app = App()
        async with serving(app, server_context(certificate(authority, tmp_path))) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET)
            assert b"HTTP" not in await reader.read()
            assert app.calls == []
            writer.close()

    run(main())


def test_tls_on_a_plain_port_is_refused(authority: trustme.CA) -> None:
    async def main() -> None:
        async with serving(App()) as server:
            with pytest.raises(ssl.SSLError):
                await ask(server, ssl.create_default_context())

    run(main())


def test_an_early_refusal_over_tls_can_be_read(authority: trustme.CA, tmp_path: Path) -> None:
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())

    async def main() -> None:
        tls = server_context(certificate(authority, tmp_path))
        async with serving(App(intake=lambda head: Intake(1000)), tls) as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=trusting, server_hostname="localhost"
            )
            writer.write(POST + b"x" * 100_000)
            assert b"413" in await reader.readuntil(b"\r\n")
            writer.close()

    run(main())
