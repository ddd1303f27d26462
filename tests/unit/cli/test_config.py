"""`fairlead config`."""

import io
import json
from pathlib import Path

import pytest

from fairlead.cli.main import main
from fairlead.config import parse
from fairlead.config.schema import schema

VALID = (
    "providers: {p: {type: openai, api_key: env:CONFIG_TEST_KEY}}\nmodels: {m: {targets: [{provider: p}]}}\n"
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FAIRLEAD_CONFIG", "CONFIG_TEST_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(text: str, name: str = "fairlead.yaml") -> None:
    Path(name).write_text(text)


def test_check_says_that_a_file_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    write(VALID)
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == "fairlead.yaml: valid (1 provider, 1 model)\n"


def test_check_reads_the_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("server: {port: x}"))
    assert main(["config", "check", "-"]) == 5
    assert capsys.readouterr().err.startswith(
        "fairlead: error: <stdin>:1:16: server.port: expected a whole number"
    )


def test_check_of_a_missing_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "none.yaml"]) == 5
    assert capsys.readouterr().err == "fairlead: error: cannot read `none.yaml`: No such file or directory\n"


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    write("server: {prot: 1}", "other.yaml")
    assert main(["config", "check", "other.yaml", "--json"]) == 5
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "file": "other.yaml",
        "valid": False,
        "problems": [
            {
                "message": "unknown option",
                "line": 1,
                "column": 10,
                "path": "server.prot",
                "hint": "did you mean `port`?",
            }
        ],
        "warnings": [],
    }
    write(VALID)
    assert main(["config", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "fairlead.yaml",
        "valid": True,
        "problems": [],
        "warnings": [],
    }


def test_check_names_keys_that_the_file_would_orphan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = f"state: {{dir: '{here / 'state'}'}}\n"
    write(state + VALID + "tenants: {search: {}}\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == "", "there is no state yet, and none is made"
    assert not (here / "state").exists()
    assert main(["keys", "create", "--name", "app", "--tenant", "search", "--json"]) == 0
    key = json.loads(capsys.readouterr().out)["id"]
    warning = (
        "1 API key belongs to a tenant that the configuration does not have, so requests are refused: "
        f"{key} (`search`)"
    )

    write(state + VALID + "tenants: {other: {}}\n")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == f"fairlead: warning: {warning}\n"
    assert main(["config", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [warning]
    assert main(["keys", "revoke", key]) == 0
    capsys.readouterr()
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == "", "a key that has ended is nobody's trouble"


def test_check_says_when_the_keys_cannot_be_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "fairlead.db").write_text("no database at all, but long enough to have a header" * 20)
    write(f"state: {{dir: '{here}'}}\n" + VALID + "tenants: {other: {}}\n")

    assert main(["config", "check"]) == 0

    assert "whether every key has a tenant could not be checked" in capsys.readouterr().err


def test_check_looks_for_secrets_when_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(VALID)
    assert main(["config", "check", "--secrets"]) == 5
    assert capsys.readouterr().err == (
        "fairlead: error: fairlead.yaml: providers.p.api_key: "
        "the environment variable `CONFIG_TEST_KEY` is not set\n"
        "fairlead: hint: export CONFIG_TEST_KEY=...\n"
    )
    monkeypatch.setenv("CONFIG_TEST_KEY", "sk-SECRET")
    assert main(["config", "check", "--secrets"]) == 0
    assert "SECRET" not in "".join(capsys.readouterr())


def test_show_prints_what_reads_back_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG_TEST_KEY", "sk-SECRET")
    write(VALID)
    for words in (["config", "show"], ["config", "show", "--brief"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert parse.parse(out, "shown") == parse.parse(VALID, "given")
        assert "env:CONFIG_TEST_KEY" in out
        assert "SECRET" not in out
        assert ("drain_s: 30" in out) is ("--brief" not in words)


def test_show_without_a_file_shows_what_is_detected(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-SECRET")
    assert main(["config", "show", "--brief"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "# detected\nproviders:\n  openai:\n    type: openai\n    api_key: env:OPENAI_API_KEY\n"
    )
    assert "SECRET" not in out


def test_show_refuses_a_broken_file(capsys: pytest.CaptureFixture[str]) -> None:
    write("nope: 1")
    assert main(["config", "show"]) == 5
    assert capsys.readouterr().out == ""


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


LITELLM = (
    "model_list:\n- {model_name: m, litellm_params: {model: openai/gpt-5, api_key: sk-SECRET, seed: 1}}\n"
)


def test_import_prints_the_file_and_reports_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    write(LITELLM, "config.yaml")
    assert main(["config", "import-litellm", "config.yaml"]) == 0
    out, err = capsys.readouterr()
    assert parse.parse(out, "imported").models["m"].targets[0].model == "gpt-5"
    assert err.splitlines() == [
        "approximated  model_list[0].litellm_params.api_key: a secret in clear text is not copied: "
        "put it in the variable OPENAI_API_KEY",
        "not mapped    model_list[0].litellm_params.seed: requests are not given default parameters; "
        "clients send their own",
        "2 mapped, 1 approximated, 1 not mapped",
    ]
    assert "SECRET" not in out + err
    assert main(["config", "import-litellm", "config.yaml", "--all"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_import_writes_a_new_file_and_never_over_another(capsys: pytest.CaptureFixture[str]) -> None:
    write(LITELLM, "config.yaml")
    assert main(["config", "import-litellm", "config.yaml", "-o", "fairlead.yaml"]) == 0
    assert main(["config", "check"]) == 0
    capsys.readouterr()
    assert main(["config", "import-litellm", "config.yaml", "-o", "fairlead.yaml"]) == 2
    assert capsys.readouterr().err.startswith("fairlead: error: `fairlead.yaml` exists already\n")
    assert main(["config", "import-litellm", "config.yaml", "-o", "no/such/dir.yaml"]) == 2


def test_import_of_a_missing_file_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "import-litellm", "none.yaml"]) == 5
    assert capsys.readouterr().err == "fairlead: error: cannot read `none.yaml`: No such file or directory\n"
