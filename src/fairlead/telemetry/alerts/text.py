"""Alerts in words. Pure."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Iterable
from typing import Literal

from fairlead.telemetry.alerts.alert import Alert, AlertText, Notification


def of_alert(alert: Alert, status: Literal["firing", "resolved"]) -> AlertText:
    """What a notification says of an alert."""
    return AlertText(
        fingerprint=alert.fingerprint,
        rule=alert.rule,
        severity=alert.severity,
        status=status,
        labels=alert.labels,
        effect=alert.effect,
        value=alert.value,
        objective=alert.objective,
        since_at=alert.since_at,
        ended_at=alert.resolved_at if status == "resolved" else None,
        examples=alert.evidence.examples,
        top=alert.evidence.top,
        command=command(alert),
    )


def command(alert: Alert) -> str:
    """The command that shows the first request behind an alert, or requests like those it is about."""
    if alert.evidence.examples:
        return f"fairlead explain {alert.evidence.examples[0]}"
    if "limit" in alert.labels:
        return f"fairlead limits show {shlex.quote(alert.labels['limit'].partition('/')[0])}"
    if "signal" in alert.labels:
        model = alert.labels.get("model")
        return "fairlead signals drift --alarms" + (f" --model {shlex.quote(model)}" if model else "")
    words = ["fairlead requests list --since 1h"]
    for label in ("tenant", "model", "target"):
        value = alert.labels.get(label)
        if value:
            words.append(f"--{label} {shlex.quote(value)}")
    return " ".join(words)


def title(notification: Notification) -> str:
    """One line: `2 alerts firing: slow-first-token (model=gpt-5)`."""
    firing = [alert for alert in notification.alerts if alert.status != "resolved"]
    shown = firing or list(notification.alerts)
    names = sorted({name(alert) for alert in shown})
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    count = "1 alert" if len(shown) == 1 else f"{len(shown)} alerts"
    return f"{count} {'resolved' if not firing else notification.status}: {listed}"


def name(alert: AlertText | Alert) -> str:
    """An alert's rule and labels: `outage (target=lab/small)`."""
    labels = ", ".join(f"{label}={value}" for label, value in sorted(alert.labels.items()))
    return f"{alert.rule} ({labels})" if labels else alert.rule


def paragraph(alert: AlertText) -> str:
    """An alert in a few lines."""
    lines = [f"{alert.status} {alert.severity}: {name(alert)}", alert.effect]
    times = f"since {moment(alert.since_at)}"
    if alert.ended_at is not None:
        times += f" until {moment(alert.ended_at)}"
    lines.append(times)
    if alert.top:
        lines.append("most affected: " + ", ".join(_pairs(alert.top.items())))
    if alert.examples:
        lines.append("examples: " + " ".join(alert.examples))
    if alert.command:
        lines.append(f"look further: {alert.command}")
    return "\n".join(lines)


def moment(at: float) -> str:
    """Unix seconds in RFC 3339, UTC."""
    found = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return found.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pairs(items: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{key} {value}" for key, value in items]
