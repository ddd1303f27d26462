"""`fairlead targets`: the targets of a running gateway, their breakers and their load."""

from __future__ import annotations

import argparse
import json
from typing import Final

from fairlead.cli.admin_api import KEY, add_url_option, ask

_SHOWN_CHARS: Final = 300


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `targets`."""
    parser = subparsers.add_parser(
        "targets",
        help="show the targets of a running gateway and their breakers",
        description=f"Ask a running gateway for its targets. The admin key is read from ${KEY}.",
    )
    add_url_option(parser)
    parser.add_argument("--reset", metavar="TARGET", help="close the breaker of this target by hand")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the targets as a table or JSON."""
    if args.reset is not None:
        ask(args.url, "/admin/v1/targets/reset", {"target": args.reset})
        print(f"the breaker of {args.reset} is closed")
        return 0
    targets = ask(args.url, "/admin/v1/targets")["data"]
    if args.json:
        print(json.dumps(targets, indent=2))
        return 0
    rows = [("TARGET", "STATE", "IN FLIGHT", "LATENCY", "LAST FAILURE")]
    for target in targets:
        failure = target.get("last_failure")
        rows.append(
            (
                target["target"],
                target["state"],
                str(target["in_flight"]),
                f"{target['latency_ms']:.0f} ms" if target["latency_ms"] else "-",
                _plain(failure["message"]) if failure else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print(
            "  ".join(
                [*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[4]]
            ).rstrip()
        )
    return 0


def _plain(text: str) -> str:
    """An upstream's words as one line that a terminal shows and does not obey."""
    return "".join(char if char.isprintable() else " " for char in text)[:_SHOWN_CHARS]
