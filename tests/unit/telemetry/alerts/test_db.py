"""What alerts keep: the lease, outbox, silences, and what another version wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.telemetry.alerts.notes import NOW, note

from fairlead.errors import NotFound
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database
from fairlead.telemetry.alerts.db import AlertStore, Report
from fairlead.telemetry.alerts.facts import Cell, Folded
from fairlead.telemetry.alerts.silence import Silence
from fairlead.telemetry.alerts.source import Point


def run(check: Callable[[Database, AlertStore], Awaitable[None]]) -> None:
    async def main() -> None:
        database = await open_database(":memory:")
        try:
            await check(database, AlertStore(database))
        finally:
            await database.close()

    asyncio.run(main())


def test_one_of_two_takes_a_lease_that_stands_still() -> None:
    async def check(_: Database, store: AlertStore) -> None:
        assert await store.take("a", "", 0)
        assert not await store.take("b", "", 0)
        holder, beat = await store.lease()
        assert await store.renew("a")
        assert not await store.renew("b")
        assert not await store.take("b", holder, beat)  # it has moved
        holder, beat = await store.lease()
        assert await store.take("b", holder, beat)
        assert not await store.renew("a")
        await store.leave("a")
        assert (await store.lease())[0] == "b"

    run(check)


def test_a_newer_notification_inherits_the_wait_of_the_one_it_replaces() -> None:
    async def check(_: Database, store: AlertStore) -> None:
        await store.write(store.queue_statements("hook", note(id="one")))
        (first,) = await store.due()
        await store.failed(first, error="busy", waited_s=77.0, dead=False)
        (first,) = await store.due()
        await store.write(store.queue_statements("hook", note(id="two"), first))
        (second,) = await store.due()
        assert (second.notification.id, second.waited_s, second.attempts) == ("two", 77.0, 1)
        await store.sent(second.id)
        assert await store.due() == []

    run(check)


def test_what_was_measured_comes_back() -> None:
    async def check(_: Database, store: AlertStore) -> None:
        points = {("a", "b"): [Point(1.0, (2.0, 3.0), (4.0,))]}
        await store.write(store.memory_statements(NOW, history={"r": points}))
        assert (await store.held()).history == {"r": (NOW, points)}

    run(check)


def test_reports_come_back() -> None:
    async def check(_: Database, store: AlertStore) -> None:
        report = Report(rules={"r": Folded(groups={("m",): Cell(counts=(1.0, 2.0))}, bounds=(0.5,))})
        await store.report("a", 7, report)
        await store.report("a", 8, report)
        assert await store.reports() == {"a": (8, report)}
        await store.forget(["a"])
        assert await store.reports() == {}

    run(check)


def test_silences() -> None:
    silence = Silence(id="s", matchers={"rule": "*"}, until=NOW, comment="c", author="a", created_at=0.0)

    async def check(_: Database, store: AlertStore) -> None:
        await store.silence(silence)
        assert await store.silences() == [silence]
        await store.expire_silences(NOW)
        assert await store.silences() == [silence]
        await store.unsilence("s")
        with pytest.raises(NotFound):
            await store.unsilence("s")

    run(check)


def test_what_another_version_wrote_is_left_alone() -> None:
    async def check(database: Database, store: AlertStore) -> None:
        await database.execute("INSERT INTO alert_states VALUES ('x', ?)", (b"\xc1",))
        await database.execute("INSERT INTO alert_reports VALUES ('g', 1, ?)", (b"\x01",))
        await database.execute("INSERT INTO alert_silences VALUES ('s', 1.0, ?)", (b"",))
        assert await store.alerts() == []
        assert await store.silences() == []
        assert await store.reports() == {"g": (1, None)}

    run(check)
