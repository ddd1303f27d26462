"""What `fairlead usage export` writes, and when."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.cli.test_usage import fill
from tests.unit.telemetry.records import record

from fairlead.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a ledger of two requests of the last hour and an older one."""
    now = time.time()
    fill(
        tmp_path / "state",
        record(1, started_at=now - 60, cost_microusd=1_500_001),
        record(2, started_at=now - 30, model="=cmd()", tenant="other"),
        record(3, started_at=now - 7 * 86_400),
    )

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["usage", "export", *words, "--state", str(tmp_path / "state")])
        return (status, *capsys.readouterr())

    return run


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_file_of_the_last_day(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "usage.csv"

    status, stdout, err = run("--out", str(out))

    assert (status, stdout) == (0, "")
    assert "2 requests written" in err
    first, second = read(out.read_text())
    assert (first["cost_usd"], first["cost_microusd"]) == ("1.500001", "1500001")
    assert (second["model"], second["cost_usd"]) == ("'=cmd()", "")
    assert out.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir() if path.name != "state"] == ["usage.csv"]


def test_to_stdout_for_one_tenant(run: Run) -> None:
    _, stdout, _ = run("--out", "-", "--since", "30d", "--tenant", "acme")

    assert [line["tenant"] for line in read(stdout)] == ["acme", "acme"]


def test_parquet(run: Run, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    out = tmp_path / "usage.parquet"

    status, _, _ = run("--format", "parquet", "--out", str(out))

    assert status == 0
    assert parquet.read_table(out).column("cost_microusd").to_pylist() == [1_500_001, None]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "parquet", "--out", "-"), "name a file"),
        (("--out", "/nowhere/usage.csv"), "cannot be written"),
        (("--out", "x.csv", "--since", "soon"), "--since"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, words: tuple[str, ...], message: str) -> None:
    status, _, err = run(*words)

    assert status != 0
    assert message in err


def test_a_failed_export_leaves_the_old_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "usage.csv"
    out.write_text("before")

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fairlead.cli.usage_export.CsvWriter.write", broken)
    status, _, err = run("--out", str(out))

    assert status != 0
    assert "No space left" in err
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"state", "usage.csv"}
