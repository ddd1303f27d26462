"""What `fairlead usage recompute` and `revisions` print and change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cli.test_usage import fill
from tests.unit.telemetry.records import record

from fairlead.cli.main import main
from fairlead.types import Attempt, Usage

Run = Callable[..., tuple[int, str, str]]
USED = Usage(input_tokens=1000, output_tokens=100)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command on a ledger of three requests of the last hour, beside a table of other prices."""
    now = time.time()
    attempt = Attempt(target="openai/gpt-x", started_s=0.0, usage=USED, cost_microusd=3000, priced_by="old")
    other = Attempt(target="openai/gpt-y", started_s=0.0, usage=USED, cost_microusd=7)
    fill(
        tmp_path,
        record(1, started_at=now - 60, cost_microusd=3000, attempts=(attempt,), usage=USED),
        record(2, started_at=now - 50, cost_microusd=3000, attempts=(attempt,), usage=USED),
        record(3, started_at=now - 40, cost_microusd=7, attempts=(other,), usage=USED, model="large"),
    )
    table = {"format": 1, "version": "contract", "lists": {"openai": {"gpt-x": {"input": 1.5, "output": 10}}}}
    (tmp_path / "next.json").write_text(json.dumps(table))
    (tmp_path / "fairlead.yaml").write_text("models: {}\n")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["usage", *words, "--state", str(tmp_path)])
        return (status, *capsys.readouterr())

    return run


def test_the_difference_is_shown_and_nothing_written(run: Run) -> None:
    status, out, err = run("recompute", "--since", "1h", "--prices", "next.json")

    assert status == 0
    assert out == (
        "MODEL  REQUESTS  CHANGED  KEPT  BEFORE USD  AFTER USD  DIFFERENCE USD\n"
        "large         1        0     1    0.000007   0.000007        0.000000\n"
        "small         2        2     0    0.006000   0.005000       -0.001000\n"
        "total         3        2     1    0.006007   0.005007       -0.001000\n"
    )
    assert "contract#" in err
    assert "nothing was changed" in err
    assert run("revisions")[2] == "no costs were recomputed\n"


def test_applied_it_is_a_revision_and_the_old_costs_can_be_asked_for(run: Run) -> None:
    _, out, err = run("recompute", "--since", "1h", "--prices", "next.json", "--apply")

    assert "written as revision 1" in err
    assert "-0.001000" in out
    listed = run("revisions")[1].splitlines()[1].split()
    assert (listed[0], listed[-2:]) == ("1", ["2", "complete"])
    now = {one["name"]: one["cost_microusd"] for one in json.loads(run("--json")[1])}
    before = {one["name"]: one["cost_microusd"] for one in json.loads(run("--json", "--revision", "0")[1])}
    assert now == {"small": 5000, "large": 7}
    assert before == {"small": 6000, "large": 7}


def test_one_request_shows_what_it_cost_through_the_revisions(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("recompute", "--since", "1h", "--prices", "next.json", "--apply")
    capsys.readouterr()

    main(["requests", "show", record(1).id, "--state", str(tmp_path)])

    out = capsys.readouterr().out
    assert "0.002500 USD, by the prices of old" in out
    lines = [line.split() for line in out.splitlines()[-2:]]
    assert [line[:3] for line in lines] == [["as", "billed", "0.003000"], ["revision", "1", "0.002500"]]


def test_json_has_micro_dollars(run: Run) -> None:
    found = json.loads(run("recompute", "--since", "1h", "--prices", "next.json", "--json")[1])

    assert found["revision"] is None
    assert found["prices"].startswith("contract#")
    assert found["total"]["difference_microusd"] == -1000
    assert [one["name"] for one in found["models"]] == ["large", "small"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recompute", "--since", "1h", "--prices", "none.json"), "cannot be read"),
        (("recompute", "--since", "1h", "--prices", "fairlead.yaml"), "is no price table"),
        (("recompute", "--since", "1h", "--until", "2h"), "ends before it begins"),
        (("--revision", "7"), "there is no revision 7"),
        (("--by", "request", "--revision", "0"), "single requests"),
        (("--by", "request", "--top", "0"), "--top"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, words: tuple[str, ...], message: str) -> None:
    status, out, err = run(*words)

    assert status != 0
    assert message in err
    assert out == ""


def test_the_dearest_requests(run: Run) -> None:
    _, out, _ = run("--by", "request", "--top", "1")

    assert [line.split()[:2] for line in out.splitlines()] == [["REQUEST", "REQUESTS"], [record(1).id, "1"]]


def test_a_period_without_requests(run: Run) -> None:
    status, out, err = run(
        "recompute", "--since", "2001-01-01", "--until", "2001-01-02", "--prices", "next.json"
    )

    assert (status, out) == (0, "")
    assert "no requests in this period" in err
