"""`fairlead usage recompute` and `revisions`: a past period under another price table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fairlead.cli.ledger import date, moment, printable, read, say, table, usd, write_json
from fairlead.cli.settings import add_config_options, find, from_file
from fairlead.config import Config
from fairlead.errors import UsageError
from fairlead.telemetry.billing.db import CostHistory, Revision
from fairlead.telemetry.billing.pricebook import opener
from fairlead.telemetry.billing.prices import load
from fairlead.telemetry.billing.recompute import Difference, Repricer, recompute
from fairlead.telemetry.ledger.db import Ledger

_HEAD: Final = ("MODEL", "REQUESTS", "CHANGED", "KEPT", "BEFORE USD", "AFTER USD", "DIFFERENCE USD")
_REVISIONS: Final = ("REVISION", "PRICES", "SINCE", "UNTIL", "MADE", "CHANGED", "STATE")


def add_parsers(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands."""
    parser = subparsers.add_parser(
        "recompute",
        help="show what a past period costs under another price table, and apply it",
        description="Price the requests of a period again from the usage in the ledger and show the "
        "difference by model. Prices that the configuration sets win over the table's. KEPT are requests "
        "with an attempt whose model the table does not know: it keeps its cost. Nothing is changed without "
        "--apply; with it the costs become a new revision, and the old ones stay (`usage --revision N`).",
    )
    parser.add_argument("--since", metavar="24h|DATE", required=True, help="beginning: a time ago or a date")
    parser.add_argument("--until", metavar="1h|DATE", help="end, not included (default: now)")
    parser.add_argument(
        "--prices",
        metavar="FILE",
        help="price table (default: what `prices.file` says, else the built-in one)",
    )
    parser.add_argument("--apply", action="store_true", help="write the costs as a new revision")
    parser.add_argument("--json", action="store_true", help="write JSON to stdout; money in micro-dollars")
    add_config_options(parser)
    parser.set_defaults(run=run)

    revisions = subparsers.add_parser("revisions", help="list the recomputations that were applied")
    revisions.add_argument("--json", action="store_true", help="write JSON to stdout")
    add_config_options(revisions)
    revisions.set_defaults(run=list_revisions)


def run(args: argparse.Namespace) -> int:
    """Recompute."""
    now = time.time()
    since = moment(args.since, "--since", now)
    until = now if args.until is None else min(now, moment(args.until, "--until", now))
    if since >= until:
        raise UsageError("the period ends before it begins", hint="see --since and --until")
    path = find(args)
    # Nothing is detected: engines on this machine have no say in what providers charge.
    config = Config() if path is None else from_file(path)
    prices = load(Path(args.prices)) if args.prices is not None else opener(config)()
    repricer = Repricer(config, prices)

    async def go(ledger: Ledger) -> tuple[list[Difference], int | None]:
        history = CostHistory(ledger.database) if args.apply else None
        return await recompute(ledger, repricer, since=since, until=until, history=history, now=time.time)

    found, revision = read(args, go)
    if args.json:
        write_json(
            {
                "prices": repricer.version,
                "revision": revision,
                "models": [{**_public(one), "name": one.name} for one in found],
                "total": _public(_total(found)),
            }
        )
        return 0
    if not found:
        say("no requests in this period asked a model")
    else:
        sys.stdout.write(as_table(found))
    if revision is None:
        say(f"prices: {repricer.version}; nothing was changed, --apply writes these costs")
    else:
        say(f"prices: {repricer.version}; written as revision {revision}")
    return 0


def as_table(found: Sequence[Difference]) -> str:
    """Differences as text in columns, with their total when there are several."""
    lines = [*found, _total(found)] if len(found) > 1 else found
    rows = [
        (
            printable(one.name) or "-",
            f"{one.requests:,}",
            f"{one.changed:,}",
            f"{one.kept:,}",
            usd(one.before_microusd),
            usd(one.after_microusd),
            ("+" if one.difference_microusd > 0 else "") + usd(one.difference_microusd),
        )
        for one in lines
    ]
    return table(_HEAD, rows, numbers=_HEAD[1:])


def _total(found: Sequence[Difference]) -> Difference:
    return Difference(
        name="total",
        requests=sum(one.requests for one in found),
        changed=sum(one.changed for one in found),
        kept=sum(one.kept for one in found),
        before_microusd=sum(one.before_microusd for one in found),
        after_microusd=sum(one.after_microusd for one in found),
    )


def _public(one: Difference) -> dict[str, int | str]:
    return {
        "requests": one.requests,
        "changed": one.changed,
        "kept": one.kept,
        "before_microusd": one.before_microusd,
        "after_microusd": one.after_microusd,
        "difference_microusd": one.difference_microusd,
    }


def list_revisions(args: argparse.Namespace) -> int:
    """List the revisions."""
    found: list[Revision] = read(args, lambda ledger: CostHistory(ledger.database).revisions())
    if args.json:
        write_json(found)
    elif found:
        rows = [
            (
                str(one.revision),
                printable(one.prices),
                date(one.since),
                date(one.until),
                date(one.begun_at),
                f"{one.changed:,}",
                "incomplete" if one.ended_at is None else "complete",
            )
            for one in found
        ]
        sys.stdout.write(table(_REVISIONS, rows, numbers=("REVISION", "CHANGED")))
    else:
        say("no costs were recomputed")
    return 0
