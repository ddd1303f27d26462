"""Receivers of notifications: what each is sent (pure), and the sending.

`RENDERERS` is the one table of what receivers speak.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.notify import alertmanager, pagerduty, slack, webhook
from fairlead.telemetry.alerts.notify.post import Post, Settings

RENDERERS: Final[dict[str, Callable[[Notification, Settings, float], Post]]] = {
    "webhook": webhook.render,
    "slack": slack.render,
    "pagerduty": pagerduty.render,
    "alertmanager": alertmanager.render,
}
"""By type of receiver: notification, its settings and the time (Unix seconds) to what is posted."""
