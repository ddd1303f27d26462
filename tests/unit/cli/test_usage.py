"""What `fairlead usage` prints."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.telemetry.records import record

from fairlead.cli.main import main
from fairlead.storage.connect import open_database
from fairlead.telemetry.ledger.db import Ledger
from fairlead.types import Outcome, RequestRecord, Usage

Run = Callable[..., tuple[int, str, str]]


def fill(directory: Path, *records: RequestRecord) -> None:
    async def write() -> None:
        store = await open_database(str(directory))
        ledger = Ledger(store)
        ledger.take(records)
        await ledger.commit()
        await store.close()

    asyncio.run(write())


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a ledger of five requests of the last hour, two of them hits, and an older one."""
    now = time.time()
    fill(
        tmp_path,
        record(1, started_at=now - 60, first_token_s=0.2, cost_microusd=1_500_001),
        record(2, started_at=now - 30, outcome=Outcome.FAILED, tenant="other"),
        record(3, started_at=now - 20, model="=cmd()"),
        record(4, started_at=now - 7 * 86_400),
        record(
            5,
            started_at=now - 10,
            model="=cmd()",
            usage=Usage(),
            cache="hit",
            saved_tokens=15,
            saved_microusd=2_000_003,
        ),
        record(6, started_at=now - 5, model="=cmd()", usage=Usage(), cache="stale", saved_tokens=3),
    )

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["usage", *words, "--state", str(tmp_path)])
        return (status, *capsys.readouterr())

    return run


def test_the_last_day_by_model_with_a_total(run: Run) -> None:
    status, out, _ = run()

    assert status == 0
    assert out == (
        "MODEL   REQUESTS  FAILED  REFUSED  LEFT  INPUT  OUTPUT       USD  UNPRICED  HITS     SAVED  "
        "MEAN TTFT\n"
        "=cmd()         3       0        0     0     10       5         -         1     2  2.000003  "
        "        -\n"
        "small          2       1        0     0     20      10  1.500001         1     0         -  "
        "   200 ms\n"
        "total          5       1        0     0     30      15  1.500001         2     2  2.000003  "
        "   200 ms\n"
    )


def test_a_longer_time_by_another_group(run: Run) -> None:
    _, out, _ = run("--by", "tenant", "--since", "8d")

    assert [line.split()[:2] for line in out.splitlines()[1:]] == [
        ["acme", "5"],
        ["other", "1"],
        ["total", "6"],
    ]


def test_an_end_can_be_given(run: Run) -> None:
    _, out, _ = run("--since", "8d", "--until", "6d", "--by", "key")

    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["key1", "1"]]


def test_json_has_names_and_numbers(run: Run) -> None:
    _, out, _ = run("--json")

    assert json.loads(out)[1] == {
        "name": "small",
        "requests": 2,
        "failed": 1,
        "refused": 0,
        "client_gone": 0,
        "input_tokens": 20,
        "output_tokens": 10,
        "cost_microusd": 1_500_001,
        "unpriced": 1,
        "cache_hits": 0,
        "saved_tokens": 0,
        "saved_microusd": 0,
        "first_token_mean_s": 0.2,
    }


def test_csv_is_safe_for_a_spreadsheet(run: Run) -> None:
    _, out, _ = run("--csv")

    rows = list(csv.reader(out.splitlines()))
    assert rows[0] == [
        *("model", "requests", "failed", "refused", "client_gone"),
        *("input_tokens", "output_tokens", "cost_usd", "unpriced"),
        *("cache_hits", "saved_tokens", "saved_usd", "first_token_mean_s"),
    ]
    assert rows[1] == ["'=cmd()", "3", "0", "0", "0", "10", "5", "", "1", "2", "18", "2.000003", ""]
    assert rows[2][7:9] == ["1.500001", "1"]


def test_a_tenant_counts_with_those_below_it(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text("tenants: {acme: {}, other: {parent: acme}, third: {}}")

    def names(*words: str) -> list[str]:
        _, out, _ = run("--by", "tenant", "--config", str(file), *words)
        return [line.split()[0] for line in out.splitlines()[1:]]

    assert names("--tenant", "acme") == ["acme", "other", "total"]
    assert names("--tenant", "other") == ["other"]
    assert names("--tenant", "third") == []


def test_a_tenant_that_is_not_there_any_more_has_its_past(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text("tenants: {others: {}}")

    _, out, err = run("--tenant", "other", "--by", "tenant", "--config", str(file))

    assert out.splitlines()[1].split()[:2] == ["other", "1"]
    assert err == "no tenant is named `other` any more; did you mean `others`?\n"


def test_no_requests_are_said_apart_from_the_output(run: Run) -> None:
    assert run("--since", "1s") == (0, "", "no requests since 1s\n")


def test_a_wrong_time_is_refused(run: Run) -> None:
    status, out, err = run("--since", "soon")

    assert (status, out) == (2, "")
    assert "--since" in err
