"""Deliveries: order, back-off, giving up, and receivers that do not disturb each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.telemetry.alerts.facts_of import Time
from tests.unit.telemetry.alerts.notes import note
from tests.unit.telemetry.turns import until

from fairlead.config.alert_options import AlertReceiver
from fairlead.storage.connect import open_database
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.db import AlertStore
from fairlead.telemetry.alerts.delivery import Delivery
from fairlead.telemetry.alerts.notify.retry import Answer, Result

RECEIVERS = {name: AlertReceiver(type="webhook", url=f"http://{name}/") for name in ("good", "bad", "slow")}
OK = Answer(result=Result.SENT, status=200)
BUSY = Answer(result=Result.RETRY, status=503, detail="busy")
NEVER = Answer(result=Result.REFUSED, status=404, detail="gone")


class Receivers:
    """Answers by receiver's URL; one without an answer hangs."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.got: list[tuple[str, str]] = []

    async def send(
        self, receiver: AlertReceiver, notification: Notification, *, resend_s: float = 60.0
    ) -> Answer:
        name = str(receiver.url).removeprefix("http://").rstrip("/")
        self.got.append((name, notification.id))
        if name not in self.answers:
            await asyncio.Event().wait()
        return self.answers[name]


@asynccontextmanager
async def delivery(receivers: Receivers) -> AsyncIterator[tuple[AlertStore, Delivery, Time]]:
    database = await open_database(":memory:")
    store, time = AlertStore(database), Time()
    made = Delivery(store, receivers, clock=lambda: time.steady, roll=lambda: 1.0)
    try:
        yield store, made, time
    finally:
        await made.stop()
        await database.close()


async def queue(store: AlertStore, receiver: str, number: int, **fields: Any) -> None:
    one = note(id=f"n{number}", group=f"g{number}", **fields)
    await store.write(store.queue_statements(receiver, one))


async def run(store: AlertStore, made: Delivery, *, give_up_s: float = 100.0) -> None:
    made.start(await store.due(), RECEIVERS, give_up_s)


def test_what_is_taken_is_forgotten() -> None:
    async def main() -> None:
        receivers = Receivers(good=OK)
        async with delivery(receivers) as (store, made, _):
            await queue(store, "good", 1)
            await queue(store, "good", 2)
            await run(store, made)
            await until(lambda: made.counts[("good", "sent")] == 2)
            await until(lambda: not made.busy)
            assert await store.due() == []
        assert receivers.got == [("good", "n1"), ("good", "n2")]

    asyncio.run(main())


def test_a_receiver_that_hangs_holds_up_no_other() -> None:
    async def main() -> None:
        receivers = Receivers(good=OK)
        async with delivery(receivers) as (store, made, _):
            await queue(store, "slow", 1)
            await queue(store, "good", 2)
            await run(store, made)
            await until(lambda: made.counts[("good", "sent")] == 1)
            await run(store, made)
        assert receivers.got.count(("slow", "n1")) == 1

    asyncio.run(main())


def test_failures_are_tried_again_after_a_growing_pause() -> None:
    async def main() -> None:
        receivers = Receivers(bad=BUSY)
        async with delivery(receivers) as (store, made, time):
            await queue(store, "bad", 1)
            await queue(store, "bad", 2)
            for tries, pause_s in enumerate((2.0, 4.0, 8.0), start=1):
                await run(store, made)
                await until(lambda tries=tries: made.counts[("bad", "failed")] == tries)
                await until(lambda: not made.busy)
                time.passes(pause_s - 0.1)
                await run(store, made)
                time.passes(0.2)
            # The second waits behind the first, which is older.
            assert receivers.got == [("bad", "n1")] * 3
            assert (await store.due())[0].error == "busy"

    asyncio.run(main())


def test_what_nobody_takes_for_long_is_set_aside_and_kept() -> None:
    async def main() -> None:
        async with delivery(Receivers(bad=BUSY)) as (store, made, time):
            await queue(store, "bad", 1)
            while not await store.dead():
                await run(store, made, give_up_s=1000.0)
                await until(lambda: not made.busy)
                time.passes(300.0)
            (dead,) = await store.dead()
            assert await store.due() == []
            assert (dead.receiver, dead.error) == ("bad", "busy")
            assert dead.waited_s >= 1000.0

    asyncio.run(main())


def test_what_is_refused_for_good_is_set_aside_at_once() -> None:
    async def main() -> None:
        async with delivery(Receivers(bad=NEVER)) as (store, made, _):
            await queue(store, "bad", 1)
            await queue(store, "bad", 2)
            await run(store, made)
            await until(lambda: made.counts[("bad", "dead")] == 2)
            await until(lambda: not made.busy)
            assert [one.notification.id for one in await store.dead()] == ["n2", "n1"]

    asyncio.run(main())


def test_a_receiver_that_is_gone_from_the_configuration_is_given_up() -> None:
    async def main() -> None:
        async with delivery(Receivers()) as (store, made, _):
            await queue(store, "removed", 1)
            await run(store, made)
            await until(lambda: not made.busy)
            (dead,) = await store.dead()
            assert "no such receiver" in dead.error

    asyncio.run(main())
