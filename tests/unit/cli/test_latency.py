"""What `fairlead latency` prints."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cli.test_usage import fill
from tests.unit.telemetry.records import record

from fairlead.cli.main import main
from fairlead.types import Outcome

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a ledger of four requests of the last hour and an older one."""
    now = time.time()
    fill(
        tmp_path,
        record(1, started_at=now - 1200, first_token_s=0.2, duration_s=1.0),
        record(2, started_at=now - 1200, first_token_s=0.4, duration_s=20.0),
        record(3, started_at=now - 1200, model="large", duration_s=3.0),
        record(4, started_at=now - 1200, outcome=Outcome.FAILED, tenant="other", duration_s=0.1),
        record(5, started_at=now - 7 * 86_400, first_token_s=0.2),
    )

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["latency", *words, "--state", str(tmp_path)])
        return (status, *capsys.readouterr())

    return run


def test_the_last_day_by_model(run: Run) -> None:
    status, out, said = run("--percentiles", "50,99", "--measures", "ttft,duration")

    assert status == 0
    assert out.splitlines() == [
        "MODEL  REQUESTS  TTFT P50  TTFT P99  DURATION P50  DURATION P99",
        "large         1         -         -       2963 ms       2963 ms",
        "small         3    203 ms    401 ms       1006 ms        20.2 s",
    ]
    assert said.startswith("from ")


def test_json_is_what_the_control_api_answers(run: Run) -> None:
    _, out, _ = run("--json", "--by", "", "--tenant", "acme", "--outcome", "ok", "--measures", "output")

    answer = json.loads(out)
    assert answer["relative_error"] == 0.02
    (group,) = answer["data"]
    assert (group["names"], group["requests"], group["input_tokens"]) == ({}, 3, 30)
    assert group["measures"]["output"]["percentiles"] == {
        "50": pytest.approx(5, rel=0.02),
        "95": pytest.approx(5, rel=0.02),
        "99": pytest.approx(5, rel=0.02),
    }


def test_groups_and_tokens_in_columns(run: Run) -> None:
    _, out, _ = run("--by", "tenant,outcome", "--since", "30d", "--measures", "prompt", "--percentiles", "50")

    assert out.splitlines() == [
        "TENANT  OUTCOME  REQUESTS  PROMPT P50",
        "acme    ok              4          10",
        "other   failed          1          10",
    ]


def test_nothing_is_said_to_be_nothing(run: Run) -> None:
    assert run("--model", "unknown") == (0, "", "no requests since 24h\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--by", "model,colour"), "--by: `colour` is none of tenant, key, model"),
        (("--measures", "speed"), "--measures: `speed` is none of ttft"),
        (("--percentiles", "50,often"), "--percentiles: 'often' is no number from 0 to 100"),
        (("--percentiles", "101"), "--percentiles: '101'"),
        (("--percentiles", ",".join(["1"] * 11)), "at most 10"),
        (("--since", "soon"), "--since"),
    ],
)
def test_a_wrong_word_is_named(run: Run, words: tuple[str, ...], says: str) -> None:
    status, _, said = run(*words)

    assert status == 2
    assert says in said
