"""`fairlead alerts`: what is asked of the gateway and what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fairlead.cli import alerts
from fairlead.cli.main import main

ALERT = {
    "fingerprint": "f", "rule": "outage", "severity": "page", "labels": {"target": "lab/\x1b[2J"},
    "state": "firing", "value": 1.0, "objective": 0.5, "effect": "its circuit breaker is open",
    "since_at": 1_700_000_000.0, "fired_at": None, "resolved_at": None, "silenced_by": None,
    "examples": [], "top": {}, "command": "",
}  # fmt: skip
DEAD = {
    "id": "d", "receiver": "pager", "title": "1 alert firing", "created_at": 1_700_000_000.0, "attempts": 9,
    "error": "busy",
}  # fmt: skip


class Api:
    """Stands in for a gateway."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
        self.asked: list[tuple[str, object, str | None]] = []
        self.answer = answer
        monkeypatch.setattr(alerts, "ask", self.ask)

    def ask(self, url: str, path: str, body: object = None, *, method: str | None = None) -> Any:
        self.asked.append((path, body, method))
        return self.answer


def test_alerts_are_listed_and_names_do_not_move_the_cursor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = Api(monkeypatch, {"data": [ALERT], "waiting": 0, "dead": [DEAD]})

    assert main(["alerts", "list", "--state", "firing"]) == 0

    captured = capsys.readouterr()
    assert api.asked == [("/admin/v1/alerts?state=firing", None, None)]
    assert "firing  page" in captured.out
    assert "target=lab/?[2J" in captured.out
    assert "1 notifications were given up" in captured.err


def test_dead_notifications_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Api(monkeypatch, {"data": [], "waiting": 2, "dead": [DEAD]})

    assert main(["alerts", "list", "--dead"]) == 0

    captured = capsys.readouterr()
    assert captured.out.splitlines()[1].split() == [
        "2023-11-14T22:13:20Z", "pager", "9", "1", "alert", "firing", "busy",
    ]  # fmt: skip
    assert "2 are on their way" in captured.err


def test_a_test_fails_when_a_receiver_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    receivers = [
        {"receiver": "good", "sent": True, "status": 200, "detail": ""},
        {"receiver": "bad", "sent": False, "status": 404, "detail": "answered 404"},
    ]
    rule = {"rule": "errors", "severity": "page", "labels": {}, "holds": None, "effect": "nothing yet"}
    Api(monkeypatch, {"receivers": receivers, "evaluated_at": 1.0, "rules": [rule]})

    assert main(["alerts", "test"]) == 1

    captured = capsys.readouterr()
    assert "answered 404" in captured.out
    assert "not known" in captured.out
    assert "not taken by bad" in captured.err


def test_a_silence_is_made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    api = Api(monkeypatch, {"id": "abc", "until": 1_700_000_000.0})
    words = ["rule=outage", "target=lab/*", "--for", "2h", "--comment", "maintenance", "--author", "me"]

    assert main(["alerts", "silence", *words]) == 0

    ((path, body, _),) = api.asked
    assert path == "/admin/v1/silences"
    assert body == {
        "matchers": {"rule": "outage", "target": "lab/*"},
        "duration_s": 7200.0,
        "comment": "maintenance",
        "author": "me",
    }
    assert capsys.readouterr().out == "abc\n"


def test_a_silence_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api(monkeypatch, {"done": True})

    assert main(["alerts", "silence", "--end", "a/b"]) == 0
    assert api.asked == [("/admin/v1/silences/a%2Fb", None, "DELETE")]


def test_silences_are_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    silence = {
        "id": "abc", "matchers": {"rule": "outage"}, "until": 1_700_000_000.0, "comment": "why",
        "author": "me", "created_at": 0.0, "active": True,
    }  # fmt: skip
    Api(monkeypatch, {"data": [silence]})

    assert main(["alerts", "silence"]) == 0
    assert "rule=outage" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["rule"], ["=x"], ["rule=outage"]])
def test_a_silence_needs_matchers_and_a_reason(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Api(monkeypatch, {})
    reason = ["--comment", "x"] if words != ["rule=outage"] else []

    assert main(["alerts", "silence", *words, *reason]) == 2


def test_rules_and_dashboards_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "fairlead.yaml"
    config.write_text("alerts: {rules: {mine: {kind: outage}}}\n")
    rules, boards = tmp_path / "rules.yml", tmp_path / "boards"
    words = ["--prometheus", str(rules), "--grafana", str(boards), "--config", str(config)]

    assert main(["alerts", "export", *words]) == 0

    (group,) = yaml.safe_load(rules.read_text())["groups"]
    assert group["name"] == "fairlead-mine"
    assert sorted(path.name for path in boards.iterdir()) == ["fairlead-gateway.json", "fairlead-users.json"]
    assert json.loads((boards / "fairlead-users.json").read_text())["uid"] == "fairlead-users"


def test_there_must_be_something_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["alerts", "export"]) == 2
    config = tmp_path / "fairlead.yaml"
    config.write_text("alerts: {}\n")
    assert main(["alerts", "export", "--prometheus", "/proc/none/x", "--config", str(config)]) == 5
