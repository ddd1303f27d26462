"""The ports that features keep their state behind.

Features hold their own SQL, in the subset that every engine accepts, with
`?` for parameters. Only `storage.connect` knows a backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

Value = str | int | float | bytes | None
Row = tuple[Value, ...]


class Database(Protocol):
    """A SQL database. Every call is its own transaction; failures raise StorageError."""

    async def fetch(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """All rows of a query."""
        ...

    async def execute(self, sql: str, params: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows it changed."""
        ...

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Value]]) -> None:
        """Run one statement for each of `rows`, all or none."""
        ...

    async def transaction(self, statements: Sequence[tuple[str, Sequence[Value]]]) -> list[int]:
        """Run statements in order, all or none; the rows changed by each."""
        ...

    async def close(self) -> None:
        """Finish what is under way and close."""
        ...


@runtime_checkable
class Trims(Protocol):
    """A database in a file of its own, which does not shrink by itself when rows are deleted."""

    async def trim(self) -> int:
        """Give some unused space back to the file system; the bytes given back, 0 when none is left."""
        ...
