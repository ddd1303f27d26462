"""`fairlead simulate fairness`: who is served how much, and how soon, under which queueing policy.

Runs the published experiments on a simulated engine in a second or two and
prints a table for each. Exit status 1 when a promise of the product is broken.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import msgspec

from fairlead.limits.simulate import POLICIES
from fairlead.limits.simulate_report import LEGEND, Row, promises, rows, table, verdict
from fairlead.limits.simulate_workloads import WORKLOADS

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_command(commands: _Commands) -> None:
    """Add `fairness` to the group `simulate`."""
    command = commands.add_parser(
        "fairness",
        help="compare queueing policies on the published fairness experiments",
        description="Simulate several clients in front of one engine, and print who was served how much.",
    )
    command.add_argument(
        "--workload",
        action="append",
        choices=tuple(WORKLOADS),
        metavar="NAME",
        help=f"of {', '.join(WORKLOADS)}; may be repeated (default: all)",
    )
    command.add_argument(
        "--policy",
        action="append",
        choices=tuple(POLICIES),
        metavar="NAME",
        help="of the table's first column; may be repeated (default: all)",
    )
    command.add_argument("--seed", type=int, default=1, help="of random arrivals (default: %(default)s)")
    command.add_argument("--json", action="store_true", help="print rows as JSON instead")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate and print; returns the exit status."""
    policies = [name for name in POLICIES if args.policy is None or name in args.policy]
    found: list[Row] = []
    texts: list[str] = []
    for name, workload in WORKLOADS.items():
        if args.workload is None or name in args.workload:
            there = rows(workload, policies, seed=args.seed)
            found += there
            texts.append(table(workload, there))
    kept = promises(found)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode({"rows": found, "promises": kept}), indent=2).decode())
    else:
        print("\n".join([*texts, LEGEND, verdict(kept)]).rstrip())
    return int(not all(one.kept for one in kept))
