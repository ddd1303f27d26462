"""A simulation's report as text, and what it says about static thresholds."""

from __future__ import annotations

from typing import Final

from fairlead.cache.simulate import Report, Row

LEGEND: Final = """\
hit rate   hits of all questions
false      hits whose cached answer was another question's
rate       false of hits, and its 95 % upper bound (Clopper and Pearson)
published  the bound that the verified policy knew itself, from the decisions it had verified: misses that it
           would have served, and audited hits. It holds at every moment with 95 %
verified   decisions behind it; `labels`: all comparisons with a fresh answer
"""

_HEAD: Final = (
    "policy",
    "hit rate",
    "hits",
    "false",
    "rate",
    "upper",
    "published",
    "verified",
    "labels",
    "state",
)


def table(report: Report) -> str:
    """The whole report."""
    lines = [_HEAD, *(_cells(row) for row in report.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    body = [
        "  ".join(
            cell.ljust(width) if column in (0, len(_HEAD) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    title = (
        f"{report.pairs:,} pairs, {report.same:,} of them the same; {report.mode}, "
        f"embedder {report.embedder}, seed {report.seed}"
    )
    return "\n".join([title, "", *body, "", LEGEND, *verdicts(report)])


def verdicts(report: Report) -> list[str]:
    """For each verified policy, what it served, and what a static threshold serves within its limit."""
    static = [row for row in report.rows if row.max_false_hit_rate is None and row.hits]
    found = []
    for row in report.rows:
        if (limit := row.max_false_hit_rate) is None:
            continue
        if not row.hits:
            found.append(f"{row.policy}: served nothing; its bound never came down to {limit:.1%}")
            continue
        as_good = [one for one in static if one.false_hit_rate <= limit]
        best = max(as_good, key=lambda one: one.hits, default=None)
        other = (
            "no static threshold" if best is None else f"{best.policy} serves {best.hit_rate:.1%}, the most"
        )
        found.append(f"{row.policy}: serves {row.hit_rate:.1%}; within {limit:.1%} false: {other}")
    return found


def _cells(row: Row) -> tuple[str, ...]:
    def shown(value: float | None) -> str:
        return "" if value is None else f"{value:.2%}"

    def counted(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    return (
        row.policy,
        f"{row.hit_rate:.1%}",
        f"{row.hits:,}",
        f"{row.false_hits:,}",
        shown(row.false_hit_rate) if row.hits else "",
        shown(row.false_hit_upper) if row.hits else "",
        shown(row.published_bound),
        counted(row.verified),
        counted(row.labels),
        row.state or "",
    )
