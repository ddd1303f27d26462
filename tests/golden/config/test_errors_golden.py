"""What the command says about broken files, word for word. UPDATE_GOLDEN=1 writes the expected files anew."""

import os
from pathlib import Path

import pytest

from fairlead.cli.main import main

FOLDER = Path(__file__).parent / "errors"
CASES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_cases() -> None:
    assert len(CASES) >= 5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_message(case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    assert main(["config", "check", case.name]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert "literal-secret" not in err
    expected = case.with_suffix(".expected")
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(err)
    assert err == expected.read_text()
