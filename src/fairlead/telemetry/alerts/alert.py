"""One alert, and what a notification says of it: data that is persisted and sent."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.telemetry.alerts.state import Phase, State


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Requests behind an alert."""

    examples: tuple[str, ...] = ()
    """Ids of up to five requests, the worst first."""
    top: dict[str, str] = {}
    """The model, tenant and target that most of the affected requests have in common."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that is not inactive. Times are Unix seconds, for people; nothing is decided by them."""

    fingerprint: str
    rule: str
    severity: str
    labels: dict[str, str]
    state: State
    value: float
    objective: float
    effect: str
    window_s: float
    since_at: float
    """When it began to hold."""
    fired_at: float | None = None
    resolved_at: float | None = None
    evidence: Evidence = Evidence()
    missing_s: float = 0.0
    """How long there has been nothing to judge it by."""

    @property
    def phase(self) -> Phase:
        return self.state.phase

    @property
    def all_labels(self) -> dict[str, str]:
        """Its labels with `rule` and `severity`, as silences and groups see them."""
        return {**self.labels, "rule": self.rule, "severity": self.severity}


class AlertText(msgspec.Struct, frozen=True, kw_only=True):
    """One alert in a notification."""

    fingerprint: str
    rule: str
    severity: str
    status: Literal["firing", "resolved", "test"]
    labels: dict[str, str]
    effect: str
    value: float
    objective: float
    since_at: float
    ended_at: float | None = None
    examples: tuple[str, ...] = ()
    top: dict[str, str] = {}
    command: str = ""
    """What to run to look further."""


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver is told at once, whatever it speaks."""

    id: str
    """The same when it is sent again: a receiver may drop what it has."""
    group: str
    status: Literal["firing", "resolved", "test"]
    at: float
    alerts: tuple[AlertText, ...]
    dashboard_url: str | None = None

    @property
    def severity(self) -> str:
        """The most urgent of its alerts."""
        return "page" if any(alert.severity == "page" for alert in self.alerts) else "ticket"
