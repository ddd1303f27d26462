"""The loop on a real database, with clocks moved by hand and receivers that are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import msgspec
from tests.unit.telemetry.alerts.facts_of import Time, requests
from tests.unit.telemetry.alerts.notes import NOW
from tests.unit.telemetry.records import record
from tests.unit.telemetry.turns import until

from fairlead.config.alert_options import AlertReceiver, AlertRule, Alerts, BurnWindow
from fairlead.errors import StorageError
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.db import AlertStore
from fairlead.telemetry.alerts.engine import Clocks, Engine
from fairlead.telemetry.alerts.notify.retry import Answer, Result
from fairlead.telemetry.alerts.silence import Silence
from fairlead.telemetry.alerts.state import Phase
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.metrics.samples import Family
from fairlead.types import Outcome

RULE = AlertRule(
    kind="burn",
    signal="errors",
    objective=0.9,
    keep_firing_s=20,
    windows=[BurnWindow(long_s=300, short_s=30, burn=4)],
)
ALERTS = Alerts(
    receivers={"hook": AlertReceiver(type="webhook", url="http://127.0.0.1/")},
    rules={"errors": RULE},
    interval_s=10.0,
    group_wait_s=0.0,
    repeat_s=3600.0,
)


class Hook:
    """A receiver that takes everything, or nothing."""

    def __init__(self) -> None:
        self.got: list[Notification] = []
        self.takes = True

    async def send(
        self, receiver: AlertReceiver, notification: Notification, *, resend_s: float = 60.0
    ) -> Answer:
        self.got.append(notification)
        return Answer(result=Result.SENT if self.takes else Result.RETRY, detail="busy")

    @property
    def told(self) -> list[str]:
        return [one.status for one in self.got]


class Gateway:
    """One gateway: its metrics and its engine."""

    def __init__(self, database: Database, time: Time, hook: Hook, alerts: Alerts = ALERTS) -> None:
        self.ok = self.failed = 0.0
        self.time = time
        self.engine = Engine(
            alerts,
            AlertStore(database),
            self.families,
            hook,
            ledger=Ledger(database),
            clocks=Clocks(wall=lambda: time.wall, steady=lambda: time.steady),
            roll=lambda: 0.5,
        )

    async def families(self) -> Iterable[Family]:
        return [requests(self.ok, self.failed)]

    async def turn(self, *, ok: float = 0.0, failed: float = 0.0, after_s: float = 10.0) -> None:
        self.ok, self.failed = self.ok + ok, self.failed + failed
        self.time.passes(after_s)
        await self.engine.turn()
        # Deliveries are tasks of their own.
        await until(lambda: not self.engine.delivering)

    async def phase(self) -> Phase:
        alerts = await self.engine.store.alerts()
        return alerts[0].phase if alerts else Phase.INACTIVE


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Database, Time, Hook]]:
    database = await open_database(":memory:")
    try:
        yield database, Time(NOW), Hook()
    finally:
        await database.close()


def test_an_alert_fires_is_told_once_and_its_end_too() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook)
            await gateway.turn(ok=100)
            await gateway.turn(ok=10, failed=90)
            assert await gateway.phase() is Phase.FIRING
            for _ in range(5):
                await gateway.turn(ok=10, failed=90)
            assert hook.told == ["firing"]
            for _ in range(8):
                await gateway.turn(ok=100)
            assert await gateway.phase() is Phase.RESOLVED
            assert hook.told == ["firing", "resolved"]
            assert await gateway.engine.store.due() == []

    asyncio.run(main())


def test_the_notification_shows_requests_from_the_ledger() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            ledger = Ledger(database)
            failed = [
                record(
                    number, outcome=Outcome.FAILED, status=503, started_at=NOW + number / 10, tenant="acme"
                )
                for number in range(8)
            ]
            ledger.take(iter([*failed, record(99, started_at=NOW)]))
            await ledger.commit()
            gateway = Gateway(database, time, hook)
            await gateway.turn(ok=100)
            await gateway.turn(failed=90)
            (alert,) = hook.got[0].alerts
            assert len(alert.examples) == 5
            assert alert.examples[0] == f"{7:024x}"
            assert alert.top["tenant"] == "acme (8 of 8)"
            assert alert.command == f"fairlead explain {7:024x}"

    asyncio.run(main())


def test_a_restart_neither_forgets_nor_tells_twice() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            first = Gateway(database, time, hook)
            await first.turn(ok=100)
            for _ in range(8):
                await first.turn(ok=10, failed=90)
            # Killed: the lease is still its own.
            second = Gateway(database, time, hook)
            second.ok, second.failed = 0.0, 0.0
            for _ in range(5):
                await second.turn(ok=10, failed=90)
            assert await second.phase() is Phase.FIRING
            assert hook.told == ["firing"]
            for _ in range(9):
                await second.turn(ok=100)
            assert hook.told == ["firing", "resolved"]

    asyncio.run(main())


def test_of_two_gateways_one_tells_and_both_are_seen() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            one, two = Gateway(database, time, hook), Gateway(database, time, hook)
            for _ in range(2):
                await one.turn(ok=10, after_s=5)
                await two.turn(ok=10, after_s=5)
            # Only the second, which does not hold the lease, has failures.
            for _ in range(6):
                await one.turn(ok=10, after_s=5)
                await two.turn(failed=40, after_s=5)
            assert await one.phase() is Phase.FIRING
            assert hook.told == ["firing"]

    asyncio.run(main())


def test_when_the_one_that_tells_is_gone_another_takes_over_with_its_history() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            one, two = Gateway(database, time, hook), Gateway(database, time, hook)
            for _ in range(4):
                await one.turn(failed=20, after_s=5)
                await two.turn(ok=1, after_s=5)
            assert hook.told == ["firing"]
            for _ in range(8):
                await two.turn(failed=20)
            assert hook.told == ["firing"]
            assert (await two.engine.store.lease())[0] == two.engine.name
            for _ in range(10):
                await two.turn(ok=100)
            assert hook.told == ["firing", "resolved"]

    asyncio.run(main())


def test_clocks_that_jump_neither_fire_nor_resolve() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            patient = msgspec.structs.replace(RULE, for_s=60, keep_firing_s=300)
            alerts = msgspec.structs.replace(ALERTS, rules={"errors": patient})
            gateway = Gateway(database, time, hook, alerts)
            await gateway.turn(ok=100)
            await gateway.turn(failed=90)
            assert await gateway.phase() is Phase.PENDING
            time.wall += 86_400 * 400
            await gateway.turn(failed=90)
            assert await gateway.phase() is Phase.PENDING
            time.steady += 3600  # the machine slept: at most three turns count
            await gateway.turn(failed=90, after_s=0)
            assert await gateway.phase() is Phase.PENDING
            for _ in range(4):
                await gateway.turn(failed=90)
            assert await gateway.phase() is Phase.FIRING
            time.wall -= 86_400 * 4000
            await gateway.turn(ok=1000)
            time.wall += 86_400 * 8000
            await gateway.turn(ok=1000)
            assert await gateway.phase() is Phase.FIRING
            assert hook.told == ["firing"]

    asyncio.run(main())


def test_a_silence_keeps_it_quiet_but_not_unseen() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook)
            silence = Silence(
                id="s1", matchers={"rule": "errors"}, until=NOW + 60, comment="c", author="a", created_at=NOW
            )
            await gateway.engine.store.silence(silence)
            await gateway.turn(ok=100)
            await gateway.turn(failed=90)
            assert await gateway.phase() is Phase.FIRING
            assert hook.told == []
            for _ in range(5):
                await gateway.turn(failed=90)
            assert hook.told == ["firing"]  # it was over after a minute

    asyncio.run(main())


def test_a_notification_that_is_not_taken_goes_on_waiting_and_is_replaced_by_newer_news() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            hook.takes = False
            gateway = Gateway(database, time, hook)
            await gateway.turn(ok=100)
            await gateway.turn(failed=90)
            for _ in range(8):
                await gateway.turn(ok=1000)
            (waiting,) = await gateway.engine.store.due()
            assert waiting.notification.status == "resolved"
            assert waiting.attempts > 1
            hook.takes = True
            for _ in range(10):
                await gateway.turn(ok=1000, after_s=60)
            assert await gateway.engine.store.due() == []

    asyncio.run(main())


def test_what_goes_on_is_told_again() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook, msgspec.structs.replace(ALERTS, repeat_s=100.0))
            await gateway.turn(ok=100)
            for _ in range(13):
                await gateway.turn(failed=90)
            assert hook.told == ["firing", "firing"]

    asyncio.run(main())


def test_new_rules_keep_the_history_of_those_that_stay() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook)
            await gateway.turn(ok=100)
            await gateway.turn(failed=90)
            more = {"errors": RULE, "outage": AlertRule(kind="outage")}
            gateway.engine.configure(msgspec.structs.replace(ALERTS, rules=more))
            await gateway.turn(failed=1)
            assert await gateway.phase() is Phase.FIRING
            gateway.engine.configure(msgspec.structs.replace(ALERTS, rules={"outage": more["outage"]}))
            await gateway.turn()
            assert await gateway.phase() is Phase.RESOLVED

    asyncio.run(main())


class Broken:
    """A database that fails while it is told to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.fails = False

    def __getattr__(self, name: str) -> object:
        if self.fails:
            raise StorageError("gone")
        return getattr(self._database, name)


def test_a_database_that_fails_stops_the_turn_and_nothing_is_lost() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            broken = Broken(database)
            gateway = Gateway(broken, time, hook)  # type: ignore[arg-type]  # it hands everything on
            await gateway.turn(ok=100)
            broken.fails = True
            try:
                await gateway.turn(failed=90)
            except StorageError:
                pass
            else:
                raise AssertionError("the turn should have failed")
            broken.fails = False
            await gateway.turn(failed=1)
            assert await gateway.phase() is Phase.FIRING

    asyncio.run(main())


def test_a_test_goes_through_every_receiver() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook)
            answers = await gateway.engine.test()
            assert {name: answer.result for name, answer in answers.items()} == {"hook": Result.SENT}
            assert hook.told == ["test"]

    asyncio.run(main())


def test_how_alerts_do_is_among_the_metrics() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook)
            await gateway.turn(ok=100)
            await gateway.turn(failed=90)
            shown = {(one.name, one.labels): one.value for one in gateway.engine.readings()}
            assert shown[("fairlead_alerts", ("firing", "page"))] == 1
            assert shown[("fairlead_alert_notifications_total", ("hook", "sent"))] == 1

    asyncio.run(main())


def test_the_loop_ends_by_giving_the_lease_up() -> None:
    async def main() -> None:
        async with world() as (database, time, hook):
            gateway = Gateway(database, time, hook)
            store = gateway.engine.store
            task = asyncio.create_task(gateway.engine.run())
            while (await store.lease())[0] != gateway.engine.name:  # noqa: ASYNC110  # a database has no event
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await store.lease())[0] == ""
            assert await store.reports() == {}

    asyncio.run(main())
