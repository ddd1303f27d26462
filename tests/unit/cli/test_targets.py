"""Targets are listed for a terminal, and what an upstream said is only shown there."""

import argparse
import json
from typing import Any

import pytest

from fairlead.cli import targets

LISTED = [
    {"target": "a/gpt", "state": "closed", "in_flight": 3, "latency_ms": 12.6, "last_failure": None},
    {
        "target": "b/*",
        "state": "open",
        "in_flight": 0,
        "latency_ms": 0.0,
        "last_failure": {"kind": "server_error", "message": "it\nsaid \x1b]0;owned\x07no", "status": 500},
    },
]


class Api:
    """Stands for the control API."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __call__(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return {"data": LISTED}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    made = Api()
    monkeypatch.setattr(targets, "ask", made)
    return made


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    targets.add_parser(parser.add_subparsers())
    args = parser.parse_args(["targets", *words])
    status: int = args.run(args)
    return status


def test_a_table_has_one_line_for_each_target(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["TARGET", "STATE"], ["a/gpt", "closed"], ["b/*", "open"]]
    assert lines[1].split()[2:] == ["3", "13", "ms"]
    assert lines[2].split()[2:4] == ["0", "-"]
    assert api.asked == [("http://127.0.0.1:8080", "/admin/v1/targets")]


@pytest.mark.usefixtures("api")
def test_a_terminal_does_not_obey_an_upstreams_words(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.count("\n") == 3
    assert "said" in out


@pytest.mark.usefixtures("api")
def test_json_is_the_whole_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    assert json.loads(capsys.readouterr().out) == LISTED


def test_a_breaker_is_closed_by_name(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--url", "http://gateway:1", "--reset", "b/*") == 0
    assert api.asked == [("http://gateway:1", "/admin/v1/targets/reset", {"target": "b/*"})]
    assert "b/* is closed" in capsys.readouterr().out
