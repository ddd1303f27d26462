"""How records lie in the ledger's table: its columns, and the few statements that write them.

A chunk is what is written together: rows, and the journal's row from which
they are rolled up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from fairlead.storage.ports import Value
from fairlead.telemetry.ledger.rollup import COLUMNS as ROLLED_UP
from fairlead.telemetry.ledger.rollup import Batch

COLUMNS: Final = (
    "id", "started_at", "tenant", "key_id", "model", "target", "endpoint", "outcome", "status",
    "input_tokens", "output_tokens", "first_token_s", "duration_s", "cost_microusd",
    "cache", "saved_tokens", "saved_microusd", "detail",
)  # fmt: skip
"""Of the table, in the order in which they are written; `rolled_up` is a constant."""
WIDTH: Final = len(COLUMNS)
"""Values of a row."""
LISTED: Final = ", ".join(COLUMNS[:-1])
"""All but the detail."""

_SIZES: Final = (512, 64, 8, 1)
"""Rows per statement. Few distinct statements, so that all stay prepared; 512 * 18 parameters are
within SQLite's and Postgres' limits."""
_INSERTS: Final = {
    size: f"INSERT INTO requests ({', '.join(COLUMNS)}, rolled_up) VALUES "  # noqa: S608  # constants only
    + ", ".join(["(" + ", ".join("?" * WIDTH) + ", 1)"] * size)
    + " ON CONFLICT (id) DO NOTHING"
    for size in _SIZES
}
INSERT_ALONE: Final = (
    f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * WIDTH)}) "  # noqa: S608  # constants only
    "ON CONFLICT (id) DO NOTHING"
)
"""Without its batch; it is rolled up later."""
_JOURNAL: Final = "INSERT INTO rollup_journal (id, batch) VALUES (?, ?) ON CONFLICT (id) DO NOTHING"
ROLLED_UP_PLACES: Final = tuple(COLUMNS.index(name) for name in ROLLED_UP)
"""Where the columns that are rolled up are in a row."""
CHUNK: Final = _SIZES[0] * WIDTH
"""Values of a chunk that is full."""


class Chunk:
    """Parameters of at most `_SIZES[0]` rows, never changed: the database's thread reads them."""

    __slots__ = ("journal", "name", "values")

    def __init__(self, values: list[Value], name: str, batch: Batch) -> None:
        self.values = values
        self.name = name
        self.journal: bytes | None = None
        """What is rolled up of them; None when they are to be written one by one, and rolled up later."""
        try:
            self.journal = msgspec.msgpack.encode(batch)
        except (OverflowError, UnicodeEncodeError):
            pass

    def statements(self) -> Iterator[tuple[str, Sequence[Value]]]:
        """The rows and the journal's, to be written together."""
        yield from _statements(self.values)
        yield _JOURNAL, (self.name, self.journal)


def rows_of(chunks: Iterable[Chunk]) -> Iterator[list[Value]]:
    """Each row of some chunks."""
    for chunk in chunks:
        for start in range(0, len(chunk.values), WIDTH):
            yield chunk.values[start : start + WIDTH]


def _statements(chunk: list[Value]) -> Iterator[tuple[str, Sequence[Value]]]:
    """The chunk as statements of the few prepared sizes."""
    start = 0
    for size in _SIZES:
        width = size * WIDTH
        while len(chunk) - start >= width:
            yield _INSERTS[size], chunk if len(chunk) == width else chunk[start : start + width]
            start += width
