"""The `fairlead` command: finds the group, runs it, turns errors into words and exit statuses.

Only the module of the chosen group is imported, so that `--help` and
`--version` answer at once and a broken group does not take the others down.
A group's module has `add_parser(subparsers)`, which adds its commands and
sets `run=function` as their default; `function(args)` returns the exit status.

No option takes the value of a secret: command lines are visible to every
user of a machine and stay in shell histories.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NoReturn

from fairlead import __version__
from fairlead.errors import FairleadError, UsageError

GROUPS: Final = {
    "serve": ("fairlead.cli.serve", "run the gateway"),
    "demo": ("fairlead.cli.demo", "run the gateway on simulated engines, with traffic and faults"),
    "config": ("fairlead.cli.config", "check, show and import the configuration"),
    "keys": ("fairlead.cli.keys", "make, list, revoke and rotate API keys"),
    "usage": ("fairlead.cli.usage", "show requests, tokens and cost by model, key and day"),
    "latency": ("fairlead.cli.latency", "show percentiles of latencies over any window"),
    "requests": ("fairlead.cli.requests", "show recent requests and how they went"),
    "explain": ("fairlead.cli.explain", "tell why a request went as it did"),
    "limits": ("fairlead.cli.limits", "show how the limits of a tenant stand"),
    "alerts": ("fairlead.cli.alerts", "show, test, silence and export alerts"),
    "signals": ("fairlead.cli.signals", "show what answers are like, and what has changed"),
    "cache": ("fairlead.cli.cache", "show what the cache holds and saves, and throw answers away"),
    "targets": ("fairlead.cli.targets", "show the targets of a running gateway and their breakers"),
    "simulate": ("fairlead.cli.simulate", "run a simulated inference engine, or experiments"),
}
"""Groups of commands, by hand: name to (module, one line of help)."""

_INTERRUPTED: Final = 130
_BROKEN_PIPE: Final = 141
_BUG: Final = 70
"""`EX_SOFTWARE` of sysexits.h: the program itself is at fault."""


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError and names the nearest word it knows."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` lists what there is")

    def _get_formatter(self) -> argparse.HelpFormatter:
        # A fixed width: the same help on every terminal and in the documentation.
        return argparse.HelpFormatter(self.prog, max_help_position=28, width=100)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        # argparse would list every choice; the nearest one is what a typo needs.
        if action.choices is None or value in action.choices:
            return
        word, known = str(value), [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            raise unknown_command(f"{self.prog} {word}", word, known)
        name = action.option_strings[-1] if action.option_strings else action.metavar or action.dest
        raise UsageError(
            f"{name}: expected one of {', '.join(known)}, got `{word}`", hint=_nearest(word, known)
        )


def unknown_command(command: str, word: str, known: Iterable[str]) -> UsageError:
    """The error for a command that does not exist."""
    names = list(known)
    hint = _nearest(word, names) or "commands here: " + ", ".join(names)
    return UsageError(f"no command `{command}`", hint=hint)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 success, 1 failure, 2 wrong usage, 5 invalid configuration, 70 a bug, 130 interrupted,
    141 the reader of our output has gone.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        status = _run([word for word in words if word != "--debug"])
        # Here, so that a reader who has left is noticed while it can be handled.
        sys.stdout.flush()
    except FairleadError as error:
        return _report(error, debug=debug)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # What is still buffered has no reader; without this the interpreter complains at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except Exception as error:  # one of the three boundaries that catch everything
        return _report_bug(error, debug=debug)
    return status


def _run(words: list[str]) -> int:
    group = next((word for word in words if not word.startswith("-")), None)
    parser = build(group)
    if not words:
        parser.print_help()
        return 0
    try:
        args = parser.parse_args(words)
        run: Callable[[argparse.Namespace], int] | None = getattr(args, "run", None)
        if run is None:
            # A group was named without a command: its help is what was meant.
            args = parser.parse_args([*words, "--help"])
    except SystemExit as leave:
        # argparse leaves this way after `--help` and `--version`.
        return leave.code if isinstance(leave.code, int) else 0
    assert run is not None
    return run(args)


def build(group: str | None) -> Parser:
    """The parser, complete for one group and with one line for each of the others.

    Raises:
        UsageError: there is no such group.
    """
    if group is not None and group not in GROUPS:
        raise unknown_command(f"fairlead {group}", group, GROUPS)
    parser = Parser(
        prog="fairlead",
        description="The operations platform for AI applications.",
        epilog="`fairlead COMMAND --help` tells more about a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fairlead {__version__}")
    # Taken out before parsing, so that it may stand anywhere; listed here for `--help`.
    parser.add_argument("--debug", action="store_true", help="print tracebacks of unexpected errors")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="group", required=True)
    for name, (module, line) in GROUPS.items():
        if name == group:
            importlib.import_module(module).add_parser(commands)
        else:
            commands.add_parser(name, help=line)
    return parser


def _nearest(word: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else None


def _report(error: FairleadError, *, debug: bool) -> int:
    if debug:
        _print_traceback(error)
    _say("error", error.message)
    if error.hint:
        _say("hint", error.hint)
    return error.exit_status


def _report_bug(error: Exception, *, debug: bool) -> int:
    import logging  # only here: it costs a tenth of the start-up time

    log = logging.getLogger("fairlead")
    # Without a configured log the logging module would print to stderr, with whatever the error holds.
    if log.hasHandlers():
        log.error("unexpected error in the command line", exc_info=error)
    if debug:
        _print_traceback(error)
    _say("error", f"unexpected {type(error).__name__}; this is a bug in Fairlead")
    if not debug:
        _say("hint", "run the command again with --debug for the traceback, and report it")
    return _BUG


def _print_traceback(error: Exception) -> None:
    import traceback  # only here: it is needed for bugs alone

    traceback.print_exception(error, file=sys.stderr)


def _say(kind: str, text: str) -> None:
    # Names from a file may hold terminal control sequences.
    safe = "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
    print(f"fairlead: {kind}: {safe}", file=sys.stderr)
