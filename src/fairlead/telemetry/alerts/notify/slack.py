"""Slack's incoming webhooks.

Slack reads `&`, `<` and `>` as markup (also of links and mentions such as
`<!channel>`), so names from outside are escaped as its documentation says.
Texts are cut to what a section block may hold.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.notify.post import Post, Settings

_LONGEST: Final = 2900
"""Characters of one block; Slack takes 3000."""
_MOST_ALERTS: Final = 10


def render(notification: Notification, settings: Settings, now: float) -> Post:
    """A line for the notification's preview, and a block for each alert."""
    title = escaped(text.title(notification))
    blocks: list[dict[str, Any]] = [_section(f"*{title}*")]
    blocks.extend(_section(escaped(text.paragraph(alert))) for alert in notification.alerts[:_MOST_ALERTS])
    more = len(notification.alerts) - _MOST_ALERTS
    if more > 0:
        blocks.append(_section(f"and {more} more; `fairlead alerts list` shows all"))
    if notification.dashboard_url:
        blocks.append(_section(f"<{notification.dashboard_url}|dashboard>"))
    return Post(url=settings.url, body=msgspec.json.encode({"text": title, "blocks": blocks}))


def escaped(plain: str) -> str:
    """Text without markup."""
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(markdown: str) -> dict[str, Any]:
    cut = markdown if len(markdown) <= _LONGEST else markdown[: _LONGEST - 1] + "…"
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut}}
