"""`fairlead usage export`: the requests of a period as CSV or Parquet, one row each."""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO, Final

from fairlead.cli.ledger import moment, read, say, with_those_below
from fairlead.cli.settings import add_config_options
from fairlead.errors import UsageError
from fairlead.telemetry.billing.export import CsvWriter, batches
from fairlead.telemetry.billing.parquet import ParquetWriter
from fairlead.telemetry.ledger.db import Ledger

_STDOUT: Final = "-"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="write the requests of a period to a file, one row each",
        description="Write the requests of a period, oldest first: tokens by kind, cost and what priced it. "
        "The file appears when it is complete. In CSV a text that a spreadsheet would run as a formula gets "
        "a ' before it. Parquet needs `pip install 'fairlead[parquet]'`.",
    )
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv", help="(default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", required=True, help="where to write; `-` is stdout, for CSV")
    parser.add_argument("--tenant", metavar="T", help="only of this tenant and its sub-tenants")
    parser.add_argument(
        "--since",
        metavar="24h|DATE",
        default="24h",
        help="beginning: a time ago or a date (default: %(default)s)",
    )
    parser.add_argument("--until", metavar="1h|DATE", help="end, not included (default: now)")
    add_config_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export."""
    now = time.time()
    since = moment(args.since, "--since", now)
    until = now if args.until is None else moment(args.until, "--until", now)
    tenants = None if args.tenant is None else with_those_below(args)

    async def write(ledger: Ledger, out: BinaryIO) -> int:
        text = io.TextIOWrapper(out, "utf-8", newline="") if args.format == "csv" else None
        writer = CsvWriter(text) if text is not None else ParquetWriter(out)
        count = 0
        async for rows in batches(ledger, since, until, tenants=tenants):
            writer.write(rows)
            count += len(rows)
        writer.close()
        if text is not None:
            text.detach()
        return count

    if args.out == _STDOUT:
        if args.format != "csv":
            raise UsageError("Parquet cannot be written to a terminal or pipe", hint="name a file with --out")
        read(args, lambda ledger: write(ledger, sys.stdout.buffer))
        return 0
    path = Path(args.out)
    # Beside the file, so that the last step is one rename; whoever may read the folder need not read it.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            count = read(args, lambda ledger: write(ledger, out))
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    except OSError as error:
        raise UsageError(f"{args.out} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    say(f"{count:,} requests written to {path}")
    return 0
