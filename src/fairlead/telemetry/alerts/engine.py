"""The loop of alerts: observe, decide, keep, tell.

Each gateway (its first worker) folds its metrics, publishes the result and
reads those of the others that share its database. The one that holds the lease
evaluates the rules on all of them, keeps the alerts and queues notifications
in one transaction, and delivers. The others keep the history warm, so that
whoever takes the lease goes on without a gap.

Nothing is decided by the clock on the wall: waits are added up from what
passed between turns, at most three intervals each. A failing database stops
the turn, is counted, and touches no request.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import msgspec

from fairlead.config.alert_options import Alerts
from fairlead.errors import StorageError
from fairlead.telemetry.alerts import judge
from fairlead.telemetry.alerts.alert import Alert, AlertText, Notification
from fairlead.telemetry.alerts.budget import Evidence
from fairlead.telemetry.alerts.db import AlertStore, Report
from fairlead.telemetry.alerts.delivery import Delivery, Sends
from fairlead.telemetry.alerts.evidence import gather
from fairlead.telemetry.alerts.facts import Folded, by_name, fold
from fairlead.telemetry.alerts.grouping import Pace, Told
from fairlead.telemetry.alerts.notify.retry import Answer
from fairlead.telemetry.alerts.rules import Finding, compiled, evaluate, looked
from fairlead.telemetry.alerts.source import History
from fairlead.telemetry.alerts.state import Phase
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.metrics.samples import Family

_log: Final = logging.getLogger(__name__)

_SAVE_S: Final = 60.0
"""How often the history is kept; a crash loses as much of it."""
_SHORTEST_KEPT_S: Final = 120.0
"""Windows below are full again before it matters."""
_SILENCE_KEPT_S: Final = 7 * 86_400.0
_GONE_S: Final = 3600.0
_MOST_SEARCHES: Final = 10
"""Searches of the ledger in one turn."""
_MOST_FINDINGS: Final = 1000
_TURNS: Final = 3
"""Turns without a sign of life after which a gateway is taken for gone."""


class Clocks(msgspec.Struct, frozen=True, kw_only=True):
    """The times that the engine goes by."""

    wall: Callable[[], float] = time.time
    """Unix seconds: for people, silences and days."""
    steady: Callable[[], float] = time.monotonic


class Engine:
    """Alerts of one process; `run` in the first worker only."""

    def __init__(
        self,
        alerts: Alerts,
        store: AlertStore,
        collect: Callable[[], Awaitable[Iterable[Family]]],
        sender: Sends,
        *,
        ledger: Ledger | None = None,
        clocks: Clocks | None = None,
        roll: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is read yet.

        Args:
            alerts: the section of the configuration.
            store: what gateways share.
            collect: the metrics of all workers of this gateway.
            sender: sends one notification.
            ledger: where examples are found; None without one.
            clocks: other clocks, for tests.
            roll: chance, for back-off.
        """
        self._clocks = clocks or Clocks()
        self._store = store
        self._collect = collect
        self._sender = sender
        self._ledger = ledger
        self._name = secrets.token_hex(8)
        """Of this life of the process."""
        self._beat = 0
        self._watched = self._clocks.wall()
        """Watched time: it begins at the clock's time and from then on only counts what passes."""
        self._began = self._watched
        self._turned_at = self._clocks.steady()
        self._seen: dict[str, tuple[int, float]] = {}
        """Beats of the other gateways, and when they last changed."""
        self._lease_seen: tuple[str, int, float] = ("", -1, self._turned_at)
        self._leads = False
        self._saved_at = self._turned_at
        self._alerts: dict[str, Alert] = {}
        self._told: dict[tuple[str, str], Told] = {}
        self._evidence: dict[str, Evidence] = {}
        self._trouble: Counter[str] = Counter()
        self._delivery = Delivery(store, sender, clock=self._clocks.steady, roll=roll)
        self._config = alerts
        self._rules = compiled(alerts)
        self._history = self._fresh_history()

    # --- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take turns until cancelled."""
        failing = False
        try:
            while True:
                try:
                    await self.turn()
                    failing = False
                except StorageError as error:
                    self._trouble["storage"] += 1
                    self._leads = False
                    if not failing:
                        _log.error("alerts cannot be evaluated", extra={"error": str(error)})
                    failing = True
                except Exception:  # the supervisor of alerts: a defect in one turn must not end all of them
                    self._trouble["defect"] += 1
                    if not failing:
                        _log.exception("a turn of alerts failed")
                    failing = True
                await asyncio.sleep(self._config.interval_s)
        finally:
            await self._delivery.stop()
            try:
                if self._leads:
                    await self._store.write(self._history_statements())
                await self._store.leave(self._name)
            except StorageError as error:
                _log.warning("the lease of alerts was not given up", extra={"error": str(error)})

    def configure(self, alerts: Alerts) -> None:
        """Go on with other rules and receivers. The history of rules that stay as they are stays too."""
        before, saved = self._rules, self._history
        self._config = alerts
        self._rules = compiled(alerts)
        self._history = self._fresh_history()
        for name, rule in self._rules.items():
            if before.get(name) == rule:
                self._history.restore(name, saved.saved(name), 0.0)

    def _fresh_history(self) -> History:
        history = History({name: rule.keep_s for name, rule in self._rules.items()})
        history.ingest(self._watched, {})
        return history

    # --- a turn ---------------------------------------------------------------------------------

    async def turn(self) -> None:
        """Observe, and where this gateway holds the lease decide and tell.

        Raises:
            StorageError: the database failed; the next turn tries again.
        """
        steady = self._clocks.steady()
        elapsed_s = min(max(steady - self._turned_at, 0.0), _TURNS * self._config.interval_s)
        self._turned_at = steady
        self._watched += elapsed_s
        families = by_name(await self._collect())
        own = {name: fold(rule.options, families) for name, rule in self._rules.items()}
        self._beat += 1
        await self._store.report(self._name, self._beat, Report(rules=own))
        self._history.ingest(self._watched, await self._live_reports(own, steady))
        led = self._leads
        self._leads = await self._hold(steady)
        if not self._leads:
            return
        if not led:
            await self._take_over()
        await self._decide(elapsed_s)
        due = await self._store.due()
        self._delivery.start(due, self._config.receivers, self._config.give_up_s)

    async def _live_reports(self, own: dict[str, Folded], steady: float) -> dict[str, dict[str, Folded]]:
        """What every gateway that is alive says."""
        live = {self._name: own}
        gone = []
        stored = await self._store.reports()
        for name, (beat, report) in stored.items():
            if name == self._name:
                continue
            before = self._seen.get(name)
            if before is None or before[0] != beat:
                self._seen[name] = before = (beat, steady)
            silent_s = steady - before[1]
            if silent_s > _GONE_S:
                gone.append(name)
            elif silent_s <= self._patience_s and report is not None:
                live[name] = report.rules
        self._seen = {name: seen for name, seen in self._seen.items() if name in stored}
        if gone and self._leads:
            await self._store.forget(gone)
        return live

    @property
    def _patience_s(self) -> float:
        return max(_TURNS * self._config.interval_s, 2.0)

    async def _hold(self, steady: float) -> bool:
        """Whether this gateway holds the lease now."""
        if await self._store.renew(self._name):
            return True
        holder, beat = await self._store.lease()
        if (holder, beat) != self._lease_seen[:2]:
            self._lease_seen = (holder, beat, steady)
        if holder and steady - self._lease_seen[2] < self._patience_s:
            return False
        return await self._store.take(self._name, holder, beat)

    async def _take_over(self) -> None:
        """Go on where the last holder stopped."""
        held = await self._store.held()
        wall = self._clocks.wall()
        self._alerts, self._told = held.alerts, held.told
        # A clock that was set back must not keep tests waiting for a time long past.
        self._evidence = {
            name: msgspec.structs.replace(one, looked_at=min(one.looked_at, self._watched))
            for name, one in held.evidence.items()
        }
        for name, (saved_at, points) in held.history.items():
            oldest_s = max((point.at for group in points.values() for point in group), default=0.0)
            # Where this gateway has watched for longer than what was kept, its own is better.
            if wall - saved_at + oldest_s > self._watched - self._began:
                self._history.restore(name, points, wall - saved_at)

    async def _decide(self, elapsed_s: float) -> None:
        wall = self._clocks.wall()
        rules = list(self._rules.values())
        self._evidence = looked(rules, self._history, self._evidence, self._watched)
        findings = evaluate(
            rules,
            self._history,
            self._evidence,
            false_per_month=self._config.false_pages_per_month,
            now=self._watched,
        )
        before = self._alerts
        alerts = judge.stepped(self._rules, before, findings, elapsed_s, wall)
        alerts = await self._with_evidence(alerts, before, findings, wall)
        silences = await self._store.silences()
        told, due = judge.planned(
            self._config.receivers,
            self._config.group_by or ("rule",),
            Pace(wait_s=self._config.group_wait_s, repeat_s=self._config.repeat_s),
            alerts,
            self._told,
            silences,
            elapsed_s,
            wall,
        )
        waiting = {(one.receiver, one.group): one for one in await self._store.due()} if due else {}
        store = self._store
        statements = []
        for receiver, group, what in due:
            notification = judge.notification(
                what,
                group,
                alerts,
                before,
                notification_id=secrets.token_hex(12),
                now=wall,
                dashboard_url=self._config.dashboard_url,
            )
            older = waiting.get((receiver, group))
            if older is not None:
                notification = judge.merged(older.notification, notification)
            statements += store.queue_statements(receiver, notification, older)
        for fingerprint in alerts.keys() | before.keys():
            if alerts.get(fingerprint) != before.get(fingerprint):
                statements.append(store.alert_statement(fingerprint, alerts.get(fingerprint)))
        for key in told.keys() | self._told.keys():
            if told.get(key) != self._told.get(key):
                statements.append(store.told_statement(key, told.get(key)))
        statements += store.memory_statements(
            wall, evidence=self._evidence, findings=findings[:_MOST_FINDINGS]
        )
        if self._turned_at - self._saved_at >= _SAVE_S:
            self._saved_at = self._turned_at
            statements += self._history_statements()
            await store.expire_silences(wall - _SILENCE_KEPT_S)
        await store.write(statements)
        # Only now: what was not written is decided again at the next turn.
        self._alerts, self._told = alerts, told

    def _history_statements(self) -> list[tuple[str, tuple[str | int | float | bytes | None, ...]]]:
        kept = {
            name: self._history.saved(name)
            for name, rule in self._rules.items()
            if rule.keep_s >= _SHORTEST_KEPT_S
        }
        return self._store.memory_statements(self._clocks.wall(), history=kept)

    async def _with_evidence(
        self, alerts: dict[str, Alert], before: dict[str, Alert], findings: list[Finding], wall: float
    ) -> dict[str, Alert]:
        """The alerts, those that begin to fire with examples."""
        found = {finding.fingerprint: finding for finding in findings}
        searches = 0
        for fingerprint, alert in list(alerts.items()):
            old = before.get(fingerprint)
            begins = alert.phase is Phase.FIRING and (old is None or old.phase is not Phase.FIRING)
            rule, finding = self._rules.get(alert.rule), found.get(fingerprint)
            if not begins or rule is None or finding is None or searches >= _MOST_SEARCHES:
                continue
            searches += 1
            try:
                evidence = await gather(self._ledger, rule, finding, wall)
            except StorageError:
                self._trouble["evidence"] += 1  # the alert matters more than its examples
                continue
            alerts[fingerprint] = msgspec.structs.replace(alert, evidence=evidence)
        return alerts

    # --- asked from outside ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Of this life of this process, as the lease's holder."""
        return self._name

    @property
    def delivering(self) -> bool:
        """Whether a notification is on its way."""
        return self._delivery.busy

    @property
    def store(self) -> AlertStore:
        """What gateways share."""
        return self._store

    async def test(self) -> dict[str, Answer]:
        """Send a test notification through every receiver and say what came of it."""
        wall = self._clocks.wall()
        note = Notification(
            id=secrets.token_hex(12),
            group="test",
            status="test",
            at=wall,
            alerts=(
                AlertText(
                    fingerprint="test",
                    rule="fairlead-test",
                    severity="ticket",
                    status="test",
                    labels={},
                    effect="this is a test: nothing is wrong",
                    value=0.0,
                    objective=0.0,
                    since_at=wall,
                    command="fairlead alerts list",
                ),
            ),
            dashboard_url=self._config.dashboard_url,
        )
        receivers = self._config.receivers
        answers = await asyncio.gather(
            *(self._sender.send(receiver, note) for receiver in receivers.values())
        )
        return dict(zip(receivers, answers, strict=True))

    def readings(self) -> Iterator[Reading]:
        """How alerts do, as metrics."""
        phases = Counter((alert.phase.value, alert.severity) for alert in self._alerts.values())
        if self._leads:
            for phase in (Phase.PENDING, Phase.FIRING):
                for severity in ("page", "ticket"):
                    count = phases[(phase.value, severity)]
                    yield Reading(name="fairlead_alerts", value=count, labels=(phase.value, severity))
        for (receiver, outcome), count in self._delivery.counts.items():
            yield Reading(name="fairlead_alert_notifications_total", value=count, labels=(receiver, outcome))
        for kind, count in self._trouble.items():
            yield Reading(name="fairlead_alert_trouble_total", value=count, labels=(kind,))
