"""What the upstream client itself costs: one small exchange, one event of a stream.

    python bench/net/exchange.py

The transport is a fake and the answer comes in one packet, so this is the
client's own work: taking a connection from the pool, prebuilt head and body
into one write, parsing, handing over head and body, giving the connection
back. A `Run` drives it, as in the gateway. Prints the best of several rounds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from fairlead.net.client import Client, Origin
from fairlead.net.client_tls import TlsContexts
from fairlead.net.http1 import LAST_CHUNK, chunk, request, request_head
from fairlead.net.resolve import Resolver
from fairlead.net.run import Run
from fairlead.net.upstream import Connection
from fairlead.testing import FakeTransport

ORIGIN = Origin(scheme="http", host="engine", port=80)
BODY = b'{"id":"chatcmpl-1","choices":[{"message":{"content":"' + b"x" * 900 + b'"}}]}'
ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nserver: nginx\r\n"
    b"content-type: application/json\r\nx-request-id: abcdef\r\nconnection: keep-alive\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = chunk(b'data: {"choices":[{"delta":{"content":"' + b"y" * 150 + b'"}}]}\n\n')
EVENTS = 50
HEAD = request_head(
    "POST",
    "/v1/chat/completions",
    ORIGIN.authority,
    [(b"authorization", b"Bearer key"), (b"content-type", b"application/json")],
)


class _Sink(FakeTransport):
    """Forgets what is written."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass


async def _whole(client: Client) -> None:
    connection = client.idle(ORIGIN)
    assert connection is not None
    connection.deadline = 1e12
    connection.send(request(HEAD, BODY))
    await connection.head()
    await connection.read_all(1_000_000)
    connection.release()


async def _stream(client: Client) -> None:
    connection = client.idle(ORIGIN)
    assert connection is not None
    connection.send(request(HEAD, BODY))
    await connection.head()
    while await connection.read():
        pass
    connection.release()


def _ended(_: Run, error: BaseException | None) -> None:
    if error is not None:
        raise error


def _best_us(work: Callable[[], None], times: int) -> float:
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, time.perf_counter() - started)
    return best / times * 1e6


def _measure(client: Client, connection: Connection) -> None:
    def whole() -> None:
        Run(_whole(client), _ended).start()
        connection.data_received(ANSWER)

    def stream() -> None:
        Run(_stream(client), _ended).start()
        connection.data_received(STREAM_HEAD)
        for _ in range(EVENTS):
            connection.data_received(EVENT)
        connection.data_received(LAST_CHUNK)

    print(f"{_best_us(whole, 10_000):6.2f} us for one exchange of {len(BODY)} bytes")
    print(f"{_best_us(stream, 300) / EVENTS:6.2f} us for one event of a stream")
    assert client.counts(ORIGIN).idle == 1


async def _dial(
    origin: Origin, protocol: asyncio.Protocol, resolver: Resolver, contexts: TlsContexts
) -> None:
    _Sink(protocol)


async def main() -> None:
    """Measure in a plain callback of the loop, as data arrives."""
    client = Client(dial=_dial)
    loop = asyncio.get_running_loop()
    connection = await client.connect(ORIGIN, loop.time() + 1e6)
    connection.send(HEAD)
    connection.data_received(ANSWER)
    connection.release()
    measured: asyncio.Future[None] = loop.create_future()

    def measure() -> None:
        try:
            _measure(client, connection)
        finally:
            measured.set_result(None)

    loop.call_soon(measure)
    await measured
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
