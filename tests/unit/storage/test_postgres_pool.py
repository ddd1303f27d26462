"""Connections and pauses, without a server."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from fairlead.errors import StorageError, StorageUnusable
from fairlead.storage.postgres_pool import Backoff, Pool


class FakeConnection:
    """A connection that is closed when it is told to be."""

    def __init__(self) -> None:
        self.closed = False

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True

    async def close(self, *, timeout: float) -> None:
        self.closed = True


class Server:
    """Makes connections, unless it is down; has a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.down = False
        self.made: list[FakeConnection] = []
        self.tries = 0

    async def connect(self) -> FakeConnection:
        self.tries += 1
        if self.down:
            raise StorageError("down")
        self.made.append(FakeConnection())
        return self.made[-1]

    def pool(self, size: int = 2) -> Pool:
        return Pool(self.connect, size=size, backoff=Backoff(), clock=lambda: self.now)


def test_a_connection_is_used_again() -> None:
    async def scenario() -> None:
        server = Server()
        pool = server.pool()
        first = await pool.take()
        pool.put(first)

        assert await pool.take() is first
        assert server.tries == 1

    asyncio.run(scenario())


def test_who_comes_when_all_are_taken_waits_for_one() -> None:
    async def scenario() -> None:
        server = Server()
        pool = server.pool(size=1)
        taken = await pool.take()
        waiting = asyncio.create_task(pool.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        pool.put(taken)

        assert await waiting is taken

    asyncio.run(scenario())


@pytest.mark.parametrize("how", ["drop", "put"])
def test_a_broken_connection_is_not_used_again(how: str) -> None:
    async def scenario() -> None:
        server = Server()
        pool = server.pool(size=1)
        broken = await pool.take()
        if how == "drop":
            pool.drop(broken)
        else:
            broken.closed = True
            pool.put(broken)
        assert broken.closed

        assert await pool.take() is not broken

    asyncio.run(scenario())


def test_one_that_idled_for_long_is_closed() -> None:
    async def scenario() -> None:
        server = Server()
        pool = server.pool()
        old = await pool.take()
        pool.put(old)
        server.now += 301

        assert await pool.take() is not old
        assert old.closed

    asyncio.run(scenario())


def test_one_that_broke_while_it_idled_is_replaced() -> None:
    async def scenario() -> None:
        server = Server()
        pool = server.pool()
        old = await pool.take()
        pool.put(old)
        old.closed = True

        assert await pool.take() is server.made[1]

    asyncio.run(scenario())


def test_after_a_failure_nobody_connects_until_a_pause_is_over_and_pauses_double() -> None:
    async def scenario() -> list[float]:
        server = Server()
        server.down = True
        pool = server.pool()
        tried_at = []
        while len(tried_at) < 9:
            before = server.tries
            with pytest.raises(StorageError, match="down"):
                await pool.take()
            if server.tries > before:
                tried_at.append(server.now)
            server.now += 0.05
        server.down = False
        server.now += 5.0
        pool.put(await pool.take())
        return tried_at

    tried_at = asyncio.run(scenario())
    pauses = [later - earlier for earlier, later in itertools.pairwise(tried_at)]
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert all(-0.001 <= pause - wanted < 0.06 for pause, wanted in zip(pauses, expected, strict=True))


def test_a_failure_keeps_its_kind_and_gives_the_place_back() -> None:
    async def scenario() -> None:
        async def refuse() -> FakeConnection:
            raise StorageUnusable("refused", hint="mend it")

        pool = Pool(refuse, size=1, backoff=Backoff(), clock=lambda: 0.0)
        for _ in range(3):
            with pytest.raises(StorageUnusable, match="refused") as caught:
                await pool.take()
            assert caught.value.hint == "mend it"

    asyncio.run(scenario())


def test_closing_closes_what_is_idle() -> None:
    async def scenario() -> None:
        server = Server()
        pool = server.pool()
        pool.put(await pool.take())
        await pool.close(1.0)

        assert server.made[0].closed

    asyncio.run(scenario())
