"""What `fairlead keys` takes and prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fairlead.cli.keys import duration_s, table, when
from fairlead.cli.main import main
from fairlead.errors import UsageError
from fairlead.gateway.keys import Scope, is_well_formed, issue

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on a store of this test: exit status, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["keys", *words, "--state", str(tmp_path / "state")])
        return (status, *capsys.readouterr())

    return run


def test_create_prints_the_secret_alone_to_stdout(run: Run) -> None:
    status, out, err = run("create", "--name", "app")

    assert status == 0
    assert is_well_formed(out.removesuffix("\n"))
    assert out.strip()[11:] not in err
    assert "made key" in err


def test_create_takes_every_scope(run: Run) -> None:
    status, out, _ = run(
        *("create", "--name", "app", "--tenant", "team-a", "--models", "gpt-4o, llama*"),
        *("--endpoints", "chat,embeddings", "--admin", "--expires", "30d"),
        *("--ip", "10.0.0.0/8", "--ip", "2001:db8::/32", "--json"),
    )

    made = json.loads(out)
    assert status == 0
    assert is_well_formed(made.pop("secret"))
    assert made["expires_at"] - made["created_at"] == pytest.approx(30 * 86_400)
    assert {name: made[name] for name in ("name", "tenant", "models", "endpoints", "ip_ranges", "state")} == {
        "name": "app",
        "tenant": "team-a",
        "models": ["gpt-4o", "llama*"],
        "endpoints": ["chat", "embeddings", "admin"],
        "ip_ranges": ["10.0.0.0/8", "2001:db8::/32"],
        "state": "active",
    }


def test_list_shows_keys_without_secrets(run: Run) -> None:
    _, secret, _ = run("create", "--name", "app")

    status, out, _ = run("list")
    _, as_json, _ = run("list", "--json")

    assert status == 0
    assert secret[3:11] in out
    assert "app" in out
    assert secret.strip()[11:] not in out + as_json
    assert [key["name"] for key in json.loads(as_json)] == ["app"]


def test_list_of_an_empty_store_says_how_to_begin(run: Run) -> None:
    assert run("list")[:2] == (0, "")
    assert json.loads(run("list", "--json")[1]) == []


def test_revoke_takes_an_id_or_a_leaked_secret_and_is_repeatable(run: Run) -> None:
    _, first, _ = run("create", "--name", "a")
    _, second, _ = run("create", "--name", "b")

    assert run("revoke", first.strip())[0] == 0
    assert run("revoke", second[3:11])[0] == 0
    status, out, err = run("revoke", second[3:11])

    assert (status, out) == (0, "")
    assert "revoked before" in err
    assert [key["state"] for key in json.loads(run("list", "--json")[1])] == ["revoked", "revoked"]


def test_rotate_gives_a_new_secret_and_the_old_one_its_grace(run: Run) -> None:
    _, old, _ = run("create", "--name", "a", "--models", "m*")
    status, new, err = run("rotate", old[3:11], "--grace", "1h")

    assert status == 0
    assert is_well_formed(new.strip())
    assert new != old
    assert f"the old key {old[3:11]} ends at" in err
    keys = {key["id"]: key for key in json.loads(run("list", "--json")[1])}
    assert keys[old[3:11]]["state"] == "retiring"
    assert (keys[new[3:11]]["state"], keys[new[3:11]]["models"]) == ("active", ["m*"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("create", "--name", ""), "--name: "),
        (("create", "--name", "a", "--tenant", "a b"), "--tenant: "),
        (("create", "--name", "a", "--models", "a,,b"), "--models: "),
        (("create", "--name", "a", "--endpoints", "chats"), "--endpoints: "),
        (("create", "--name", "a", "--ip", "10.0.0.1/8"), "--ip: "),
        (("create", "--name", "a", "--expires", "soon"), "--expires: "),
        (("create", "--name", "a", "--expires", "2001-01-01"), "--expires: "),
        (("rotate", "abcdefgh", "--grace", "1"), "--grace: "),
        (("revoke", "fl-mistyped-secret"), "not the id of an API key"),
    ],
)
def test_wrong_usage_names_the_option_and_changes_nothing(
    run: Run, words: tuple[str, ...], message: str
) -> None:
    status, out, err = run(*words)

    assert (status, out) == (2, "")
    assert f"fairlead: error: {message}" in err or message in err
    assert "mistyped" not in err
    assert json.loads(run("list", "--json")[1]) == []


def test_an_unknown_id_is_a_failure_and_not_wrong_usage(run: Run) -> None:
    status, out, err = run("revoke", "abcdefgh")

    assert (status, out) == (1, "")
    assert "no API key abcdefgh" in err


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", 1090.0),
        ("2w", 1000.0 + 14 * 86_400),
        ("2030-01-31", 1896048000.0),
        ("2030-01-31T12:00:00Z", 1896091200.0),
        ("2030-01-31T12:00:00+02:00", 1896084000.0),
    ],
)
def test_when_understands_durations_dates_and_times_with_their_zone(text: str, at: float) -> None:
    assert when(text, 1000.0) == at


@pytest.mark.parametrize(
    "text", ["", "30", "d", "-1d", "1.5h", "2030-13-01", "2030-01-31T12:00:00", "next week"]
)
def test_when_refuses_what_could_mean_two_things(text: str) -> None:
    with pytest.raises(UsageError):
        when(text, 1000.0)


def test_a_duration_names_its_option() -> None:
    assert duration_s("15m", "--grace") == 900.0
    with pytest.raises(UsageError, match="--grace"):
        duration_s("15", "--grace")


def test_the_table_is_aligned() -> None:
    keys = [
        issue(Scope(name=name, tenant="t"), now=0.0, entropy=bytes([number]) * 40).key
        for number, name in enumerate(["short", "a longer name"], start=1)
    ]

    lines = table(keys, 0.0).splitlines()

    column = lines[0].index("TENANT")
    assert [line[column : column + 2] for line in lines] == ["TE", "t ", "t "]
    assert all(line.endswith("never") for line in lines[1:])


def test_a_key_is_not_made_for_a_tenant_that_the_configuration_would_refuse(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "tenants.yaml"
    file.write_text("tenants: {search: {}}")

    status, out, err = run("create", "--name", "app", "--tenant", "serch", "--config", str(file))

    assert (status, out) == (2, "")
    assert err == (
        "fairlead: error: --tenant: no tenant is named `serch`\nfairlead: hint: did you mean `search`?\n"
    )
    assert run("create", "--name", "app", "--tenant", "search", "--config", str(file))[0] == 0
    assert run("create", "--name", "app", "--config", str(file))[0] == 0
    assert "serch" not in run("list")[1]
