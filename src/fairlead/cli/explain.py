"""`fairlead explain`: why a request went as it did, from its record in the ledger."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Final

from fairlead.cli.ledger import date, printable, read, write_json
from fairlead.cli.settings import add_config_options
from fairlead.errors import NotFound
from fairlead.gateway.exchange import second_of
from fairlead.gateway.explain import Explanation, explain
from fairlead.telemetry.ledger.db import Ledger
from fairlead.types import RequestRecord

_YOUNG_S: Final = 3.0
"""A gateway writes records several times a second."""
_PAUSE_S: Final = 0.1


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="tell why a request went as it did",
        description="Tell why a request was admitted, queued, limited, retried and answered as it was, from "
        "its record in the ledger.",
    )
    parser.add_argument("id", metavar="REQUEST_ID", help="from the answer's x-request-id header")
    parser.add_argument("--json", action="store_true", help="write JSON to stdout")
    add_config_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain one request."""
    explanation = explain(read(args, lambda ledger: _found(ledger, args.id)))
    if args.json:
        write_json(explanation)
    else:
        sys.stdout.write(as_text(explanation))
    return 0


async def _found(ledger: Ledger, request_id: str) -> RequestRecord:
    """The record; waited for when the request is so young that the gateway may not have written it yet."""
    began = second_of(request_id)
    while True:
        try:
            return await ledger.get(request_id)
        except NotFound as error:
            if began is None or not 0 <= time.time() - began < _YOUNG_S:
                error.hint = (
                    "a request has a record when it has ended, for `ledger.retention_days`; one that was "
                    "refused before its API was known has none"
                )
                raise
        await asyncio.sleep(_PAUSE_S)


def as_text(explanation: Explanation) -> str:
    """The explanation for people: the summary, then one line for each step."""
    lines = [f"{explanation.id}, {date(explanation.started_at)}", explanation.summary, ""]
    for step in explanation.steps:
        at = f"{step.at_s:.3f} s" if step.at_s is not None else ""
        lines.append(f"{step.part:<9}{at:>10}  {step.text}")
    return "".join(printable(line) + "\n" for line in lines)
