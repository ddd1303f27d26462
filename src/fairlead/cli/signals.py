"""`fairlead signals`: what sampled answers are like, and whether prompts or answers have changed."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final
from urllib.parse import urlencode

from fairlead.cli.admin_api import KEY, add_url_option, ask
from fairlead.cli.ledger import date, printable, say, table, write_json

_COUNTS: Final = ("MODEL", "WHAT", "KIND", "COUNT")
_SCORES: Final = ("MODEL", "WHAT", "ANSWERS", "MEAN")
_WINDOWS: Final = ("MODEL", "SIGNAL", "COMPARED", "VERDICT", "P", "LEVEL", "REQUESTS", "GREW", "FROM", "TO")
_LEARNING: Final = ("MODEL", "SIGNAL", "WAITING")
_NUMBERS: Final = ("COUNT", "ANSWERS", "MEAN", "P", "LEVEL", "REQUESTS", "FROM", "TO", "WAITING")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("signals", help="show what answers are like, and what has changed")
    commands = group.add_subparsers(dest="signals_command", metavar="COMMAND", required=True)
    where = f"Asks a running gateway; the admin key is read from ${KEY}."

    show = commands.add_parser(
        "show",
        help="show counts of sampled answers, and the last comparison of each series",
        description="Show what the worker that answers has counted since its start, and the last "
        f"comparison of each series. Levels differ by model: watch for changes. {where}",
    )
    add_url_option(show)
    show.add_argument("--json", action="store_true", help="write JSON to stdout")
    show.set_defaults(run=_show)

    drift = commands.add_parser(
        "drift",
        help="list comparisons with earlier traffic, and the requests behind an alarm",
        description=f"List comparisons, the latest first, with the requests behind each alarm. {where}",
    )
    drift.add_argument("--model", metavar="M", help="only of this entry of `models`")
    drift.add_argument("--alarms", action="store_true", help="only those that were alarms")
    drift.add_argument("--limit", type=int, default=20, metavar="N", help="how many (default: %(default)s)")
    add_url_option(drift)
    drift.add_argument("--json", action="store_true", help="write JSON to stdout")
    drift.set_defaults(run=_drift)


def _show(args: argparse.Namespace) -> int:
    answer = ask(args.url, "/admin/v1/signals")
    if args.json:
        write_json(answer)
    elif not answer["enabled"]:
        say("semantic metrics are turned off; `signals: {}` turns them on")
    else:
        sys.stdout.write(as_text(answer) or "nothing was sampled yet\n")
    return 0


def _drift(args: argparse.Namespace) -> int:
    query = {"limit": args.limit} | ({"model": args.model} if args.model else {})
    found = ask(args.url, f"/admin/v1/signals/windows?{urlencode(query)}")["data"]
    if args.alarms:
        found = [window for window in found if window["alarm"]]
    if args.json:
        write_json({"data": found})
    elif not found:
        say("nothing was compared yet")
    else:
        sys.stdout.write(windows_as_text(found))
    return 0


def as_text(answer: dict[str, Any]) -> str:
    """Everything at a glance, in one table for each kind that has something in it."""
    counts = [
        (printable(one["model"]), one["what"], one["kind"], f"{one['count']:,}") for one in answer["counts"]
    ]
    scores = [
        (printable(one["model"]), one["what"], f"{one['answers']:,}", f"{one['mean']:.3f}")
        for one in answer["scores"]
    ]
    learning = [
        (printable(one["model"]), one["signal"], f"{one['requests']:,}") for one in answer["learning"]
    ]
    parts = ((_COUNTS, counts), (_SCORES, scores), (_LEARNING, learning))
    texts = [table(head, rows, numbers=_NUMBERS) for head, rows in parts if rows]
    if answer["last"]:
        texts.append(windows_as_text(answer["last"]))
    return "\n".join(texts)


def windows_as_text(found: list[dict[str, Any]]) -> str:
    """Comparisons as a table, and the requests behind each alarm below it."""
    text = table(_WINDOWS, [_row(one) for one in found], numbers=_NUMBERS)
    for one in found:
        if one["alarm"] and one["examples"]:
            text += f"\n{printable(one['model'])}, {one['signal']}, {date(one['compared_at'])}:\n"
            for example in one["examples"]:
                text += f"  {printable(example['id'])}  {printable(example['text'])}".rstrip() + "\n"
    return text


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    grew = one["topic"] or ("a group of requests" if one["share"] is not None else "")
    shares = ("" if one[name] is None else f"{one[name]:.1%}" for name in ("before", "share"))
    verdict = "DRIFT" if one["alarm"] else "stable"
    numbers = (f"{one['p_value']:.2g}", f"{one['alpha']:.2g}", f"{one['requests']:,}")
    whose = (printable(one["model"]), one["signal"], date(one["compared_at"]))
    return (*whose, verdict, *numbers, grew, *shares)
