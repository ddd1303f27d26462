"""Rows as a Parquet file, through pyarrow (the extra `fairlead[parquet]`).

pyarrow is the format's reference implementation: what it writes every data
tool reads, and it writes row group after row group, so that a file of any
length takes the memory of one. It is large (170 MB) and nothing else here needs
it, so it is imported at the first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, Final

from fairlead.errors import UsageError
from fairlead.telemetry.billing.export import COLUMNS, Cell

_GROUP: Final = 50_000
"""Rows of one row group; each costs the footer a few hundred bytes a column."""


class ParquetWriter:
    """Writes rows as a Parquet file."""

    def __init__(self, out: BinaryIO) -> None:
        """Begin a file.

        Raises:
            UsageError: pyarrow is not installed.
        """
        try:
            import pyarrow  # type: ignore[import-untyped]  # it has no stubs
            import pyarrow.parquet  # type: ignore[import-untyped]  # likewise
        except ImportError as error:
            raise UsageError(
                "Parquet needs pyarrow, which is not installed", hint="pip install 'fairlead[parquet]'"
            ) from error
        types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        self._arrow: Any = pyarrow
        self._schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS])
        self._writer = pyarrow.parquet.ParquetWriter(out, self._schema, compression="zstd")
        self._rows: list[tuple[Cell, ...]] = []

    def write(self, rows: Sequence[tuple[Cell, ...]]) -> None:
        """Append rows."""
        self._rows += rows
        if len(self._rows) >= _GROUP:
            self._flush()

    def close(self) -> None:
        """Write what is left and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns = list(zip(*self._rows, strict=True))
        arrays = [
            self._arrow.array(column, type=field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []
