"""The client's bookkeeping on a network of its own: slots, deadlines, cancellation at every point."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fairlead.errors import Overloaded, UpstreamDisconnected, UpstreamTimeout, UpstreamUnreachable
from fairlead.net.client import Client, Connection, Counts, Origin
from fairlead.net.client_tls import TlsContexts
from fairlead.net.resolve import Resolver
from fairlead.net.run import Run
from fairlead.testing import FakeTransport

ORIGIN = Origin(scheme="http", host="engine", port=80, max_connections=2)
GET = b"GET / HTTP/1.1\r\nhost: engine\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Network:
    """Connects when `open` is set; keeps both ends of each connection."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        self.transports: list[FakeTransport] = []
        self.peers: list[socket.socket] = []
        self._ours: list[socket.socket] = []

    async def dial(
        self, origin: Origin, protocol: asyncio.Protocol, resolver: Resolver, contexts: TlsContexts
    ) -> None:
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        ours, peer = socket.socketpair()
        self._ours.append(ours)
        self.peers.append(peer)
        self.transports.append(FakeTransport(protocol, ours))

    def close(self) -> None:
        for sock in (*self._ours, *self.peers):
            sock.close()


def scenario(main: Callable[[Network, Client], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        network = Network()
        client = Client(dial=network.dial)
        try:
            await main(network, client)
        finally:
            await client.close()
            network.close()

    asyncio.run(all_of_it())


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def in_a_while() -> float:
    return asyncio.get_running_loop().time() + 1000.0


def exchange(connection: Connection) -> None:
    connection.send(GET)
    connection.data_received(EMPTY)
    assert connection.finished
    connection.release()


def test_a_released_connection_is_found_again() -> None:
    async def main(network: Network, client: Client) -> None:
        assert client.idle(ORIGIN) is None
        first = await client.connect(ORIGIN, in_a_while())
        assert not first.reused
        assert client.idle(ORIGIN) is None
        exchange(first)
        again = client.idle(ORIGIN)
        assert again is first
        assert again.reused
        assert client.counts(ORIGIN) == Counts(active=1)

    scenario(main)


def test_origins_do_not_share() -> None:
    async def main(network: Network, client: Client) -> None:
        exchange(await client.connect(ORIGIN, in_a_while()))
        assert client.idle(Origin(scheme="http", host="other", port=80)) is None
        assert client.idle(Origin(scheme="https", host="engine", port=80)) is None

    scenario(main)


def test_a_dead_pooled_connection_is_skipped() -> None:
    async def main(network: Network, client: Client) -> None:
        first = await client.connect(ORIGIN, in_a_while())
        second = await client.connect(ORIGIN, in_a_while())
        exchange(first)
        exchange(second)
        network.transports[1].close()  # the newest, which is asked first
        assert client.idle(ORIGIN) is first
        assert client.counts(ORIGIN) == Counts(active=1)

    scenario(main)


@pytest.mark.parametrize("event", ["closed", "bytes"])
def test_a_connection_whose_end_the_loop_has_not_seen_is_skipped(event: str) -> None:
    async def main(network: Network, client: Client) -> None:
        exchange(await client.connect(ORIGIN, in_a_while()))
        client.sweep(asyncio.get_running_loop().time() + 2.0)
        kept = client.idle(ORIGIN)
        assert kept is not None
        exchange(kept)
        client.sweep(asyncio.get_running_loop().time() + 4.0)
        if event == "closed":
            network.peers[0].close()
        else:
            network.peers[0].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert client.idle(ORIGIN) is None
        assert network.transports[0].aborted
        assert client.counts(ORIGIN) == Counts()

    scenario(main)


def test_idle_connections_expire() -> None:
    async def main(network: Network, client: Client) -> None:
        exchange(await client.connect(ORIGIN, in_a_while()))
        now = asyncio.get_running_loop().time()
        client.sweep(now + 59.0)
        assert client.counts(ORIGIN) == Counts(idle=1)
        client.sweep(now + 61.0)
        assert client.counts(ORIGIN) == Counts()
        assert network.transports[0].aborted

    scenario(main)


def test_a_passed_deadline_wakes_the_waiter() -> None:
    async def main(network: Network, client: Client) -> None:
        connection = await client.connect(ORIGIN, in_a_while())
        connection.send(GET)
        task = asyncio.get_running_loop().create_task(connection.head())
        await settle()
        connection.deadline = late = in_a_while()
        client.sweep(late - 0.1)
        await settle()
        assert not task.done()
        client.sweep(late)
        with pytest.raises(UpstreamTimeout):
            await task
        assert client.counts(ORIGIN) == Counts()

    scenario(main)


def test_a_waiter_woken_by_the_sweep_may_change_the_pool() -> None:
    async def main(network: Network, client: Client) -> None:
        first = await client.connect(ORIGIN, in_a_while())
        second = await client.connect(ORIGIN, in_a_while())
        late = in_a_while()
        ended: list[BaseException | None] = []

        async def wait(mine: Connection, other: Connection) -> None:
            mine.send(GET)
            try:
                await mine.head()
            finally:
                other.deadline = late + 1.0  # moved just before its turn

        first.deadline = second.deadline = late
        loop = asyncio.get_running_loop()
        for pair in ((first, second), (second, first)):
            loop.call_soon(Run(wait(*pair), lambda _, error: ended.append(error)).start)
        await settle()
        loop.call_soon(client.sweep, late)
        await settle()
        assert [type(error) for error in ended] == [UpstreamTimeout]
        assert client.counts(ORIGIN) == Counts(active=1)

    scenario(main)


def test_beyond_the_limit_is_overloaded() -> None:
    async def main(network: Network, client: Client) -> None:
        first = await client.connect(ORIGIN, in_a_while())
        await client.connect(ORIGIN, in_a_while())
        with pytest.raises(Overloaded):
            await client.connect(ORIGIN, in_a_while())
        first.abort()
        await client.connect(ORIGIN, in_a_while())
        assert client.counts(ORIGIN) == Counts(active=2)

    scenario(main)


def test_an_idle_connection_makes_room_for_a_new_one() -> None:
    async def main(network: Network, client: Client) -> None:
        exchange(await client.connect(ORIGIN, in_a_while()))
        await client.connect(ORIGIN, in_a_while())
        await client.connect(ORIGIN, in_a_while())
        assert client.counts(ORIGIN) == Counts(active=2)
        assert network.transports[0].aborted

    scenario(main)


def test_a_failed_attempt_gives_its_slot_back() -> None:
    async def main(network: Network, client: Client) -> None:
        network.failure = UpstreamUnreachable("engine:80: connection refused")
        for _ in range(5):
            with pytest.raises(UpstreamUnreachable):
                await client.connect(ORIGIN, in_a_while())
        assert client.counts(ORIGIN) == Counts()

    scenario(main)


def test_an_attempt_ends_at_the_deadline() -> None:
    async def main(network: Network, client: Client) -> None:
        network.open.clear()
        with pytest.raises(UpstreamTimeout, match="engine:80"):
            await client.connect(ORIGIN, asyncio.get_running_loop().time())
        assert client.counts(ORIGIN) == Counts()

    scenario(main)


@pytest.mark.parametrize("rounds", range(8))
@pytest.mark.parametrize("opens", [True, False])
def test_cancelling_an_attempt_at_any_point_leaks_nothing(rounds: int, opens: bool) -> None:
    async def main(network: Network, client: Client) -> None:
        network.open.clear()
        task = asyncio.get_running_loop().create_task(client.connect(ORIGIN, in_a_while()))
        if opens:
            asyncio.get_running_loop().call_soon(network.open.set)
        for _ in range(rounds):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            (await task).abort()
        await settle()
        assert client.counts(ORIGIN) == Counts()
        assert all(transport.aborted for transport in network.transports)

    scenario(main)


@pytest.mark.parametrize("rounds", range(8))
def test_cancelling_a_run_that_connects_leaks_nothing(rounds: int) -> None:
    async def main(network: Network, client: Client) -> None:
        network.open.clear()
        errors: list[BaseException | None] = []

        async def borrow() -> None:
            connection = await client.connect(ORIGIN, in_a_while())
            try:
                connection.send(GET)
                await connection.head()
            finally:
                connection.abort()

        run = Run(borrow(), lambda _, error: errors.append(error))
        loop = asyncio.get_running_loop()
        loop.call_soon(run.start)
        loop.call_soon(network.open.set)
        for _ in range(rounds + 1):
            await asyncio.sleep(0)
        loop.call_soon(run.cancel)
        await settle()
        assert [type(error) for error in errors] == [asyncio.CancelledError]
        assert client.counts(ORIGIN) == Counts()
        assert all(transport.aborted for transport in network.transports)

    scenario(main)


def test_a_connection_lost_while_it_was_handed_over_is_unsent() -> None:
    async def main(network: Network, client: Client) -> None:
        connection = await client.connect(ORIGIN, in_a_while())
        network.transports[0].lose()
        connection.send(GET)
        with pytest.raises(UpstreamDisconnected) as caught:
            await connection.head()
        assert caught.value.unsent
        connection.release()
        assert client.counts(ORIGIN) == Counts()

    scenario(main)


def test_close_ends_everything() -> None:
    async def main(network: Network, client: Client) -> None:
        exchange(await client.connect(ORIGIN, in_a_while()))
        active = await client.connect(ORIGIN, in_a_while())
        active.send(GET)
        network.open.clear()
        other = Origin(scheme="http", host="other", port=80)
        opening = asyncio.get_running_loop().create_task(client.connect(other, in_a_while()))
        await settle()
        await client.close()
        assert all(transport.aborted for transport in network.transports)
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert client.counts(ORIGIN) == client.counts(other) == Counts()

    scenario(main)


def test_the_ticker_stops_when_nothing_is_open() -> None:
    async def main(network: Network, client: Client) -> None:
        connection = await client.connect(ORIGIN, in_a_while())
        assert client._ticker is not None
        connection.abort()
        client._ticker.cancel()
        client._tick()
        assert client._ticker is None

    scenario(main)
