"""The cache over a real Redis: several gateways, a server that is gone, slow or wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from tests.e2e.redis_server import RedisProcess, start_redis
from tests.unit.cache.made import config, policy, space

from fairlead.cache.entry import Entry
from fairlead.cache.lookup import Cache, facts_of
from fairlead.cache.opened import OpenCache, open_cache
from fairlead.cache.purge import Purge

NOW = time.time()
HERE = space()
CONFIG = """\
providers: {one: {type: simulated}}
cache: {store: redis, lookup_timeout_s: 0.3, redis: {url: "env:URL", timeout_s: 0.3}}
models: {gpt: {targets: [{provider: one}], cache: {}}}
"""


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
def server() -> Iterator[RedisProcess]:
    with start_redis() as process:
        yield process


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Cache]:
    made = await open_cache(config(CONFIG), lambda secret: url)
    assert isinstance(made, OpenCache)
    try:
        yield made.cache
    finally:
        await made.close()


def put(cache: Cache, number: int, payload: bytes = b"answer", *, ttl_s: float = 3600.0) -> None:
    rules = policy(ttl_s=ttl_s)
    assert cache.put(key(number), HERE, payload, facts_of(HERE), now=NOW, policy=rules)


async def fetch(cache: Cache, number: int) -> Entry | None:
    future = cache.fetch(key(number), HERE, NOW)
    return await future if future is not None else None


async def eventually(check: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)


async def arrived(cache: Cache, number: int) -> None:
    """Wait until another gateway's answer is there."""
    deadline = time.monotonic() + 20
    while await fetch(cache, number) is None:
        assert time.monotonic() < deadline, "it did not arrive"
        await asyncio.sleep(0.02)


def test_gateways_share_answers_and_purges(server: RedisProcess) -> None:
    async def scenario() -> None:
        async with opened(server.url) as first, opened(server.url) as second:
            await asyncio.sleep(0.3)  # both have begun to follow purges
            put(first, 1)
            await arrived(second, 1)
            assert second.get(key(1), HERE, NOW) is not None
            assert second.stats.hits["redis", "acme", "gpt"].hits == 1

            done = await first.purge(Purge(before=NOW + 1, tenant="acme"))
            assert {name: purged.entries for name, purged in done.items()} == {"memory": 1, "redis": 1}
            await eventually(lambda: second.get(key(1), HERE, NOW) is None)
            assert await fetch(second, 1) is None
            assert not first.trouble.counts
            assert not second.trouble.counts

    asyncio.run(scenario())


def test_the_server_forgets_an_entry_by_itself(server: RedisProcess) -> None:
    async def scenario() -> None:
        async with opened(server.url) as first, opened(server.url) as second:
            put(first, 1, ttl_s=0.4)
            await arrived(second, 1)
            await eventually(lambda: b"0" in server.command("DBSIZE") or _entries(server) == 0)

    asyncio.run(scenario())


def _entries(server: RedisProcess) -> int:
    return server.command("KEYS", "*:e:*").count(b":e:")


def test_a_server_that_is_gone_costs_misses_and_one_line(
    server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            put(cache, 1)
            await eventually(lambda: _entries(server) == 1)
            server.kill()

            started = time.monotonic()
            for number in range(200):
                put(cache, number)
                assert cache.get(key(number), HERE, NOW) is not None
                assert await fetch(cache, number + 1000) is None
            assert time.monotonic() - started < 5.0
            assert cache.trouble.counts["redis", "get"] + cache.trouble.counts["redis", "slow"] >= 1
            assert cache.trouble.counts["redis", "dropped"] >= 1

            server.start()
            put(cache, 500)
            deadline = time.monotonic() + 20
            while _entries(server) == 0:
                assert time.monotonic() < deadline
                put(cache, 500)
                await asyncio.sleep(0.1)

    caplog.set_level(logging.WARNING, "fairlead.cache")
    asyncio.run(scenario())
    assert len([record for record in caplog.records if record.name.startswith("fairlead.cache")]) == 1


def test_a_server_that_hangs_is_waited_for_once(server: RedisProcess) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            put(cache, 1)
            await eventually(lambda: _entries(server) == 1)
            server.pause()
            started = time.monotonic()
            for number in range(100):
                assert await fetch(cache, number + 100) is None
            assert time.monotonic() - started < 2.0
            server.resume()
            cache.memory.drop(key(1))
            await arrived(cache, 1)

    asyncio.run(scenario())


def test_changed_bytes_are_never_given(server: RedisProcess) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            for number in range(4):
                put(cache, number, b"the answer to question %d" % number)
            await eventually(lambda: _entries(server) == 4)
            names = _names(server)
            server.command("SETRANGE", names[0], "60", "x")
            server.command("SET", names[1], "junk")
            server.command("COPY", names[2], names[3], "REPLACE")
            for number in range(4):
                cache.memory.drop(key(number))

            found = [await fetch(cache, number) for number in range(4)]
            assert [entry.payload for entry in found if entry is not None] == [b"the answer to question 2"]
            assert cache.trouble.counts["redis", "damaged"] == 3
            await eventually(lambda: _entries(server) == 1)

    asyncio.run(scenario())


def test_damaged_entries_go_with_any_purge(server: RedisProcess) -> None:
    async def scenario() -> None:
        async with opened(server.url) as cache:
            for number in range(2):
                put(cache, number)
            await eventually(lambda: _entries(server) == 2)
            server.command("SET", _names(server)[0], "junk")
            server.command("SETRANGE", _names(server)[1], "44", "\x01\x02\x03")
            await cache.purge(Purge(before=0.0))
            assert _entries(server) == 0

    asyncio.run(scenario())


def test_a_gateway_starts_without_its_server(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def scenario() -> None:
        async with opened(f"redis://user:hunter2@127.0.0.1:{port}/0") as cache:
            put(cache, 1)
            assert cache.get(key(1), HERE, NOW) is not None
            assert await fetch(cache, 2) is None

    asyncio.run(scenario())
    assert "starts without its store" in caplog.text
    assert "hunter2" not in caplog.text


def _names(server: RedisProcess) -> list[str]:
    """The keys of the entries, in the order of their digests."""
    lines = server.command("KEYS", "*:e:*").split(b"\r\n")
    return sorted(line.decode() for line in lines if b":e:" in line)
