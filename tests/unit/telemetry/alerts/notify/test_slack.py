"""What Slack is sent."""

from __future__ import annotations

import json

from tests.unit.telemetry.alerts.notes import NOW, alert_text, note

from fairlead.telemetry.alerts.notify.post import Settings
from fairlead.telemetry.alerts.notify.slack import render

SETTINGS = Settings(url="https://hooks.slack.com/services/T/B/X")


def test_names_from_outside_are_no_markup() -> None:
    post = render(note(alert_text(labels={"model": "<!channel> & <https://evil|click>"})), SETTINGS, NOW)

    assert b"<!channel>" not in post.body
    assert b"&lt;!channel&gt; &amp;" in post.body


def test_each_alert_is_a_block_and_there_are_not_too_many() -> None:
    alerts = tuple(alert_text(fingerprint=str(number)) for number in range(30))
    document = json.loads(render(note(*alerts), SETTINGS, NOW).body)

    assert len(document["blocks"]) == 12
    assert "and 20 more" in document["blocks"][-1]["text"]["text"]


def test_texts_are_cut_to_what_slack_takes() -> None:
    document = json.loads(render(note(alert_text(effect="x" * 9000)), SETTINGS, NOW).body)

    assert all(len(block["text"]["text"]) <= 3000 for block in document["blocks"])


def test_a_dashboard_is_linked() -> None:
    body = render(note(dashboard_url="https://grafana.example.com/d/1"), SETTINGS, NOW).body

    assert b"<https://grafana.example.com/d/1|dashboard>" in body
