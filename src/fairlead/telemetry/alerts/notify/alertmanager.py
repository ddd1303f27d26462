"""Prometheus' Alertmanager, API v2: single alerts, which it groups and silences itself.

Alertmanager takes an alert for over once its `endsAt` has passed, so what
fires is sent again and again, each time with an end some turns ahead: a
gateway that dies does not leave its alerts behind for ever.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.alert import AlertText, Notification
from fairlead.telemetry.alerts.notify.post import Post, Settings, bearer

_PATH: Final = "/api/v2/alerts"
_TURNS: Final = 5


def render(notification: Notification, settings: Settings, now: float) -> Post:
    """A list of alerts under the base URL's `/api/v2/alerts`."""
    alerts = [_alert(alert, notification, settings, now) for alert in notification.alerts]
    return Post(
        url=settings.url.rstrip("/") + _PATH,
        body=msgspec.json.encode(alerts),
        headers=bearer(settings.token),
    )


def _alert(alert: AlertText, notification: Notification, settings: Settings, now: float) -> dict[str, Any]:
    ends_at = alert.ended_at if alert.ended_at is not None else now + _TURNS * settings.resend_s
    if alert.status == "test":
        ends_at = now + 60.0
    annotations = {"summary": alert.effect, "description": text.paragraph(alert)}
    if alert.examples:
        annotations["examples"] = " ".join(alert.examples)
    if alert.command:
        annotations["command"] = alert.command
    found: dict[str, Any] = {
        "labels": {**alert.labels, "alertname": alert.rule, "severity": alert.severity, "source": "fairlead"},
        "annotations": annotations,
        "startsAt": text.moment(alert.since_at),
        # It refuses an end before the beginning, which a clock that was set back would give.
        "endsAt": text.moment(max(ends_at, alert.since_at + 0.001)),
    }
    if notification.dashboard_url:
        found["generatorURL"] = notification.dashboard_url
    return found
