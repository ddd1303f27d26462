"""`fairlead simulate fairness`."""

from __future__ import annotations

import json

import pytest

from fairlead.cli.main import main


def test_it_prints_a_table_its_legend_and_the_promises(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "fairness", "--workload", "overload", "--policy", "gateway, tuned"]) == 0
    out = capsys.readouterr().out
    assert "overload: Two clients" in out
    assert "ratio      most over least" in out
    assert "kept    overload: throughput >= 99 %" in out
    assert "RPM 20" not in out


def test_json_has_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--workload", "overload", "--workload", "increase", "--policy", "VTC", "--policy", "FCFS"]
    assert main(["simulate", "fairness", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["workload"], row["policy"]) for row in found["rows"]] == [
        ("overload", "FCFS"),
        ("overload", "VTC"),
        ("increase", "FCFS"),
        ("increase", "VTC"),
    ]
    assert found["promises"] == []


def test_another_seed_changes_what_is_random_only(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(workload: str, seed: str) -> str:
        assert main(["simulate", "fairness", "--workload", workload, "--policy", "VTC", "--seed", seed]) == 0
        return capsys.readouterr().out

    assert printed("overload", "1") == printed("overload", "2")
    assert printed("poisson_short_long", "1") != printed("poisson_short_long", "2")


def test_a_workload_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "fairness", "--workload", "overlod"]) == 2
    assert "did you mean `overload`?" in capsys.readouterr().err
