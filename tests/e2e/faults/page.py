"""docs/faults.md: written by a run, or compared with it.

With FAIRLEAD_WRITE_DOCS=1 a whole run of tests/e2e/faults writes the page.
Without it each test looks up its own row and compares every column but the
time waited, which differs from run to run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from tests.e2e.faults.play import Seen
from tests.e2e.faults.scenarios import GATEWAYS, GROUPS, Scenario
from tests.e2e.faults.shapes import Shape

PAGE: Final = Path(__file__).parents[3] / "docs" / "faults.md"
WRITING: Final = os.environ.get("FAIRLEAD_WRITE_DOCS") == "1"

_INTRODUCTION: Final = """\
# What a client sees when things break

<!-- Written by the tests in tests/e2e/faults (FAIRLEAD_WRITE_DOCS=1); do not edit. -->

Each row was played against a real gateway process over real sockets; the tests compare this page with what
they see, the times apart.

- *Clients* are the APIs the row was played in: `chat` is OpenAI's `/v1/chat/completions`, `messages`
  Anthropic's `/v1/messages`, each streamed or not. Upstream and client speak the same dialect.
- *Settings* are what was configured besides the first target. A *spare* is a healthy target of a lower tier.
  Time-outs are short here to keep the tests fast; pauses between attempts begin at 20 ms.
- *Saw* is what came over the wire. An error inside a stream is an event in the client's dialect, on which its
  SDK raises, and HTTP's proper end; "do not retry" is `x-should-retry: false`.
- *Waited* is the time from the request to the end of the answer, for a client that leaves until the upstream
  sees it.
- *Attempts* are how the calls to targets ended, as the request's record lists them; *Breaker* is the first
  target's, afterwards.
"""
_COLUMNS: Final = ("Name", "What happens", "Clients", "Settings", "Saw", "Waited", "Attempts", "Breaker")
_WAITED: Final = _COLUMNS.index("Waited")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the page."""

    group: str
    name: str
    fault: str
    clients: str
    settings: str = ""
    saw: str
    waited_s: float | None = None
    attempts: str = ""
    breaker: str = ""

    def cells(self) -> list[str]:
        """The columns, as the page has them."""
        texts = (
            self.name, self.fault, self.clients, self.settings, self.saw, rounded(self.waited_s),
            self.attempts, self.breaker,
        )  # fmt: skip
        return [text.replace("|", "\\|") for text in texts]


class Page:
    """Rows as they come; see the module."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._written = {} if WRITING else read_page()

    def show(self, row: Row) -> None:
        """Take a row for the page, or compare it with the page."""
        if WRITING:
            self._rows.append(row)
            return
        written = self._written.get((row.group, row.name))
        assert written is not None, f"docs/faults.md has no row `{row.name}`: write it anew"
        assert _stable(row.cells()) == _stable(written), "docs/faults.md is not up to date: write it anew"

    def write(self, order: Sequence[tuple[str, str]]) -> None:
        """Write what was collected, in `order` of (group, name); incomplete runs write nothing."""
        rows = {(row.group, row.name): row for row in self._rows}
        if not WRITING or set(rows) != set(order):
            return
        lines = [_INTRODUCTION]
        group = ""
        for place in order:
            if place[0] != group:
                group = place[0]
                lines += [f"\n## {group}\n", _line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
            lines.append(_line(rows[place].cells()))
        PAGE.write_text("\n".join(lines) + "\n")


def read_page() -> dict[tuple[str, str], list[str]]:
    """The rows of the page as it is, by group and name."""
    rows: dict[tuple[str, str], list[str]] = {}
    group = ""
    for line in PAGE.read_text().splitlines() if PAGE.exists() else ():
        if line.startswith("## "):
            group = line.removeprefix("## ")
        elif line.startswith("| ") and not line.startswith(("| ---", "| Name |")):
            cells = [cell.strip() for cell in line.replace("\\|", "\0").split("|")[1:-1]]
            cells = [cell.replace("\0", "\\|") for cell in cells]
            rows[group, cells[0]] = cells
    return rows


def row_of(scenario: Scenario, seen: Mapping[Shape, Seen]) -> Row:
    """The row of a scenario that was played in several dialects."""
    saw: dict[str, list[str]] = {}
    for shape, what in seen.items():
        saw.setdefault(what.saw, []).append(shape.name)
    words = [f"{', '.join(names)}: {text}" for text, names in saw.items()] if len(saw) > 1 else list(saw)
    first = next(iter(seen.values()))
    return Row(
        group=next(group for group, scenarios in GROUPS.items() if scenario in scenarios),
        name=scenario.name,
        fault=scenario.fault,
        clients=", ".join(shape.name for shape in seen),
        settings=_settings(scenario),
        saw="; ".join(words),
        waited_s=max(what.waited_s for what in seen.values()),
        attempts=", ".join(first.attempts),
        breaker=first.breaker,
    )


def flow(options: Mapping[str, Any]) -> str:
    """Options as they would be written on one line of YAML."""
    text = yaml.safe_dump(dict(options), default_flow_style=True, width=10_000, sort_keys=False).strip()
    return f"`{text[1:-1]}`"


def rounded(seconds: float | None) -> str:
    """A time for readers: no more digits than a run on another machine would agree to."""
    if seconds is None:
        return ""
    if seconds < 0.05:
        return "< 50 ms"
    return "< 0.1 s" if seconds < 0.1 else f"~{seconds:.1f} s"


def _settings(scenario: Scenario) -> str:
    parts = ["a spare"] if scenario.spare else []
    parts += [flow(options) for options in (GATEWAYS[scenario.gateway], scenario.provider) if options]
    if scenario.model:
        parts.append(flow(scenario.model).replace("{key}-other", "another"))
    parts += [f"header `{name}: {value}`" for name, value in scenario.headers.items()]
    return ", ".join(parts)


def _stable(cells: Sequence[str]) -> list[str]:
    return [cell for place, cell in enumerate(cells) if place != _WAITED]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
