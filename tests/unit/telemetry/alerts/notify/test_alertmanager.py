"""What Alertmanager is sent."""

from __future__ import annotations

import datetime
import json

from tests.unit.telemetry.alerts.notes import NOW, alert_text, note, resolved

from fairlead.telemetry.alerts.notify.alertmanager import render
from fairlead.telemetry.alerts.notify.post import Settings

SETTINGS = Settings(url="http://alertmanager:9093/", token="t", resend_s=60)


def ends_at(document: list[dict[str, str]]) -> float:
    return datetime.datetime.fromisoformat(document[0]["endsAt"]).timestamp()


def test_it_is_posted_where_version_two_listens() -> None:
    post = render(note(), SETTINGS, NOW)

    assert post.url == "http://alertmanager:9093/api/v2/alerts"
    assert post.headers == ((b"authorization", b"Bearer t"),)


def test_what_fires_ends_some_turns_ahead() -> None:
    document = json.loads(render(note(), SETTINGS, NOW).body)

    assert ends_at(document) == NOW + 300
    assert document[0]["labels"] == {
        "alertname": "errors",
        "severity": "page",
        "source": "fairlead",
        "model": "small",
    }
    assert document[0]["annotations"]["examples"] == "req_1 req_2"


def test_what_is_resolved_has_ended() -> None:
    assert ends_at(json.loads(render(resolved(), SETTINGS, NOW).body)) == NOW


def test_an_end_is_never_before_the_beginning() -> None:
    text = alert_text(status="resolved", since_at=NOW, ended_at=NOW - 3600)
    document = json.loads(render(note(text, status="resolved"), SETTINGS, NOW).body)

    assert document[0]["endsAt"] > document[0]["startsAt"]
