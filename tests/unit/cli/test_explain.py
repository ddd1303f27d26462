"""What `fairlead explain` prints; `tests/golden/explain` has the words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.cli.test_usage import fill
from tests.unit.telemetry.records import full_record, record

from fairlead.cli.explain import as_text
from fairlead.cli.main import main
from fairlead.gateway.explain import explain
from fairlead.types import Attempt, Failure, FailureKind


def test_a_request_is_explained_from_the_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, full_record())
    asked = ["explain", full_record().id, "--state", str(tmp_path)]

    assert main(asked) == 0
    assert capsys.readouterr().out == as_text(explain(full_record()))
    assert main([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["error"], found["steps"][0]["part"]) == (
        *(full_record().id, "upstream_cut"),
        "request",
    )


def test_a_request_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path)

    assert main(["explain", "req_nobody", "--state", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "no request `req_nobody` in the ledger" in err
    assert "a request has a record when it has ended" in err


def test_what_an_upstream_wrote_cannot_move_the_cursor() -> None:
    failure = Failure(kind=FailureKind.BAD_ANSWER, message="\x1b[2Joops\nfake line")
    text = as_text(explain(record(attempts=(Attempt(target="lab/a", started_s=0.0, failure=failure),))))

    assert text.replace("\n", "").isprintable()
    assert "?[2Joops?fake line" in text
