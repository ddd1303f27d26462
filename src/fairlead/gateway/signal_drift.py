"""Compares what comes with what came before, and keeps what was found.

One worker of each gateway looks every minute which series have enough new
requests and have earned a level (`signals.board`); the store settles who of
several gateways has made a comparison. The last outcome of each series is
read from the store, so a restart forgets nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from fairlead.errors import StorageError
from fairlead.gateway import signal_events
from fairlead.gateway.signal_work import SignalWork
from fairlead.signals.board import SIGNALS, Outcome, Policy, Signal, filled, hours_of, plan
from fairlead.signals.db import SignalStore
from fairlead.signals.questions import Compare, Compared
from fairlead.types import EvaluationResult

_log: Final = logging.getLogger(__name__)

_EVERY_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0
_COMPARE_S: Final = 300.0
_ACTIVE_S: Final = 2 * _DAY_S
"""A series without a request for so long has no share of the budget."""

Series = tuple[str, Signal]


class DriftWatch:
    """The comparisons of one process, and what all have found last."""

    def __init__(
        self,
        work: SignalWork,
        store: SignalStore,
        policy: Policy,
        *,
        kept_per_hour: int,
        emit: Callable[[EvaluationResult], None] | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Join the parts.

        Args:
            work: has questions answered, and knows whose vectors there are.
            store: where the items are.
            policy: when, with what and at which level.
            kept_per_hour: items that stay of an hour.
            emit: takes evaluation results; None for nobody.
            now: Unix seconds.
        """
        self.last: dict[Series, Outcome] = {}
        """The last comparison of each series."""
        self.learning: dict[Series, int] = {}
        """Series that have nothing comparable yet, with their requests since the last comparison."""
        self._work = work
        self._store = store
        self._policy = policy
        self._kept_per_hour = kept_per_hour
        self._emit = emit
        self._now = now
        self._began_at: dict[Series, float] = {}
        self._swept_at = 0.0

    async def run(self) -> None:
        """Look every minute, until cancelled."""
        while True:
            try:
                await self.look()
            except StorageError as error:
                _log.warning("semantic metrics were not compared", extra={"error": error.message})
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Make the comparisons that are due. Raises StorageError."""
        now = self._now()
        self.last = await self._store.last()
        found = [(signal, self._embedder(signal)) for signal in SIGNALS]
        series = [
            (model, signal, embedder)
            for signal, embedder in found
            if embedder is not None
            for model in await self._store.series(signal, embedder, now - _ACTIVE_S)
        ]
        for model, signal, embedder in series:
            await self._consider(model, signal, embedder, len(series), now)
        if now - self._swept_at >= _HOUR_S:
            self._swept_at = now
            await self._store.thin(kept_per_hour=self._kept_per_hour, now=now)
            policy = self._policy
            await self._store.expire(now - policy.reference_days * _DAY_S - (policy.gap_hours + 48) * _HOUR_S)

    def _embedder(self, signal: Signal) -> str | None:
        """Whose vectors are compared; None while that is not known, which is before the first request."""
        if signal == "behaviour":
            return ""
        return self._work.embedder or None

    async def _consider(self, model: str, signal: Signal, embedder: str, series: int, now: float) -> None:
        policy, key = self._policy, (model, signal)
        last = self.last.get(key)
        ended_at = 0.0 if last is None else last.ended_at
        new = await self._store.count(model, signal, embedder, ended_at)
        if new < policy.window:
            return
        # A series earns from the first time it is seen by this process, or from its last comparison.
        since = self._began_at.setdefault(key, now) if last is None else last.compared_at
        alpha = policy.level(series, now - since)
        if alpha is None:
            return
        window = await self._store.latest(model, signal, embedder, policy.most_window)
        span = policy.reference_span(window[0].at)
        reference = await self._store.candidates(model, signal, embedder, span, hours_of(window))
        number = 1 if last is None else last.number + 1
        # Thousands of candidates take a moment, which no request should wait for.
        planned = await asyncio.to_thread(plan, policy, signal, window, reference, alpha=alpha, seed=number)
        if planned is None:
            self.learning[key] = new
            return
        self.learning.pop(key, None)
        job = planned.job
        if signal != "behaviour":
            chosen = [(item.id, item.at) for item in job.reference]
            job = filled(job, await self._store.vectors(model, signal, embedder, chosen))
        compared = await self._work.question(Compare(job=job), Compared, _COMPARE_S)
        if compared is None:
            return
        outcome = Outcome(
            model=model,
            signal=signal,
            number=number,
            began_at=window[0].at,
            ended_at=window[-1].at,
            compared_at=now,
            requests=len(job.window),
            reference=len(job.reference),
            level=planned.level,
            alpha=alpha,
            result=compared.comparison,
        )
        if await self._store.finish(outcome):
            self._tell(outcome)
        self.last[key] = outcome

    def _tell(self, outcome: Outcome) -> None:
        if self._emit is not None:
            self._emit(signal_events.of_window(outcome))
        if outcome.alarm:
            topic = outcome.result.topic
            _log.warning(
                "requests or answers have changed",
                extra={
                    "model": outcome.model,
                    "signal": outcome.signal,
                    "p_value": outcome.result.p_value,
                    "alpha": outcome.alpha,
                    "share": None if topic is None else topic.share,
                    "before": None if topic is None else topic.before,
                    "examples": () if topic is None else topic.examples,
                },
            )
