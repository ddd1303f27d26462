"""The command line goes before the file, and is checked before anything starts."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.cli import serve
from fairlead.cli.main import main

CONFIG = """\
server: {host: 127.0.0.1, port: 8080, workers: 1}
auth: {required: false}
providers: {a: {type: vllm}}
models: {m: {targets: [{provider: a}]}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fairlead.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """A start configures logging for its process, which is the tests' here."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--port", "65536"], "--port"),
        (["--port", "-1"], "--port"),
        (["--workers", "0"], "--workers"),
        (["--workers", "257"], "--workers"),
    ],
)
@pytest.mark.usefixtures("here")
def test_numbers_out_of_range_are_an_error_of_usage(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *words]) == 2
    assert named in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {m: {targets: []}}", "targets"),
        ("\x00", "not YAML"),
        ("a: [", "not YAML"),
        ("\udcff", "UTF-8"),
    ],
)
def test_a_bad_file_is_an_error_of_configuration(
    here: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "fairlead.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert main(["serve"]) == 5
    assert said in capsys.readouterr().err


def test_a_missing_secret_ends_the_start_without_a_traceback(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    (here / "fairlead.yaml").write_text(CONFIG.replace("type: vllm", 'type: vllm, api_key: "env:NOT_SET"'))
    assert main(["serve", "--port", "0", "--state", str(here / "state")]) == 5
    told = capsys.readouterr().err
    assert "NOT_SET" in told
    assert "Traceback" not in told


def test_what_only_a_parent_says_is_not_in_the_help() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    serve.add_parser(commands)
    told = commands.choices["serve"].format_help()
    assert "--workers" in told
    assert "--ready-fd" not in told
    assert "--parent-fd" not in told
