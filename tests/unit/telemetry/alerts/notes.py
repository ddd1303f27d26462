"""Notifications for the tests of receivers."""

from __future__ import annotations

from typing import Any

from fairlead.telemetry.alerts.alert import AlertText, Notification

NOW = 1_700_000_000.0


def alert_text(**fields: Any) -> AlertText:
    defaults: dict[str, Any] = {
        "fingerprint": "errors/page/model=small",
        "rule": "errors",
        "severity": "page",
        "status": "firing",
        "labels": {"model": "small"},
        "effect": "50.0% of 40 requests failed in 5 min",
        "value": 5.0,
        "objective": 2.0,
        "since_at": NOW - 60,
        "examples": ("req_1", "req_2"),
        "top": {"tenant": "acme (2 of 2)"},
        "command": "fairlead explain req_1",
    }
    return AlertText(**{**defaults, **fields})


def note(*alerts: AlertText, **fields: Any) -> Notification:
    defaults: dict[str, Any] = {
        "id": "0123456789",
        "group": "rule=errors",
        "status": "firing",
        "at": NOW,
        "alerts": alerts or (alert_text(),),
    }
    return Notification(**{**defaults, **fields})


def resolved() -> Notification:
    return note(alert_text(status="resolved", ended_at=NOW), status="resolved")
