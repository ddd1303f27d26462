"""How a worker's snapshot follows the store, and what it does when the store fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence

import pytest

from fairlead.errors import StorageError, Unauthenticated
from fairlead.gateway import db
from fairlead.gateway.key_watch import KeyWatch
from fairlead.gateway.keys import Scope
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database, Row, Value

NOW = 1000.0


class Flaky:
    """A database that fails its queries while `error` is set, and counts them."""

    def __init__(self, inner: Database) -> None:
        self.inner = inner
        self.error: Exception | None = None
        self.queries = 0

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        self.queries += 1
        if self.error is not None:
            raise self.error
        return await self.inner.fetch(sql, params)

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        return await self.inner.execute(sql, params)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        await self.inner.execute_many(sql, rows)

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        return await self.inner.transaction(statements)

    async def close(self) -> None:
        await self.inner.close()


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def store(runner: asyncio.Runner) -> Iterator[Flaky]:
    store = Flaky(runner.run(open_database(":memory:")))
    yield store
    runner.run(store.close())


def _knows(watch: KeyWatch, secret: str) -> bool:
    try:
        watch.snapshot.authenticate({b"x-api-key": secret.encode()}, NOW)
    except Unauthenticated:
        return False
    return True


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # a watch has no event to wait for
            await asyncio.sleep(0)


def test_changes_are_in_force_after_the_next_poll(store: Flaky, runner: asyncio.Runner) -> None:
    async def scenario() -> list[bool]:
        watch = KeyWatch(store)
        await watch.poll()
        issued = await db.create(store, Scope(name="a"), now=NOW - 1)
        seen = [_knows(watch, issued.secret)]
        await watch.poll()
        seen.append(_knows(watch, issued.secret))
        await db.revoke(store, issued.key.id, now=NOW - 1)
        await watch.poll()
        return [*seen, _knows(watch, issued.secret)]

    assert runner.run(scenario()) == [False, True, False]


def test_a_poll_without_a_change_is_one_query_and_keeps_the_snapshot(
    store: Flaky, runner: asyncio.Runner
) -> None:
    async def scenario() -> None:
        watch = KeyWatch(store)
        await db.create(store, Scope(name="a"), now=NOW)
        await watch.poll()
        before, store.queries = watch.snapshot, 0
        assert await watch.poll()
        assert watch.snapshot is before
        assert store.queries == 1

    runner.run(scenario())


def test_only_what_changed_is_read_again(store: Flaky, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        watch = KeyWatch(store)
        first = await db.create(store, Scope(name="a"), now=NOW - 1)
        await watch.poll()
        headers = {b"x-api-key": first.secret.encode()}
        before = watch.snapshot.authenticate(headers, NOW)
        await db.create(store, Scope(name="b"), now=NOW)
        await watch.poll()
        assert len(watch.snapshot) == 2
        assert watch.snapshot.authenticate(headers, NOW) is before

    runner.run(scenario())


def test_a_failing_store_keeps_the_keys_in_force(
    store: Flaky, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        clock = Clock()
        watch = KeyWatch(store, clock=clock)
        issued = await db.create(store, Scope(name="a"), now=NOW - 1)
        await watch.poll()
        store.error = StorageError("state store x is damaged")
        for seconds in range(0, 130, 10):
            clock.now = float(seconds)
            assert not await watch.poll()
            assert _knows(watch, issued.secret)
        assert watch.failures == 13
        store.error = None
        assert await watch.poll()
        await watch.poll()

    with caplog.at_level(logging.INFO):
        runner.run(scenario())

    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "ERROR", "INFO"]
    assert "state store x is damaged; the keys known until now stay in force" in caplog.text


def test_nobody_is_let_in_before_the_first_snapshot(
    store: Flaky, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        issued = await db.create(store, Scope(name="a"), now=NOW - 1)
        store.error = TimeoutError()
        watch = KeyWatch(store)
        assert not await watch.poll()
        assert not watch.ready
        with pytest.raises(StorageError):
            _knows(watch, issued.secret)
        store.error = None
        assert await watch.poll()
        assert watch.ready
        assert _knows(watch, issued.secret)

    runner.run(scenario())

    assert "nobody is let in" in caplog.text


def test_a_store_put_back_to_an_older_state_is_read_afresh(store: Flaky, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        watch = KeyWatch(store)
        gone = await db.create(store, Scope(name="a"), now=NOW - 1)
        await db.create(store, Scope(name="b"), now=NOW - 1)
        await watch.poll()
        await store.execute("DELETE FROM api_keys WHERE id = ?", (gone.key.id,))
        await store.execute("UPDATE api_key_revision SET revision = 1")
        await watch.poll()
        assert not _knows(watch, gone.secret)
        assert len(watch.snapshot) == 1

    runner.run(scenario())


def test_started_it_polls_by_itself_until_stopped(store: Flaky, runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        watch = KeyWatch(store, interval_s=0.001)
        await watch.start()
        issued = await db.create(store, Scope(name="a"), now=NOW - 1)
        await _until(lambda: _knows(watch, issued.secret))
        await watch.stop()
        queries = store.queries
        await asyncio.sleep(0.01)
        assert store.queries == queries
        await watch.stop()

    runner.run(scenario())


def test_a_bug_does_not_end_the_watch(
    store: Flaky, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        watch = KeyWatch(store, interval_s=0.001)
        await watch.start()
        store.error = ZeroDivisionError("a bug")
        await _until(lambda: watch.failures >= 2)
        store.error = None
        issued = await db.create(store, Scope(name="a"), now=NOW - 1)
        await _until(lambda: _knows(watch, issued.secret))
        await watch.stop()

    runner.run(scenario())

    assert "ZeroDivisionError" in caplog.text
