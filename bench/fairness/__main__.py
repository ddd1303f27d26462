"""`python -m bench.fairness`: the tables of `fairlead simulate fairness`, and the cost of the queue.

`--write-docs` writes docs/fairness.md, `--check` ends with status 1 when a
promise is broken. Nothing but the cost depends on the machine. `--live` is
another experiment, on real processes (`bench.fairness.live`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.fairness.cost import measure
from bench.fairness.page import page
from fairlead.limits.simulate_report import LEGEND, Row, promises, rows, table, verdict
from fairlead.limits.simulate_workloads import WORKLOADS

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "fairness.md"
MOST_RISE: Final = 0.20
"""Of the quiet tenant's 99th percentile, live."""


def main(arguments: Sequence[str]) -> int:
    """Simulate, measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=__doc__)
    parser.add_argument("--write-docs", action="store_true", help="write docs/fairness.md")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a promise is broken")
    parser.add_argument("--no-cost", action="store_true", help="leave the micro-benchmark out")
    parser.add_argument("--live", action="store_true", help="on real processes instead; takes a minute")
    options = parser.parse_args(arguments)
    if options.live:
        return _live(check=options.check)
    found: list[Row] = []
    tables: dict[str, str] = {}
    for name, workload in WORKLOADS.items():
        there = rows(workload)
        found += there
        tables[name] = table(workload, there)
    kept = promises(found)
    print("\n".join([*tables.values(), LEGEND, verdict(kept)]))
    if not options.no_cost:
        for cost in measure():
            print(f"{cost.what}: {cost.microseconds:.2f} us")
    if options.write_docs:
        PAGE.write_text(page(found, tables), encoding="utf-8")
        print(f"written: {PAGE}")
    return int(options.check and not all(one.kept for one in kept))


def _live(*, check: bool) -> int:
    from bench.fairness.live import Experiment, measure, rise, table

    experiment = Experiment()
    outcomes = measure(experiment)
    print(table(experiment, outcomes))
    return int(check and rise(outcomes) > MOST_RISE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
