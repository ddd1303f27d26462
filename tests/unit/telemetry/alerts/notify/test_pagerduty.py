"""PagerDuty's events."""

from __future__ import annotations

import json

from tests.unit.telemetry.alerts.notes import NOW, alert_text, note, resolved

from fairlead.telemetry.alerts.notify.pagerduty import URL, dedup_key, render
from fairlead.telemetry.alerts.notify.post import Settings

SETTINGS = Settings(url=URL, routing_key="R")


def test_what_fires_triggers_and_its_end_resolves_the_same_incident() -> None:
    trigger = json.loads(render(note(), SETTINGS, NOW).body)
    resolve = json.loads(render(resolved(), SETTINGS, NOW).body)

    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"]
    assert trigger["routing_key"] == resolve["routing_key"] == "R"
    assert "payload" not in resolve


def test_the_payload_has_what_the_api_requires() -> None:
    payload = json.loads(render(note(), SETTINGS, NOW).body)["payload"]

    assert payload["summary"] == "1 alert firing: errors (model=small)"
    assert payload["source"] == "fairlead"
    assert payload["severity"] == "critical"
    assert payload["timestamp"] == "2023-11-14T22:13:20.000Z"
    assert "errors (model=small)" in payload["custom_details"]


def test_a_ticket_is_a_warning_and_a_test_is_information() -> None:
    ticket = note(alert_text(severity="ticket"))
    test = note(alert_text(severity="page"), status="test")

    assert json.loads(render(ticket, SETTINGS, NOW).body)["payload"]["severity"] == "warning"
    assert json.loads(render(test, SETTINGS, NOW).body)["payload"]["severity"] == "info"


def test_groups_have_incidents_of_their_own() -> None:
    assert dedup_key(note()) != dedup_key(note(group="rule=outage"))
    assert len(dedup_key(note(group="x" * 10_000))) <= 255
