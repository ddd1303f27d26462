"""Asks some questions again, to see how far the answers lie apart, within a day's money.

The money is reserved before anything is asked, for all gateways on one state
store together, by what the first answer cost; afterwards it is settled to what
was paid. A question whose cost nobody knows is not asked again, since no cap
would hold; a target that costs nothing says so with prices of 0. The requests
belong to the caller `~signals`: they are in the ledger, but no tenant's.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead import config as cfg
from fairlead.errors import FairleadError, StorageError
from fairlead.gateway import signal_events
from fairlead.gateway.internal import Internal
from fairlead.gateway.signal_work import SignalWork
from fairlead.providers.rewrite import read_head, replace_fields
from fairlead.signals.db import SignalStore
from fairlead.signals.dispersion import Dispersion
from fairlead.signals.questions import Disperse, Dispersed, Sampled, Setup
from fairlead.types import EvaluationResult

_log: Final = logging.getLogger(__name__)

_AT_ONCE: Final = 4
_DISPERSE_S: Final = 30.0
_MARGIN: Final = 1.5
"""Another answer may be longer than the first."""


class Reasks:
    """Decides, asks, pays."""

    def __init__(
        self,
        options: cfg.SignalReasks,
        internal: Callable[[], Internal],
        store: SignalStore,
        setup: Setup,
        *,
        roll: Callable[[], float],
        emit: Callable[[EvaluationResult], None] | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts.

        Args:
            options: how often and for how much.
            internal: the gateway as its own client, under the configuration in force.
            store: where money is counted.
            setup: how texts are looked at.
            roll: a random number in [0, 1) at each call.
            emit: takes evaluation results; None for nobody.
            now: Unix seconds.
        """
        self._options = options
        self._internal = internal
        self._store = store
        self._setup = setup
        self._roll = roll
        self._emit = emit
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    def consider(self, work: SignalWork, sampled: Sampled) -> None:
        """Ask this question again, if chance and money allow it; in the background, a few at a time."""
        if self._roll() >= self._options.share:
            return
        if len(self._tasks) >= _AT_ONCE:
            work.tally.asked_again[sampled.model, "busy"] += 1
            return
        task = asyncio.get_running_loop().create_task(self._again(work, sampled), name="ask again")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def close(self) -> None:
        """Ask nobody any more; money that is reserved stays so."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("asking again failed unexpectedly", exc_info=task.exception())

    async def _again(self, work: SignalWork, sampled: Sampled) -> None:
        tally = work.tally
        body = again(sampled)
        if body is None:
            tally.asked_again[sampled.model, "stateful"] += 1
            return
        if sampled.cost_microusd is None:
            tally.asked_again[sampled.model, "unpriced"] += 1
            return
        options = self._options
        each = -(-int(sampled.cost_microusd * _MARGIN * 1000) // 1000)
        day = datetime.datetime.fromtimestamp(self._now(), datetime.UTC).date().isoformat()
        try:
            if not await self._store.reserve(day, each * options.times, round(options.usd_per_day * 1e6)):
                tally.asked_again[sampled.model, "spent"] += 1
                return
            replies, cost = await self._ask(sampled, body, each)
            await self._store.settle(day, cost - each * options.times)
        except StorageError:
            # Without the count of money nobody is asked; what was reserved stays so.
            tally.asked_again[sampled.model, "failed"] += 1
            return
        tally.reask_microusd[(sampled.model,)] += cost
        found = await self._dispersion(work, sampled, replies)
        if found is None:
            tally.asked_again[sampled.model, "failed"] += 1
            return
        tally.dispersed(sampled.model, found)
        if self._emit is not None:
            self._emit(signal_events.of_dispersion(sampled, found, at=self._now()))

    async def _ask(self, sampled: Sampled, body: bytes, each: int) -> tuple[list[bytes], int]:
        """The answers, and what they cost at most."""
        internal = self._internal()
        replies: list[bytes] = []
        cost = 0
        for _ in range(self._options.times):
            try:
                reply = await internal.ask(
                    sampled.model, sampled.api, body, timeout_s=self._options.timeout_s
                )
            except FairleadError:
                cost += each  # nobody says what it used
                continue
            cost += each if reply.cost_microusd is None else reply.cost_microusd
            replies.append(reply.body)
        return replies, cost

    async def _dispersion(
        self, work: SignalWork, sampled: Sampled, replies: list[bytes]
    ) -> Dispersion | None:
        if not replies:
            return None
        question = Disperse(setup=self._setup, sampled=sampled, replies=tuple(replies))
        answer = await work.question(question, Dispersed, _DISPERSE_S)
        return None if answer is None else answer.dispersion


def again(sampled: Sampled) -> bytes | None:
    """The same question for a whole answer; None where it would leave something behind at its provider."""
    try:
        head = read_head(sampled.request)
        stays = head.store is True or head.background is True or head.previous_response_id is not None
        if stays or (sampled.api == "responses" and head.store is not False) or (head.n or 1) > 1:
            return None
        return replace_fields(sampled.request, {"stream": None, "stream_options": None})
    except (FairleadError, msgspec.DecodeError):
        return None
