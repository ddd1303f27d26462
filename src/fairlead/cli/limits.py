"""`fairlead limits`: how a tenant's limits stand, from a running gateway."""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import Any, Final
from urllib.parse import quote

from fairlead.cli.admin_api import KEY, add_url_option, ask
from fairlead.cli.ledger import date, printable, say, table, usd, write_json
from fairlead.gateway.keys import id_in

_HEAD: Final = ("OF", "MODEL", "LIMIT", "AMOUNT", "USED", "RESERVED", "LEFT", "RESETS", "MODE")
_NUMBERS: Final = ("AMOUNT", "USED", "RESERVED", "LEFT")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("limits", help="show how the limits of a tenant stand")
    commands = group.add_subparsers(dest="limits_command", metavar="COMMAND", required=True)
    text = "show the limits of a tenant and of those above it, and what is left of each"
    show = commands.add_parser(
        "show",
        help=text,
        description=f"{text[0].upper()}{text[1:]}. Asks a running gateway; the admin key is read from "
        f"${KEY}.",
    )
    show.add_argument("tenant", metavar="TENANT", help="as in the configuration")
    show.add_argument("--key", metavar="ID", help="show the limits of this key of the tenant as well")
    add_url_option(show)
    show.add_argument("--json", action="store_true", help="write JSON to stdout; money in micro-dollars")
    show.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    path = f"/admin/v1/limits/{quote(args.tenant, safe='')}"
    if args.key is not None:
        # Who pastes a whole secret means its id; the secret has no place in a URL.
        path += f"?key={quote(id_in(args.key) or args.key, safe='')}"
    answer = ask(args.url, path)
    if args.json:
        write_json(answer)
        return 0
    way = " > ".join(answer["path"] + ([f"key:{answer['key_id']}"] if answer["key_id"] else []))
    say(f"limits of {printable(way)}, kept in {answer['store']}")
    if answer["data"]:
        sys.stdout.write(as_table(answer["data"], time.time()))
    else:
        say("there are none")
    return 0


def as_table(limits: list[dict[str, Any]], now: float) -> str:
    """Limits, as the control API gives them, in columns. Budgets are in dollars."""
    return table(_HEAD, [_row(limit, now) for limit in limits], numbers=_NUMBERS)


def _row(limit: dict[str, Any], now: float) -> tuple[str, ...]:
    money = limit["what"] == "usd"
    numbers = (limit[name] for name in ("amount", "used", "reserved", "remaining"))
    amount, used, reserved, left = (usd(number) if money else f"{number:,}" for number in numbers)
    return (
        printable(limit["node"]),
        printable(limit["model"] or "all"),
        _name(limit),
        amount,
        used,
        reserved if money else "-",
        left,
        _resets(limit, now),
        "shadow" if limit["shadow"] else "enforced",
    )


def _name(limit: dict[str, Any]) -> str:
    if limit["what"] == "concurrent":
        return "requests at once"
    what = "USD" if limit["what"] == "usd" else limit["what"]
    return f"{what} per {limit['window']}"


def _resets(limit: dict[str, Any], now: float) -> str:
    at = limit["resets_at"]
    if at is None:
        return "-"
    if limit["what"] == "usd":
        return date(at)
    wait_s = math.ceil(at - now)
    return f"in {wait_s} s" if wait_s > 0 else "-"
