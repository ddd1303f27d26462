"""What `fairlead signals` prints."""

from __future__ import annotations

from typing import Any

import pytest

from fairlead.cli import signals
from fairlead.cli.main import main
from fairlead.cli.signals import as_text, windows_as_text

WINDOW: dict[str, Any] = {
    "model": "gpt-5", "signal": "prompt", "number": 3, "alarm": True, "score": 1.4, "p_value": 0.0003,
    "alpha": 0.0028, "tests": {"mmd": 0.0001}, "began_at": 1_700_000_000.0, "ended_at": 1_700_003_000.0,
    "compared_at": 1_700_003_600.0, "requests": 488, "reference": 1500, "matched": "hour of week",
    "topic": "", "share": 0.21, "before": 0.004,
    "examples": [{"id": "req_1", "text": "My knee hurts"}, {"id": "req_2", "text": ""}],
}  # fmt: skip
STABLE = WINDOW | {"alarm": False, "signal": "behaviour", "p_value": 0.5, "topic": "refused", "examples": []}
VIEW: dict[str, Any] = {
    "enabled": True,
    "waiting": 0,
    "counts": [{"model": "gpt-5", "what": "refusal", "kind": "inability", "count": 1200}],
    "scores": [{"model": "gpt-5", "what": "grounding", "answers": 40, "mean": 0.8125}],
    "learning": [{"model": "gpt-5", "signal": "answer", "requests": 310}],
    "last": [],
}


def test_each_kind_of_number_has_its_table() -> None:
    assert as_text(VIEW) == (
        "MODEL  WHAT     KIND       COUNT\n"
        "gpt-5  refusal  inability  1,200\n"
        "\n"
        "MODEL  WHAT       ANSWERS   MEAN\n"
        "gpt-5  grounding       40  0.812\n"
        "\n"
        "MODEL  SIGNAL  WAITING\n"
        "gpt-5  answer      310\n"
    )


def test_an_alarm_names_the_requests_behind_it() -> None:
    table, _, behind = windows_as_text([WINDOW, STABLE]).partition("\n\n")

    assert [line.split() for line in table.splitlines()] == [
        ["MODEL", "SIGNAL", "COMPARED", "VERDICT", "P", "LEVEL", "REQUESTS", "GREW", "FROM", "TO"],
        [
            "gpt-5", "prompt", "2023-11-14T23:13:20Z", "DRIFT", "0.0003", "0.0028", "488",
            "a", "group", "of", "requests", "0.4%", "21.0%",
        ],
        [
            "gpt-5", "behaviour", "2023-11-14T23:13:20Z", "stable", "0.5", "0.0028", "488",
            "refused", "0.4%", "21.0%",
        ],
    ]  # fmt: skip
    assert behind == "gpt-5, prompt, 2023-11-14T23:13:20Z:\n  req_1  My knee hurts\n  req_2\n"


def _answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[str]:
    asked: list[str] = []

    def ask(url: str, path: str, body: Any = None) -> Any:
        asked.append(path)
        return answer

    monkeypatch.setattr(signals, "ask", ask)
    return asked


def test_only_alarms(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = _answering(monkeypatch, {"data": [STABLE, WINDOW]})

    assert main(["signals", "drift", "--alarms", "--model", "a b", "--limit", "5"]) == 0

    assert asked == ["/admin/v1/signals/windows?limit=5&model=a+b"]
    out = capsys.readouterr().out
    assert "DRIFT" in out
    assert "stable" not in out


@pytest.mark.parametrize(
    ("arguments", "answer", "words"),
    [
        (["show"], VIEW | {"enabled": False}, "turned off"),
        (["show"], VIEW | {"counts": [], "scores": [], "learning": []}, "nothing was sampled"),
        (["drift"], {"data": []}, "nothing was compared"),
    ],
)
def test_nothing_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    answer: dict[str, Any],
    words: str,
) -> None:
    _answering(monkeypatch, answer)

    assert main(["signals", *arguments]) == 0

    captured = capsys.readouterr()
    assert words in captured.out + captured.err


def test_json_is_as_it_came(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _answering(monkeypatch, VIEW)

    assert main(["signals", "show", "--json"]) == 0

    assert '"grounding"' in capsys.readouterr().out
