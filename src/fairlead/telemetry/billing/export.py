"""Requests of the ledger as rows of a table, for spreadsheets and data tools.

One row is one request; `COLUMNS` names what it holds. Rows are made of batches
as the ledger gives them, so an export of any length takes little memory. Money
is in micro-dollars, an integer, and in dollars, an exact decimal.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

from fairlead.telemetry.billing.cost import priced_by
from fairlead.telemetry.ledger.db import Ledger
from fairlead.types import RequestRecord

Cell = str | int | float | bool | None

BATCH: Final = 1000
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001  # what spreadsheets take for ASCII
"""What a text must not begin with: a spreadsheet would run it."""

_FIELDS: Final[tuple[tuple[str, type, Callable[[RequestRecord], Cell]], ...]] = (
    ("id", str, lambda record: record.id),
    ("started_at", str, lambda record: moment_text(record.started_at)),
    ("day", str, lambda record: moment_text(record.started_at)[:10]),
    ("tenant", str, lambda record: record.tenant),
    ("key_id", str, lambda record: record.key_id),
    ("model", str, lambda record: record.model),
    ("target", str, lambda record: record.target),
    ("endpoint", str, lambda record: record.endpoint),
    ("outcome", str, lambda record: record.outcome.value),
    ("status", int, lambda record: record.status),
    ("error", str, lambda record: record.error),
    ("input_tokens", int, lambda record: record.usage.input_tokens),
    ("output_tokens", int, lambda record: record.usage.output_tokens),
    ("cache_read_tokens", int, lambda record: record.usage.cache_read_tokens),
    ("cache_write_tokens", int, lambda record: record.usage.cache_write_tokens),
    ("reasoning_tokens", int, lambda record: record.usage.reasoning_tokens),
    ("audio_input_tokens", int, lambda record: record.usage.audio_input_tokens),
    ("audio_output_tokens", int, lambda record: record.usage.audio_output_tokens),
    ("service_tier", str, lambda record: record.usage.service_tier),
    ("usage_estimated", bool, lambda record: record.usage_estimated),
    ("attempts", int, lambda record: len(record.attempts)),
    ("cost_microusd", int, lambda record: record.cost_microusd),
    ("cost_usd", str, lambda record: dollars(record.cost_microusd)),
    ("priced_by", str, lambda record: priced_by(record)),
    ("cache", str, lambda record: record.cache),
    ("saved_tokens", int, lambda record: record.saved_tokens),
    ("saved_microusd", int, lambda record: record.saved_microusd),
    ("first_token_s", float, lambda record: record.first_token_s or None),
    ("duration_s", float, lambda record: record.duration_s),
)
COLUMNS: Final[tuple[tuple[str, type], ...]] = tuple((name, kind) for name, kind, _ in _FIELDS)
"""Names and types of the columns; every one of them may be empty."""
_LARGEST: Final = 2**63 - 1


def row(record: RequestRecord) -> tuple[Cell, ...]:
    """A request as cells in the order of `COLUMNS`."""
    cells = []
    for _, kind, cell in _FIELDS:
        value = cell(record)
        # An upstream may have reported any number.
        cells.append(min(value, _LARGEST) if kind is int and isinstance(value, int) else value)
    return tuple(cells)


def moment_text(at: float) -> str:
    """Unix seconds as text in UTC, to the microsecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def dollars(microusd: int | None) -> str | None:
    """Micro-dollars as dollars, exact."""
    if microusd is None:
        return None
    sign, microusd = ("-", -microusd) if microusd < 0 else ("", microusd)
    return f"{sign}{microusd // 1_000_000}.{microusd % 1_000_000:06d}"


def harmless(cell: Cell) -> Cell:
    """A cell that no spreadsheet runs: text that begins like a formula gets a `'` before it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


async def batches(
    ledger: Ledger, since: float, until: float, *, tenants: Collection[str] | None = None
) -> AsyncIterator[list[tuple[Cell, ...]]]:
    """The rows of a period, oldest first, in batches."""
    after: tuple[float, str] | None = None
    while True:
        records = await ledger.stretch(since, until, after=after, tenants=tenants, limit=BATCH)
        if records:
            yield [row(record) for record in records]
        if len(records) < BATCH:
            return
        after = records[-1].started_at, records[-1].id


class CsvWriter:
    """Writes rows as CSV, with a heading."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._writer = csv.writer(out)  # lines end as RFC 4180 has it, and what holds such ends is quoted
        self._writer.writerow([name for name, _ in COLUMNS])

    def write(self, rows: Sequence[tuple[Cell, ...]]) -> None:
        """Append rows."""
        self._writer.writerows([_csv_cell(cell) for cell in cells] for cells in rows)

    def close(self) -> None:
        """Finish the file; it stays open."""
        self._out.flush()


def _csv_cell(cell: Cell) -> Cell:
    if cell is True or cell is False:
        return "true" if cell else "false"
    return harmless(cell)
