"""`fairlead simulate cache`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.cache.pairs import pairs

from fairlead.cli.main import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    lines = [json.dumps({"a": pair.a, "b": pair.b, "same": pair.same, "kind": "x"}) for pair in pairs(300)]
    path.write_text("\n".join([*lines, "", ""]))
    return path


def test_it_prints_a_row_for_each_policy(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "cache", "--pairs", str(file)]) == 0
    out = capsys.readouterr().out
    assert "300 pairs" in out
    assert next(line for line in out.splitlines() if line.startswith("static")).startswith("static 0.80")
    assert sum(line.startswith("verified") and "learning" in line for line in out.splitlines()) == 3


def test_json_holds_the_same(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--max-false-hit-rate", "0.1", "--replay", "--json"]
    assert main(["simulate", "cache", "--pairs", str(file), *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["mode"], found["pairs"]) == ("replay", 300)
    assert [row["policy"] for row in found["rows"]][-1] == "verified 10.0%"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"a": "x", "b": "y", "same": true}\n{"a": "x"}', "line 2: Object missing required field `b`"),
        ('{"a": "x", "b": "y", "same": "yes"}', "line 1: Expected `bool`"),
        ('{"a": ', "line 1: Input data was truncated"),
        ("\n", "holds no pairs"),
        ('{"a": "' + "x" * 100_001 + '", "b": "y", "same": true}', "more than 100,000 characters"),
    ],
)
def test_a_line_that_is_no_pair_is_named(
    content: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(content)
    assert main(["simulate", "cache", "--pairs", str(path)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--max-false-hit-rate", "0"], ["--max-false-hit-rate", "nan"], ["--audit-rate", "2"]]
)
def test_rates_lie_between_0_and_1(words: list[str], file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "cache", "--pairs", str(file), *words]) == 2
    assert "between 0 and 1" in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "cache", "--pairs", "/nowhere/pairs.jsonl"]) == 2
    assert "cannot read" in capsys.readouterr().err
