"""TLS towards upstreams: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme
import uvloop

from fairlead.config import UpstreamTls
from fairlead.errors import (
    FairleadError,
    UpstreamCut,
    UpstreamTimeout,
    UpstreamTlsFailed,
    UpstreamUnreachable,
)
from fairlead.net.client import Client, Counts, Origin
from fairlead.net.http1 import request_head
from fairlead.testing import (
    Action,
    Close,
    ReadRequest,
    Repeat,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    answer,
)

Scenario = Callable[[Client], Awaitable[None]]
RunScenario = Callable[[Scenario], None]

GET = request_head("GET", "/", "engine", []) + b"\r\n"
SERVE = Repeat((ReadRequest(), Send(answer(b"{}"))))
_PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """A certificate authority, and the file that says to trust it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.file = str(folder / f"{name}.pem")
        self.ca.cert_pem.write_to_path(self.file)

    def server(self, *names: str, expired: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cert = self.ca.issue_cert(*names, not_after=_PAST if expired else None)
        cert.configure_cert(context)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def client_files(self) -> tuple[str, str]:
        cert = self.ca.issue_cert("gateway@fairlead.test")
        chain, key = self.folder / "client.pem", self.folder / "client.key"
        chain.write_bytes(b"".join(pem.bytes() for pem in cert.cert_chain_pems))
        cert.private_key_pem.write_to_path(str(key))
        return str(chain), str(key)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ca")


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


def to(upstream: ScriptedUpstream, tls: UpstreamTls, *, proxy: str | None = None) -> Origin:
    return Origin(scheme="https", host="127.0.0.1", port=upstream.port, tls=tls, proxy=proxy)


def soon(seconds: float = 10.0) -> float:
    return asyncio.get_running_loop().time() + seconds


async def exchange(client: Client, origin: Origin) -> bytes:
    connection = client.idle(origin) or await client.connect(origin, soon())
    connection.send(GET)
    try:
        await connection.head()
        return await connection.read_all(10_000_000)
    finally:
        connection.release()


async def refusal(client: Client, origin: Origin) -> FairleadError:
    """Ask, expecting to fail; return the error."""
    try:
        await exchange(client, origin)
    except FairleadError as error:
        assert client.counts(origin) == Counts()
        return error
    raise AssertionError("the certificate was accepted")


def test_a_certificate_of_a_trusted_authority(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE], ssl=authority.server("127.0.0.1")) as upstream:
            origin = to(upstream, UpstreamTls(ca=authority.file))
            for _ in range(3):
                assert await exchange(client, origin) == b"{}"
            assert client.counts(origin) == Counts(idle=1)
            connection = client.idle(origin)
            assert connection is not None
            session = connection._transport.get_extra_info("ssl_object")
            assert session.selected_alpn_protocol() == "http/1.1"
            assert session.version() == "TLSv1.3"

    run(scenario)


def test_a_large_answer_over_tls(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        body = bytes(range(256)) * 8192
        script = [ReadRequest(), Send(answer(body))]
        async with ScriptedUpstream(script, ssl=authority.server("127.0.0.1")) as upstream:
            assert await exchange(client, to(upstream, UpstreamTls(ca=authority.file))) == body

    run(scenario)


def test_an_unknown_authority(run: RunScenario, authority: Authority, tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        other = Authority(tmp_path, "other")
        async with ScriptedUpstream([SERVE], ssl=other.server("127.0.0.1")) as upstream:
            for tls in (UpstreamTls(ca=authority.file), UpstreamTls()):
                error = await refusal(client, to(upstream, tls))
                assert type(error) is UpstreamTlsFailed
                assert error.message.startswith(
                    f"127.0.0.1:{upstream.port}: the certificate is not accepted: "
                )
                assert "issuer certificate" in error.message

    run(scenario)


def test_a_wrong_name(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE], ssl=authority.server("engine.test")) as upstream:
            error = await refusal(client, to(upstream, UpstreamTls(ca=authority.file)))
            assert type(error) is UpstreamTlsFailed
            assert "IP address mismatch" in error.message

    run(scenario)


def test_a_server_name_in_the_configuration(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE], ssl=authority.server("engine.test")) as upstream:
            right = UpstreamTls(ca=authority.file, server_name="engine.test")
            assert await exchange(client, to(upstream, right)) == b"{}"
            wrong = UpstreamTls(ca=authority.file, server_name="other.test")
            assert "Hostname mismatch" in (await refusal(client, to(upstream, wrong))).message

    run(scenario)


def test_an_expired_certificate(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE], ssl=authority.server("127.0.0.1", expired=True)) as upstream:
            error = await refusal(client, to(upstream, UpstreamTls(ca=authority.file)))
            assert type(error) is UpstreamTlsFailed
            assert "certificate has expired" in error.message

    run(scenario)


def test_verification_is_skipped_only_when_configured(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([SERVE], ssl=authority.server("elsewhere.test")) as upstream:
            assert await exchange(client, to(upstream, UpstreamTls(verify=False))) == b"{}"
            # The lax configuration's connection is not lent to the strict one.
            assert type(await refusal(client, to(upstream, UpstreamTls()))) is UpstreamTlsFailed

    run(scenario)


def test_a_client_certificate(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        context = authority.server("127.0.0.1")
        context.verify_mode = ssl.CERT_REQUIRED
        authority.ca.configure_trust(context)
        cert, key = authority.client_files()
        async with ScriptedUpstream([SERVE], ssl=context) as upstream:
            known = UpstreamTls(ca=authority.file, cert=cert, key=key)
            assert await exchange(client, to(upstream, known)) == b"{}"

    run(scenario)


def test_a_missing_client_certificate(run: RunScenario, authority: Authority) -> None:
    """With TLS 1.3 the client learns of it after its own handshake has succeeded."""

    async def scenario(client: Client) -> None:
        context = authority.server("127.0.0.1")
        context.verify_mode = ssl.CERT_REQUIRED
        authority.ca.configure_trust(context)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            # Blocking and in a thread: asyncio's server closes without sending the alert.
            thread = asyncio.get_running_loop().run_in_executor(None, _refuse_one, listener, context)
            tls = UpstreamTls(ca=authority.file)
            port = listener.getsockname()[1]
            error = await refusal(client, Origin(scheme="https", host="127.0.0.1", port=port, tls=tls))
            await thread
        assert type(error) is UpstreamTlsFailed
        assert "certificate required" in error.message

    run(scenario)


def _refuse_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    accepted, _ = listener.accept()
    accepted.settimeout(5)
    secured = context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
    with secured, pytest.raises(ssl.SSLError):
        secured.do_handshake()


def test_tls_1_1_is_refused(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        context = authority.server("127.0.0.1")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
        async with ScriptedUpstream([SERVE], ssl=context) as upstream:
            error = await refusal(client, to(upstream, UpstreamTls(ca=authority.file)))
            assert type(error) is UpstreamTlsFailed

    run(scenario)


def test_an_upstream_that_does_not_speak_tls(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([Send(b"HTTP/1.1 400 Bad\r\n\r\n" * 20), Stall()]) as upstream:
            error = await refusal(client, to(upstream, UpstreamTls(ca=authority.file)))
            assert type(error) is UpstreamTlsFailed
            assert "wrong version number" in error.message

    run(scenario)


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["close", "reset"])
def test_an_upstream_that_hangs_up_in_the_handshake(
    run: RunScenario, authority: Authority, end: Action
) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([end]) as upstream:
            error = await refusal(client, to(upstream, UpstreamTls(ca=authority.file)))
            assert type(error) is UpstreamTlsFailed
            assert "ended during the TLS handshake" in error.message

    run(scenario)


def test_a_handshake_that_stalls_is_bounded_and_leaves_no_socket(
    run: RunScenario, authority: Authority
) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([Stall()]) as upstream:
            origin = to(upstream, UpstreamTls(ca=authority.file))
            with pytest.raises(UpstreamTimeout):
                await client.connect(origin, soon(0.3))
            assert client.counts(origin) == Counts()
            await upstream.connections[0].gone()

    run(scenario)


def test_cancelling_a_handshake_leaves_no_socket(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([Stall()]) as upstream:
            origin = to(upstream, UpstreamTls(ca=authority.file))
            task = asyncio.get_running_loop().create_task(client.connect(origin, soon()))
            await asyncio.sleep(0.2)
            assert upstream.connections[0].bytes_in  # our hello
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.counts(origin) == Counts()
            await upstream.connections[0].gone()

    run(scenario)


def test_files_that_are_not_there(run: RunScenario, tmp_path: Path) -> None:
    async def scenario(client: Client) -> None:
        missing = str(tmp_path / "missing.pem")
        for tls in (UpstreamTls(ca=missing), UpstreamTls(cert=missing), UpstreamTls(ca=__file__)):
            origin = Origin(scheme="https", host="127.0.0.1", port=1, tls=tls)
            error = await refusal(client, origin)
            assert type(error) is UpstreamTlsFailed
            assert (tls.ca or tls.cert or "") in error.message

    run(scenario)


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["alert", "reset"])
def test_only_a_closing_alert_ends_a_body_that_the_end_delimits(
    run: RunScenario, authority: Authority, end: Action
) -> None:
    async def scenario(client: Client) -> None:
        script = [ReadRequest(), Send(b"HTTP/1.1 200 OK\r\n\r\nhello"), Send(b"", pause_s=0.05), end]
        async with ScriptedUpstream(script, ssl=authority.server("127.0.0.1")) as upstream:
            origin = to(upstream, UpstreamTls(ca=authority.file))
            if isinstance(end, Close):
                assert await exchange(client, origin) == b"hello"
            else:
                assert type(await refusal(client, origin)) is UpstreamCut

    run(scenario)


def test_a_tls_stream_cut_off_on_the_way_is_cut(authority: Authority) -> None:
    """FIN without the closing alert: what an attacker on the path can do.

    On uvloop only: asyncio's own loop reports a proper end.
    """

    async def scenario() -> None:
        client = Client()
        script = [ReadRequest(), Send(b"HTTP/1.1 200 OK\r\n\r\nhello"), Stall()]
        server = ScriptedUpstream(script, ssl=authority.server("127.0.0.1"))
        async with server as upstream, Relay(upstream.port) as relay:
            origin = Origin(
                scheme="https", host="127.0.0.1", port=relay.port, tls=UpstreamTls(ca=authority.file)
            )
            connection = await client.connect(origin, soon())
            connection.send(GET)
            assert await connection.read() == b"hello"
            relay.cut()
            with pytest.raises(UpstreamCut):
                await connection.read()
            connection.abort()
        await client.close()

    uvloop.run(scenario())


def test_https_through_a_proxy(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        server = ScriptedUpstream([SERVE], ssl=authority.server("127.0.0.1"))
        async with server as upstream, Relay(upstream.port, connect=True) as proxy:
            origin = to(
                upstream, UpstreamTls(ca=authority.file), proxy=f"http://user:pass@127.0.0.1:{proxy.port}"
            )
            for _ in range(2):
                assert await exchange(client, origin) == b"{}"
            assert proxy.heads == [
                b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
                b"proxy-authorization: Basic dXNlcjpwYXNz\r\n\r\n" % (upstream.port, upstream.port)
            ]

    run(scenario)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([ReadRequest(), Send(b"HTTP/1.1 407 No\r\n\r\n"), Stall()], "credentials"),
        ([ReadRequest(), Send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), Stall()], "status 502"),
        ([ReadRequest(), Close()], "hung up"),
        ([ReadRequest(), Reset()], "connection reset by peer"),
    ],
)
def test_a_proxy_that_refuses(run: RunScenario, script: list[Action], words: str) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream(script) as proxy:
            origin = Origin(
                scheme="https", host="api.test", port=443, proxy=f"http://u:secret@127.0.0.1:{proxy.port}"
            )
            error = await refusal(client, origin)
            assert type(error) is UpstreamUnreachable
            assert words in error.message
            assert "secret" not in error.message

    run(scenario)


def test_a_proxy_that_stalls_is_bounded(run: RunScenario, authority: Authority) -> None:
    async def scenario(client: Client) -> None:
        async with ScriptedUpstream([ReadRequest(), Stall()]) as proxy:
            tls = UpstreamTls(ca=authority.file)
            origin = Origin(
                scheme="https", host="api.test", port=443, tls=tls, proxy=f"http://127.0.0.1:{proxy.port}"
            )
            with pytest.raises(UpstreamTimeout):
                await client.connect(origin, soon(0.3))
            await proxy.connections[0].gone()

    run(scenario)


class Relay:
    """Passes bytes to a port, after answering a CONNECT if it is to be a proxy; `cut` ends with FIN."""

    def __init__(self, port: int, *, connect: bool = False) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self._to = port
        self._connect = connect
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    def cut(self) -> None:
        sock = self._writers[0].get_extra_info("socket")
        with socket.fromfd(sock.fileno(), socket.AF_INET, socket.SOCK_STREAM) as ours:
            ours.shutdown(socket.SHUT_WR)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._connect:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.append(ours)
        for source, sink in ((reader, ours), (theirs, writer)):
            self._tasks.append(asyncio.get_running_loop().create_task(_copy(source, sink)))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
