"""Tables: for a terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bench.gateway.results import REFERENCE, Floor, Run, Spread, floors, remarks

Column = tuple[str, Callable[[str, str], str]]
"""A heading, and the cell for a scenario and a contestant."""

_TITLES: Final = {
    "start": "`fairlead serve`: time to ready and idle memory",
    "unary-64": "Answers of 1 KB, 64 clients",
    "unary-256": "Answers of 1 KB, 256 clients",
    "stream-64": "Streams of 53 events in one piece, 64 clients",
    "events-64": "Streams of 53 events, each sent by itself, 64 clients",
    "latency-1": "Answers of 1 KB, one client",
    "hits-64": "The same answer again, from the cache, 64 clients (nginx: from the upstream)",
    "hits-1": "The same answer again, from the cache, one client (nginx: from the upstream)",
    "paced": "Slow streams: delay of an event between the upstream's send and the client's receive",
    "workers": "Two workers against one: gateway, upstream and load share two cores",
    "soak": "Memory over many requests",
}

_PAGE: Final = """\
# Benchmarks

How fast the gateway is, next to nginx as a plain reverse proxy, to other LLM gateways and to no gateway at
all. This page is written by the benchmark itself:

```console server
$ {command}
```

- Measured on {day}: {cpu}, {cores} cores, Linux {kernel}, Python {python}.
- {versions}.
- Each gateway is one process on one core; the load generator and a fake upstream written in C share another.
  What is compared are ratios within one round of one run; contestants take turns. Figures are medians over
  {rounds:.0f} rounds, with the lowest and the highest where there is a range.
- Fairlead runs as it does by default: key check, routing between two targets, breakers, metrics, and a record
  of each request in the SQLite ledger. nginx checks, decides and records nothing. LiteLLM checks its one key,
  without a database. Portkey's gateway checks none.
- *CPU* is user and system time of the gateway's processes per request, with what is done after the answer.
  *Core* is how much of its core it used: well below 100 %, the load generator and the upstream were the
  limit, and CPU time is the better comparison.
- Every answer's status and proper end are checked under load; its content once before.

## What is promised

{floors}{tables}{doubts}"""


def text(run: Run) -> str:
    """Everything, for a terminal."""
    parts = [_floor_table(floors(run)), *_tables(run)]
    if run.missing:
        parts.append("\n".join(f"without {name}: {why}" for name, why in run.missing.items()))
    doubts = remarks(run)
    if doubts:
        parts.append("NOISY: " + "\n       ".join(doubts))
    return "\n\n".join(part.strip() for part in parts)


def page(run: Run) -> str:
    """docs/benchmarks.md."""
    doubts = remarks(run)
    machine = run.machine
    versions = [f"{name} {version}" for name, version in run.versions.items() if version]
    return _PAGE.format(
        command=run.command,
        day=run.measured_on,
        cpu=machine.cpu,
        cores=machine.cores,
        kernel=machine.kernel,
        python=machine.python,
        versions="Versions: " + ", ".join(versions),
        rounds=run.settings["rounds"],
        floors=_floor_table(floors(run)),
        tables="".join("\n" + table for table in _tables(run)),
        doubts="\n## Doubts\n\n" + "".join(f"- {doubt}\n" for doubt in doubts) if doubts else "",
    )


def _tables(run: Run) -> list[str]:
    tables = []
    for scenario in run.scenarios():
        columns = _columns(run, scenario)
        rows = [
            [contestant, *(cell(scenario, contestant) for _, cell in columns)]
            for contestant in run.contestants(scenario)
        ]
        tables.append(
            f"## {_TITLES[scenario]}\n\n" + _table(["", *(heading for heading, _ in columns)], rows)
        )
    return tables


def _columns(run: Run, scenario: str) -> Sequence[Column]:
    def plain(name: str, digits: int) -> Callable[[str, str], str]:
        return lambda scenario, contestant: _number(run.spread(scenario, contestant, name), digits)

    def ranged(name: str, digits: int) -> Callable[[str, str], str]:
        return lambda scenario, contestant: _range(run.spread(scenario, contestant, name), digits)

    def ratio(name: str, base: str = REFERENCE) -> Callable[[str, str], str]:
        return lambda scenario, contestant: _range(run.ratio(scenario, name, contestant, base), None)

    def added(name: str, base: str) -> Callable[[str, str], str]:
        return lambda scenario, contestant: _range(run.added(scenario, name, contestant, base), 0)

    match scenario:
        case "start":
            return [("ready, s", ranged("ready_s", 3)), ("RSS, MB", ranged("rss_mb", 1))]
        case "latency-1" | "hits-1":
            return [
                ("p50, us", plain("p50_us", 0)),
                ("p99, us", plain("p99_us", 0)),
                ("p50 over nginx", added("p50_us", REFERENCE)),
                ("p99 over nginx", added("p99_us", REFERENCE)),
                ("CPU, us", plain("cpu_us", 1)),
            ]
        case "paced":
            return [
                ("p50, us", plain("p50_us", 0)),
                ("p99, us", plain("p99_us", 0)),
                ("p99.9, us", plain("p999_us", 0)),
                ("p99 over direct", added("p99_us", "direct")),
                ("p99 over nginx", added("p99_us", REFERENCE)),
                ("core, %", plain("core_percent", 0)),
                ("load's core, %", plain("load_core_percent", 0)),
            ]
        case "workers":
            return [
                ("requests/s", plain("requests_per_s", 0)),
                ("x one worker", ratio("requests_per_s", "1 worker")),
                ("CPU, us", plain("cpu_us", 1)),
            ]
        case "soak":
            return [
                ("RSS at start, MB", plain("rss_start_mb", 1)),
                ("half-way", plain("rss_half_mb", 1)),
                ("at the end", plain("rss_end_mb", 1)),
                ("growth in the second half, %", plain("growth_percent", 2)),
            ]
        case _:
            return [
                ("requests/s", plain("requests_per_s", 0)),
                ("x nginx", ratio("requests_per_s")),
                ("CPU, us", plain("cpu_us", 1)),
                ("CPU, x nginx", ratio("cpu_us")),
                ("core, %", plain("core_percent", 0)),
                ("p50, us", plain("p50_us", 0)),
                ("p99, us", plain("p99_us", 0)),
                ("RSS, MB", plain("rss_mb", 0)),
            ]


def _floor_table(promised: Sequence[Floor]) -> str:
    rows = []
    for floor in promised:
        limit = f">= {floor.at_least:g}" if floor.at_least is not None else f"<= {floor.at_most:g}"
        verdict = {True: "yes", False: "**no**", None: "not measured"}[floor.met]
        rows.append([floor.what, limit, _range(floor.measured, floor.digits), verdict])
    return _table(["promise", "limit", "measured", "kept"], rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join([first, *rest]) + " |\n"

    rule = "|" + "|".join(
        "-" * (width + 2) if not column else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return line(headings) + rule + "|\n" + "".join(line(row) for row in rows)


def _number(spread: Spread | None, digits: int) -> str:
    return "" if spread is None else f"{spread.median:,.{digits}f}"


def _range(spread: Spread | None, digits: int | None) -> str:
    """A median with its range; without `digits`, as many as a ratio of its size needs."""
    if spread is None:
        return ""
    if digits is None:
        size = abs(spread.median)
        digits = 1 if size >= 10 else 2 if size >= 0.1 else 4
    middle, low, high = (f"{value:,.{digits}f}" for value in (spread.median, spread.low, spread.high))
    return middle if low == high else f"{middle} ({low} to {high})"
