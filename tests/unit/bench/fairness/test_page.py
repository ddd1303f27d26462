"""docs/fairness.md is what the benchmark writes."""

from __future__ import annotations

from bench.fairness.__main__ import PAGE
from bench.fairness.page import page

from fairlead.limits.simulate_report import Row, rows, table
from fairlead.limits.simulate_workloads import WORKLOADS


def test_the_page_is_up_to_date() -> None:
    """Its examples run with the documentation's; here the rest, without running everything twice."""
    written = PAGE.read_text(encoding="utf-8")
    found: list[Row] = []
    tables: dict[str, str] = {}
    for name in ("overload", "flood", "increase"):
        there = rows(WORKLOADS[name])
        found += there
        tables[name] = table(WORKLOADS[name], there)
        assert tables[name] in written, "run `python -m bench.fairness --write-docs`"
    shorter = page(found, tables)
    # Without the workloads that were left out, it is the same page.
    begin = shorter.index(tables["increase"])
    assert written.startswith(shorter[:begin])
    assert written.endswith(shorter[begin + len(tables["increase"]) :])
