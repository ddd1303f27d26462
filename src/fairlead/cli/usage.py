"""`fairlead usage`: requests, tokens and cost from the ledger, by model, key, tenant, target, day or request.

`usage export` and `usage recompute` are in modules of their own.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from typing import Final, get_args

from fairlead.cli import usage_export, usage_recompute
from fairlead.cli.ledger import moment, read, say, seconds, table, usd, with_those_below, write_json
from fairlead.cli.settings import add_config_options
from fairlead.errors import UsageError
from fairlead.telemetry.billing.export import harmless
from fairlead.telemetry.billing.report import MOST_REQUESTS, Group, report
from fairlead.telemetry.ledger.db import Sum

_NUMBERS: Final = (
    "REQUESTS", "FAILED", "REFUSED", "LEFT", "INPUT", "OUTPUT", "USD", "UNPRICED", "HITS", "SAVED",
    "MEAN TTFT",
)  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "usage",
        help="show requests, tokens and cost by model, key and day",
        description="Requests, tokens and cost from the ledger. Days and dates are UTC. UNPRICED are "
        "requests whose cost is not known, because their target has no prices; they are not part of USD. "
        "HITS are requests that the cache has answered, SAVED is what their answers cost, in USD, when a "
        "model gave them.",
    )
    parser.add_argument("--tenant", metavar="T", help="only of this tenant and its sub-tenants")
    parser.add_argument(
        "--by",
        choices=get_args(Group),
        default="model",
        help="how to group (default: %(default)s); `request` shows those that cost most",
    )
    parser.add_argument(
        "--top", type=int, default=20, metavar="N", help="how many requests (default: %(default)s)"
    )
    parser.add_argument(
        "--revision", type=int, metavar="N", help="costs as of this recomputation, 0 as they were billed"
    )
    parser.add_argument(
        "--since",
        metavar="24h|DATE",
        default="24h",
        help="beginning: a time ago or a date (default: %(default)s)",
    )
    parser.add_argument("--until", metavar="1h|DATE", help="end, not included (default: now)")
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--json", action="store_true", help="write JSON to stdout")
    formats.add_argument(
        "--csv",
        action="store_true",
        help="write CSV to stdout; a name that a spreadsheet would run as a formula gets a ' before it",
    )
    add_config_options(parser)
    parser.set_defaults(run=run)
    commands = parser.add_subparsers(dest="usage_command", metavar="[COMMAND]")
    usage_export.add_parser(commands)
    usage_recompute.add_parsers(commands)


def run(args: argparse.Namespace) -> int:
    """Show usage."""
    now = time.time()
    since = moment(args.since, "--since", now)
    until = None if args.until is None else moment(args.until, "--until", now)
    tenants = None if args.tenant is None else with_those_below(args)
    if not 1 <= args.top <= MOST_REQUESTS:
        raise UsageError(f"--top: expected 1 to {MOST_REQUESTS}, got {args.top}")
    sums = read(
        args,
        lambda ledger: report(
            ledger,
            args.by,
            since=since,
            until=until,
            tenants=tenants,
            most=args.top,
            revision=args.revision,
        ),
    )
    if args.json:
        write_json([_public(one) for one in sums])
    elif args.csv:
        _write_csv(args.by, sums)
    elif sums:
        sys.stdout.write(as_table(args.by, sums))
    else:
        say(f"no requests since {args.since}")
    return 0


def as_table(by: Group, sums: Sequence[Sum]) -> str:
    """Sums as text in columns, with their total when there are several."""
    rows = [_row(one.name or "-", one) for one in sums]
    if len(sums) > 1:
        rows.append(_row("total", _total(sums)))
    return table((by.upper(), *_NUMBERS), rows, numbers=_NUMBERS)


def _row(name: str, one: Sum) -> tuple[str, ...]:
    return (
        name,
        f"{one.requests:,}",
        f"{one.failed:,}",
        f"{one.refused:,}",
        f"{one.client_gone:,}",
        f"{one.input_tokens:,}",
        f"{one.output_tokens:,}",
        usd(_cost(one)),
        f"{one.unpriced:,}",
        f"{one.cache_hits:,}",
        usd(one.saved_microusd) if one.cache_hits else "-",
        seconds(one.first_token_mean_s),
    )


def _total(sums: Sequence[Sum]) -> Sum:
    return Sum(
        name="total",
        requests=sum(one.requests for one in sums),
        failed=sum(one.failed for one in sums),
        refused=sum(one.refused for one in sums),
        client_gone=sum(one.client_gone for one in sums),
        input_tokens=sum(one.input_tokens for one in sums),
        output_tokens=sum(one.output_tokens for one in sums),
        first_tokens=sum(one.first_tokens for one in sums),
        first_token_sum_s=sum(one.first_token_sum_s for one in sums),
        cost_microusd=sum(one.cost_microusd for one in sums),
        unpriced=sum(one.unpriced for one in sums),
        cache_hits=sum(one.cache_hits for one in sums),
        saved_tokens=sum(one.saved_tokens for one in sums),
        saved_microusd=sum(one.saved_microusd for one in sums),
    )


def _public(one: Sum) -> dict[str, str | int | float | None]:
    mean = one.first_token_mean_s
    return {
        "name": one.name,
        "requests": one.requests,
        "failed": one.failed,
        "refused": one.refused,
        "client_gone": one.client_gone,
        "input_tokens": one.input_tokens,
        "output_tokens": one.output_tokens,
        "cost_microusd": one.cost_microusd,
        "unpriced": one.unpriced,
        "cache_hits": one.cache_hits,
        "saved_tokens": one.saved_tokens,
        "saved_microusd": one.saved_microusd,
        "first_token_mean_s": None if mean is None else round(mean, 6),
    }


def _write_csv(by: Group, sums: Sequence[Sum]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([by, *list(_for_spreadsheet(Sum(name="")))[1:]])
    for one in sums:
        writer.writerow([harmless(one.name), *list(_for_spreadsheet(one).values())[1:]])


def _for_spreadsheet(one: Sum) -> dict[str, str | int | float | None]:
    """As `_public`, with money in dollars; nothing where no cost is known."""
    money = {"cost_microusd": _cost(one), "saved_microusd": one.saved_microusd}
    return {
        name.replace("_microusd", "_usd"): _dollars(money[name]) if name in money else value
        for name, value in _public(one).items()
    }


def _dollars(microusd: int | None) -> str | None:
    return None if microusd is None else usd(microusd).replace(",", "")


def _cost(one: Sum) -> int | None:
    """Micro-dollars; None when no cost is known, which is not the same as none."""
    return one.cost_microusd or (None if one.unpriced else 0)
