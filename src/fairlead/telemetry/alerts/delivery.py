"""Carries queued notifications to their receivers.

One receiver that hangs or refuses holds up no other: each has its own task,
order and back-off. What is taken is forgotten; what nobody takes for too long,
or what a receiver refuses for good, is set aside and shown.

A notification is sent at least once. It is sent again when the process dies
between the receiver's answer and its own note of it; its id is the same then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol

from fairlead.config.alert_options import AlertReceiver
from fairlead.errors import StorageError
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.db import AlertStore, Sending
from fairlead.telemetry.alerts.notify.retry import Answer, Result, pause_s

_log: Final = logging.getLogger(__name__)


class Sends(Protocol):
    """What sends one notification; `notify.send.Sender`, or a test's own."""

    async def send(
        self, receiver: AlertReceiver, notification: Notification, *, resend_s: float = 60.0
    ) -> Answer:
        """Send once, never raise."""
        ...


class Delivery:
    """The deliveries of one process."""

    def __init__(
        self,
        store: AlertStore,
        sender: Sends,
        *,
        clock: Callable[[], float],
        roll: Callable[[], float],
    ) -> None:
        """Deliver what `store` holds with `sender`; `clock` is monotonic, `roll` gives [0, 1)."""
        self._store = store
        self._sender = sender
        self._clock = clock
        self._roll = roll
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}
        self._tried_at: dict[str, float] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """By receiver and outcome: `sent`, `failed` (an attempt), `dead`."""

    @property
    def busy(self) -> bool:
        """Whether anything is on its way."""
        return bool(self._busy)

    def start(self, due: Iterable[Sending], receivers: Mapping[str, AlertReceiver], give_up_s: float) -> None:
        """Begin to deliver what is due, where nothing is on its way and no pause is kept."""
        waiting: dict[str, list[Sending]] = {}
        for sending in due:
            waiting.setdefault(sending.receiver, []).append(sending)
        known = {sending.id for queue in waiting.values() for sending in queue}
        self._tried_at = {name: at for name, at in self._tried_at.items() if name in known}
        now = self._clock()
        for name, queue in waiting.items():
            if name in self._busy or now < self._not_before.get(name, now):
                continue
            work = self._deliver(queue, receivers.get(name), give_up_s)
            task = asyncio.get_running_loop().create_task(work, name=f"alerts to {name}")
            self._busy[name] = task
            task.add_done_callback(lambda done, name=name: self._done(name, done))  # type: ignore[misc]  # a default binds the name

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        self._busy.pop(name, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("alerts to `%s` were not delivered", name, exc_info=task.exception())

    async def stop(self) -> None:
        """End what is under way; the next start sends it again."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, queue: list[Sending], receiver: AlertReceiver | None, give_up_s: float) -> None:
        for sending in queue:
            try:
                if receiver is None:
                    gone = "there is no such receiver any more"
                    await self._store.failed(sending, error=gone, waited_s=sending.waited_s, dead=True)
                    continue
                answer = await self._sender.send(receiver, sending.notification)
                if answer.result is Result.SENT:
                    self.counts[(sending.receiver, "sent")] += 1
                    self._not_before.pop(sending.receiver, None)
                    await self._store.sent(sending.id)
                elif not await self._refused(sending, answer, give_up_s):
                    return
            except StorageError as error:
                # What was sent may be sent again: twice is better than never.
                _log.warning("a delivery was not noted", extra={"error": str(error)})
                return

    async def _refused(self, sending: Sending, answer: Answer, give_up_s: float) -> bool:
        """Note a failure; True when the next notification may be tried at once."""
        now = self._clock()
        waited_s = sending.waited_s + now - self._tried_at.get(sending.id, now)
        self._tried_at[sending.id] = now
        dead = answer.result is Result.REFUSED or waited_s >= give_up_s
        self.counts[(sending.receiver, "dead" if dead else "failed")] += 1
        _log.log(
            logging.ERROR if dead else logging.WARNING,
            "a notification was not taken" + (" and is set aside" if dead else ""),
            extra={
                "receiver": sending.receiver,
                "error": answer.detail,
                "status": answer.status,
                "attempts": sending.attempts + 1,
            },
        )
        if not dead:
            self._not_before[sending.receiver] = now + pause_s(sending.attempts + 1, answer, self._roll())
        await self._store.failed(sending, error=answer.detail, waited_s=waited_s, dead=dead)
        return dead
