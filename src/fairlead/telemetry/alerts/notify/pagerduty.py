"""PagerDuty's Events API v2: one incident for each group of alerts.

The group's name is the `dedup_key`: what goes on is added to the incident that
is open, whoever sends it, and the group's end resolves it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.notify.post import Post, Settings

URL: Final = "https://events.pagerduty.com/v2/enqueue"
_LONGEST_SUMMARY: Final = 1024
_MOST_ALERTS: Final = 20
_SEVERITIES: Final = {"page": "critical", "ticket": "warning"}


def render(notification: Notification, settings: Settings, now: float) -> Post:
    """A `trigger` while anything of the group fires, then a `resolve`."""
    event: dict[str, Any] = {
        "routing_key": settings.routing_key,
        "event_action": "resolve" if notification.status == "resolved" else "trigger",
        "dedup_key": dedup_key(notification),
    }
    if event["event_action"] == "trigger":
        shown = [alert for alert in notification.alerts if alert.status != "resolved"][:_MOST_ALERTS]
        event["client"] = "Fairlead"
        event["payload"] = {
            "summary": text.title(notification)[:_LONGEST_SUMMARY],
            "source": "fairlead",
            "severity": "info" if notification.status == "test" else _SEVERITIES[notification.severity],
            "timestamp": text.moment(notification.at),
            "group": notification.group,
            "custom_details": {text.name(alert): text.paragraph(alert) for alert in shown},
        }
        if notification.dashboard_url:
            event["client_url"] = notification.dashboard_url
    return Post(url=settings.url, body=msgspec.json.encode(event))


def dedup_key(notification: Notification) -> str:
    """The name of the group's incident; a test has one of its own. At most 255 characters."""
    group = notification.id if notification.status == "test" else notification.group
    return "fairlead:" + hashlib.sha256(group.encode()).hexdigest()[:40]
