"""Alerts in words."""

from __future__ import annotations

import msgspec
from tests.unit.telemetry.alerts.notes import NOW, alert_text, note, resolved

from fairlead.telemetry.alerts import text
from fairlead.telemetry.alerts.alert import Alert, Evidence
from fairlead.telemetry.alerts.state import State

ALERT = Alert(
    fingerprint="f", rule="errors", severity="page", labels={"model": "a b; rm -rf /"}, state=State(),
    value=1.0, objective=1.0, effect="bad", window_s=60.0, since_at=NOW,
)  # fmt: skip


def test_a_paragraph_says_all_there_is() -> None:
    lines = text.paragraph(alert_text()).splitlines()

    assert lines == [
        "firing page: errors (model=small)",
        "50.0% of 40 requests failed in 5 min",
        "since 2023-11-14T22:12:20.000Z",
        "most affected: tenant acme (2 of 2)",
        "examples: req_1 req_2",
        "look further: fairlead explain req_1",
    ]


def test_titles_count_what_fires() -> None:
    assert text.title(resolved()) == "1 alert resolved: errors (model=small)"
    many = note(*(alert_text(labels={"model": name}) for name in "abcde"), alert_text(status="resolved"))
    assert text.title(many) == (
        "5 alerts firing: errors (model=a), errors (model=b), errors (model=c) and 2 more"
    )


def test_a_command_can_be_pasted_whatever_the_names() -> None:
    assert text.command(ALERT) == "fairlead requests list --since 1h --model 'a b; rm -rf /'"
    with_example = msgspec.structs.replace(ALERT, evidence=Evidence(examples=("req_1",)))
    assert text.command(with_example) == "fairlead explain req_1"
    drift = msgspec.structs.replace(ALERT, labels={"signal": "prompt", "model": "m"})
    assert text.command(drift) == "fairlead signals drift --alarms --model m"
    limit = msgspec.structs.replace(ALERT, labels={"limit": "acme/usd:day"})
    assert text.command(limit) == "fairlead limits show acme"
