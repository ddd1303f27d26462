"""The cache over a real file: restarts, a lock that another process holds, a full disk, damage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.unit.cache.made import config, policy, space

from fairlead.cache.entry import Entry
from fairlead.cache.lookup import Cache, facts_of
from fairlead.cache.opened import OpenCache, open_cache
from fairlead.cache.purge import Purge
from fairlead.cache.saved import SavedTier
from fairlead.storage.sqlite import SqliteDatabase

NOW = time.time()
HERE = space()


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


@contextlib.asynccontextmanager
async def opened(directory: Path, options: str = "{}") -> AsyncIterator[Cache]:
    text = f"""\
state: {{dir: {directory}}}
providers: {{one: {{type: simulated}}}}
cache: {options}
models: {{gpt: {{targets: [{{provider: one}}], cache: {{}}}}}}
"""
    made = await open_cache(config(text), lambda secret: secret.reference)
    assert isinstance(made, OpenCache)
    try:
        yield made.cache
    finally:
        await made.close()


def put(cache: Cache, number: int, payload: bytes = b"answer") -> None:
    assert cache.put(key(number), HERE, payload, facts_of(HERE), now=NOW, policy=policy())


async def fetch(cache: Cache, number: int) -> Entry | None:
    future = cache.fetch(key(number), HERE, NOW)
    assert future is not None
    return await future


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)


def behind(cache: Cache) -> SavedTier:
    assert isinstance(cache._behind, SavedTier)
    return cache._behind


def test_answers_survive_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            put(cache, 1)
        async with opened(tmp_path) as cache:
            assert cache.get(key(1), HERE, NOW) is None
            found = await fetch(cache, 1)
            assert found is not None
            assert found.payload == b"answer"
            assert await fetch(cache, 2) is None
            assert not cache.trouble.counts
        assert (tmp_path / "cache.db").stat().st_mode & 0o777 == 0o600

    asyncio.run(scenario())


def test_a_locked_file_costs_nobody_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            put(cache, 1)
            await behind(cache).flush()
            other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            put(cache, 2)
            await until(lambda: cache.trouble.counts["disk", "put"] >= 2)

            cache.memory.drop(key(1))
            cache.memory.drop(key(2))
            assert await fetch(cache, 1) is not None  # reading needs no lock
            assert await fetch(cache, 2) is not None  # it waits to be written

            other.execute("ROLLBACK")
            other.close()
            await until(lambda: behind(cache).pending_bytes == 0)
        async with opened(tmp_path) as cache:
            assert await fetch(cache, 2) is not None

    caplog.set_level(logging.WARNING, "fairlead.cache")
    asyncio.run(scenario())

    assert len(caplog.records) == 1
    assert "stays locked" in caplog.records[0].__dict__["error"]


def test_a_disk_that_does_not_answer_is_waited_for_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            put(cache, 1)
            await behind(cache).flush()
            cache.memory.drop(key(1))
            database = behind(cache)._database
            assert isinstance(database, SqliteDatabase)
            release = threading.Event()
            loop = asyncio.get_running_loop()
            stuck = [loop.run_in_executor(database._read_pool, release.wait) for _ in range(4)]
            try:
                started = time.monotonic()
                for _ in range(100):
                    future = cache.fetch(key(1), HERE, NOW)
                    assert future is None or await future is None
                assert time.monotonic() - started < 1.0
                assert cache.trouble.counts["disk", "slow"] == 1
            finally:
                release.set()
                await asyncio.gather(*stuck)
            await asyncio.sleep(1.1)
            assert await fetch(cache, 1) is not None

    asyncio.run(scenario())


def test_a_full_disk_is_counted_and_requests_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            database = behind(cache)._database
            ((pages,),) = await database.fetch("PRAGMA page_count")
            await database.execute(f"PRAGMA max_page_count = {int(pages or 0) + 20}")
            for number in range(60):
                put(cache, number, b"x" * 10_000)
            await until(lambda: cache.trouble.counts["disk", "put"] >= 1)

            assert cache.get(key(59), HERE, NOW) is not None
            cache.memory.drop(key(59))
            waiting = await fetch(cache, 59)
            assert waiting is not None
            assert waiting.payload == b"x" * 10_000

            await database.execute("PRAGMA max_page_count = 1000000")
            await until(lambda: behind(cache).pending_bytes == 0)
            for number in range(60):
                cache.memory.drop(key(number))
                assert await fetch(cache, number) is not None

    caplog.set_level(logging.WARNING, "fairlead.cache")
    asyncio.run(scenario())

    assert len(caplog.records) == 1
    assert "the disk is full" in caplog.records[0].__dict__["error"]


def test_bytes_changed_on_the_disk_are_never_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            for number in range(20):
                put(cache, number, b"the answer to question %d" % number)
        file = sqlite3.connect(tmp_path / "cache.db")
        file.execute("UPDATE cache_entries SET blob = CAST(replace(blob, 'the', 'not') AS BLOB)")
        # Rows that have come to stand under each other's keys.
        file.execute(
            "UPDATE cache_entries SET blob = (SELECT blob FROM cache_entries WHERE id = ?)", (key(3),)
        )
        file.commit()
        file.close()
        async with opened(tmp_path) as cache:
            assert [await fetch(cache, number) for number in range(20)] == [None] * 20
            assert cache.trouble.counts["disk", "damaged"] == 20
            await behind(cache).flush()
            assert await behind(cache).sizes() == []

    asyncio.run(scenario())


def test_rows_that_stand_under_each_others_keys_are_never_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            for number in range(5):
                put(cache, number)
        file = sqlite3.connect(tmp_path / "cache.db")
        third = "SELECT blob FROM cache_entries WHERE id = ?"
        file.execute(f"UPDATE cache_entries SET blob = ({third})", (key(3),))
        file.commit()
        file.close()
        async with opened(tmp_path) as cache:
            found = [await fetch(cache, number) is not None for number in range(5)]
            assert found == [False, False, False, True, False]
            assert cache.trouble.counts["disk", "damaged"] == 4

    asyncio.run(scenario())


def test_a_column_that_python_cannot_read_is_a_miss(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            put(cache, 1)
        file = sqlite3.connect(tmp_path / "cache.db")
        file.execute("UPDATE cache_entries SET blob = CAST(x'c3ff' AS TEXT)")
        file.commit()
        file.close()
        async with opened(tmp_path) as cache:
            assert await fetch(cache, 1) is None
            assert cache.trouble.counts["disk", "get"] == 1

    asyncio.run(scenario())


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "cache.db").write_bytes(b"no database " * 1000)
        async with opened(tmp_path) as cache:
            put(cache, 1)
            await behind(cache).flush()
            cache.memory.drop(key(1))
            assert await fetch(cache, 1) is not None
        assert (tmp_path / "cache.db.damaged").read_bytes().startswith(b"no database")

    asyncio.run(scenario())


def test_a_file_whose_pages_are_damaged_gives_nothing_wrong(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as cache:
            for number in range(50):
                put(cache, number, b"answer %d" % number * 100)
        content = bytearray((tmp_path / "cache.db").read_bytes())
        for place in range(4096 * 3, len(content), 512):
            content[place : place + 64] = b"\xa5" * 64
        (tmp_path / "cache.db").write_bytes(content)

        async with opened(tmp_path) as cache:
            for number in range(50):
                future = cache.fetch(key(number), HERE, NOW)
                found = await future if future is not None else None
                assert found is None or found.payload == b"answer %d" % number * 100
            assert cache.trouble.counts

    asyncio.run(scenario())


def test_a_directory_that_cannot_be_written_leaves_the_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        # A file in the directory's place: root may write anywhere else.
        (tmp_path / "state").write_text("")
        async with opened(tmp_path / "state") as cache:
            put(cache, 1)
            assert cache.get(key(1), HERE, NOW) is not None
            assert cache.fetch(key(2), HERE, NOW) is None
            assert cache.trouble.counts["disk", "open"] == 1

    asyncio.run(scenario())
    assert "memory only" in caplog.text


def test_a_purge_reaches_the_memory_of_another_process(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path) as first, opened(tmp_path) as second:
            put(first, 1)
            await behind(first).flush()
            assert await fetch(second, 1) is not None
            assert second.get(key(1), HERE, NOW) is not None

            done = await first.purge(Purge(before=NOW + 1, tenant="acme"))
            assert {name: purged.entries for name, purged in done.items()} == {"memory": 1, "disk": 1}
            await until(lambda: second.get(key(1), HERE, NOW) is None)
            assert await fetch(second, 1) is None

    asyncio.run(scenario())


def test_no_cache_is_opened_unless_some_model_wants_one(tmp_path: Path) -> None:
    text = f"state: {{dir: {tmp_path}}}\nproviders: {{one: {{type: simulated}}}}\n"
    text += "models: {gpt: {targets: [{provider: one}]}}"

    assert asyncio.run(open_cache(config(text), str)) is None
    assert list(tmp_path.iterdir()) == []


def test_the_memory_alone_when_nothing_is_to_be_behind_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path, "{store: none}") as cache:
            put(cache, 1)
            assert cache.get(key(1), HERE, NOW) is not None
            assert cache.fetch(key(1), HERE, NOW) is None
            assert cache.memory.max_bytes == 268_435_456

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []
