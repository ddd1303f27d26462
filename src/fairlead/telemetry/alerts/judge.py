"""One turn of the holder of the lease: findings to alerts to notifications. Pure.

Facts and elapsed times in, what to keep and what to send out; the engine reads
and writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from fairlead.config.alert_options import AlertReceiver
from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.alert import Alert, Notification
from fairlead.telemetry.alerts.grouping import Due, Pace, Told, group_key, plan
from fairlead.telemetry.alerts.rules import Finding, Rule
from fairlead.telemetry.alerts.silence import Silence, covering
from fairlead.telemetry.alerts.state import Phase, State, Timing, step

RESEND_S: Final = 60.0
"""How often Alertmanager is told what fires; it forgets otherwise."""
_PATIENCE_S: Final = 300.0
"""How long an alert stands without anything to judge it by; then it is over."""


def stepped(
    rules: Mapping[str, Rule],
    alerts: Mapping[str, Alert],
    findings: Iterable[Finding],
    elapsed_s: float,
    now: float,
) -> dict[str, Alert]:
    """The alerts after this turn; what is inactive is left out. `now` in Unix seconds."""
    found = {finding.fingerprint: finding for finding in findings}
    after: dict[str, Alert] = {}
    for fingerprint in found.keys() | alerts.keys():
        alert, finding = alerts.get(fingerprint), found.get(fingerprint)
        rule = rules.get(alert.rule if alert is not None else found[fingerprint].rule)
        holds, missing_s = _holds(rule, alert, finding, elapsed_s)
        options = rule.options if rule is not None else None
        timing = Timing(
            for_s=options.for_s if options else 0.0, keep_s=options.keep_firing_s if options else 0.0
        )
        before = alert.state if alert is not None else State()
        state = step(before, holds, elapsed_s, timing)
        if state.phase is not Phase.INACTIVE:
            after[fingerprint] = _after(alert, finding, state, missing_s, now)
    return after


def _holds(
    rule: Rule | None, alert: Alert | None, finding: Finding | None, elapsed_s: float
) -> tuple[bool | None, float]:
    """Whether an alert's condition holds, and how long that has not been known."""
    if finding is not None and finding.holds is not None:
        return finding.holds, 0.0
    missing_s = (alert.missing_s if alert is not None else 0.0) + elapsed_s
    if rule is None or rule.options.kind == "limit":
        return False, missing_s  # the rule is gone, or says by silence that all is well
    return (None if missing_s < _PATIENCE_S else False), missing_s


def _after(alert: Alert | None, finding: Finding | None, state: State, missing_s: float, now: float) -> Alert:
    if alert is None:
        assert finding is not None, "an alert begins with a finding"
        alert = Alert(
            fingerprint=finding.fingerprint,
            rule=finding.rule,
            severity=finding.severity,
            labels=finding.labels,
            state=state,
            value=finding.value,
            objective=finding.objective,
            effect=finding.effect,
            window_s=finding.window_s,
            since_at=now,
        )
    again = alert.phase is Phase.RESOLVED and state.phase in (Phase.PENDING, Phase.FIRING)
    fires = state.phase is Phase.FIRING and alert.phase is not Phase.FIRING
    ends = state.phase is Phase.RESOLVED and alert.phase is not Phase.RESOLVED
    changes: dict[str, object] = {"state": state, "missing_s": missing_s}
    if finding is not None and finding.holds:
        # What it says while it holds is what its end should repeat.
        changes.update(
            value=finding.value,
            objective=finding.objective,
            effect=finding.effect,
            window_s=finding.window_s,
        )
    if again:
        changes.update(since_at=now, fired_at=None, resolved_at=None)
    if fires or (state.phase is Phase.FIRING and alert.fired_at is None):
        changes.update(fired_at=now, resolved_at=None)
    if ends:
        changes.update(resolved_at=now)
    return msgspec.structs.replace(alert, **changes)


def planned(
    receivers: Mapping[str, AlertReceiver],
    group_by: Sequence[str],
    pace: Pace,
    alerts: Mapping[str, Alert],
    told: Mapping[tuple[str, str], Told],
    silences: Sequence[Silence],
    elapsed_s: float,
    now: float,
) -> tuple[dict[tuple[str, str], Told], list[tuple[str, str, Due]]]:
    """What was told to whom after this turn, and what is due: (receiver, group, what)."""
    after: dict[tuple[str, str], Told] = {}
    due: list[tuple[str, str, Due]] = []
    for name, receiver in receivers.items():
        firing: dict[str, list[str]] = {}
        hushed: dict[str, list[str]] = {}
        for alert in alerts.values():
            wanted = receiver.severities is None or alert.severity in receiver.severities
            if alert.phase is Phase.FIRING and wanted:
                quiet = covering(silences, alert.all_labels, now) is not None
                key = group_key(group_by, alert.all_labels)
                (hushed if quiet else firing).setdefault(key, []).append(alert.fingerprint)
        own = pace
        if receiver.type == "alertmanager":
            own = Pace(wait_s=0.0, repeat_s=min(pace.repeat_s, RESEND_S))
        groups = {group for other, group in told if other == name}
        for group in sorted(groups | firing.keys() | hushed.keys()):
            before = told.get((name, group))
            kept, what = plan(
                before, firing.get(group, ()), hushed.get(group, ()), elapsed_s if before else 0.0, own
            )
            if kept is not None:
                after[(name, group)] = kept
            if what is not None:
                due.append((name, group, what))
    return after, due


def notification(
    due: Due,
    group: str,
    alerts: Mapping[str, Alert],
    before: Mapping[str, Alert],
    *,
    notification_id: str,
    now: float,
    dashboard_url: str | None,
) -> Notification:
    """What a receiver is told. `before` are the alerts of the turn before, for those that are gone."""
    texts = [text.of_alert(alerts[fingerprint], "firing") for fingerprint in due.firing]
    for fingerprint in due.resolved:
        alert = alerts.get(fingerprint) or before.get(fingerprint)
        if alert is not None:
            if alert.resolved_at is None:
                alert = msgspec.structs.replace(alert, resolved_at=now)
            texts.append(text.of_alert(alert, "resolved"))
    return Notification(
        id=notification_id,
        group=group,
        status="firing" if due.firing else "resolved",
        at=now,
        alerts=tuple(texts),
        dashboard_url=dashboard_url,
    )


def merged(older: Notification, newer: Notification) -> Notification:
    """The newer of two notifications of a group, with the ends that only the older one tells."""
    told = {alert.fingerprint for alert in newer.alerts}
    ends = tuple(
        alert for alert in older.alerts if alert.status == "resolved" and alert.fingerprint not in told
    )
    return msgspec.structs.replace(newer, alerts=(*newer.alerts, *ends)) if ends else newer
