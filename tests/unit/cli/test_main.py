"""The command line's frame: groups, typos, errors in words, exit statuses."""

from __future__ import annotations

import argparse
import logging
import sys
from types import ModuleType

import pytest

from fairlead import __version__
from fairlead.cli import main as frame
from fairlead.cli.main import GROUPS, main
from fairlead.errors import ConfigError, FairleadError, UsageError


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A group `fake` whose command does what the test puts into `module.act`."""
    module = ModuleType("fairlead_fake_group")

    def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        parser = subparsers.add_parser("fake")
        commands = parser.add_subparsers(metavar="COMMAND")
        act = commands.add_parser("act")
        act.add_argument("--level", choices=["low", "high"])
        act.set_defaults(run=lambda args: module.act(args))

    module.add_parser = add_parser  # type: ignore[attr-defined]  # what a group's module has
    module.act = lambda args: 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(frame, "GROUPS", {**GROUPS, "fake": (module.__name__, "for tests")})
    return module


def raising(error: BaseException) -> object:
    def act(_args: argparse.Namespace) -> int:
        raise error

    return act


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"fairlead {__version__}\n"


def test_without_a_command_the_help_lists_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    for name, (_, line) in GROUPS.items():
        assert name in out
        assert line in out


def test_help_and_version_need_no_group(capsys: pytest.CaptureFixture[str]) -> None:
    before = set(sys.modules)
    assert main(["--help"]) == 0
    assert not {module for module, _ in GROUPS.values()} & (set(sys.modules) - before)
    assert capsys.readouterr().out.startswith("usage: fairlead ")


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["confg"], "no command `fairlead confg`", "did you mean `config`?"),
        (["zzzzz"], "no command `fairlead zzzzz`", "commands here: " + ", ".join(GROUPS)),
        (["fake", "atc"], "no command `fairlead fake atc`", "did you mean `act`?"),
        (["fake", "act", "--level", "hihg"],
         "--level: expected one of low, high, got `hihg`", "did you mean `high`?"),
        (["fake", "act", "--nope"],
         "unrecognized arguments: --nope", "`fairlead --help` lists what there is"),
        (["fake", "act", "--level"], "argument --level: expected one argument",
         "`fairlead fake act --help` lists what there is"),
        (["--nope"],
         "the following arguments are required: COMMAND", "`fairlead --help` lists what there is"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("group")
def test_wrong_usage_is_answered_with_the_nearest_right_one(
    words: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "zzzzz":
        hint += ", fake"
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"fairlead: error: {error}\nfairlead: hint: {hint}\n"


@pytest.mark.usefixtures("group")
def test_a_group_without_a_command_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fake"]) == 0
    assert capsys.readouterr().out.startswith("usage: fairlead fake ")


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_commands_status_is_the_exit_status(group: ModuleType, status: int) -> None:
    group.act = lambda _args: status  # type: ignore[attr-defined]
    assert main(["fake", "act"]) == status


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (FairleadError("it broke"), 1, "fairlead: error: it broke\n"),
        (UsageError("no", hint="try"), 2, "fairlead: error: no\nfairlead: hint: try\n"),
        (ConfigError("a\n  b"), 5, "fairlead: error: a\n  b\n"),
        (FairleadError("\x1b[2Jgone"), 1, "fairlead: error: ?[2Jgone\n"),
    ],
)
def test_errors_become_words_and_an_exit_status(
    group: ModuleType, error: FairleadError, status: int, err: str, capsys: pytest.CaptureFixture[str]
) -> None:
    group.act = raising(error)  # type: ignore[attr-defined]
    assert main(["fake", "act"]) == status
    assert capsys.readouterr().err == err


def test_an_interrupt_is_130(group: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    group.act = raising(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert main(["fake", "act"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_70_and_shows_neither_its_message_nor_a_traceback(
    group: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    group.act = raising(ValueError("key sk-SECRET"))  # type: ignore[attr-defined]
    assert main(["fake", "act"]) == 70
    err = capsys.readouterr().err
    assert err.startswith(
        "fairlead: error: unexpected ValueError; this is a bug in Fairlead\nfairlead: hint: "
    )
    assert "SECRET" not in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--debug", "fake", "act"], ["fake", "act", "--debug"]])
def test_debug_anywhere_prints_the_traceback(
    group: ModuleType, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    group.act = raising(ValueError("what happened"))  # type: ignore[attr-defined]
    assert main(words) == 70
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "what happened" in err


def test_a_bug_is_logged_with_its_traceback(group: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    group.act = raising(ValueError("what happened"))  # type: ignore[attr-defined]
    with caplog.at_level(logging.ERROR, logger="fairlead"):
        assert main(["fake", "act"]) == 70
    (record,) = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_no_option_takes_the_value_of_a_secret() -> None:
    parser = frame.build("config")
    waiting: list[argparse.ArgumentParser] = [parser]
    while waiting:
        for action in waiting.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
            for option in action.option_strings:
                takes_value = action.nargs != 0
                assert not (
                    takes_value and any(word in option for word in ("key", "token", "secret", "password"))
                )
