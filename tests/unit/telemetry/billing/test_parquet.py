"""Parquet files grow by row groups, and say so when pyarrow is missing."""

from __future__ import annotations

import io
import sys

import pytest
from tests.unit.telemetry.records import record

from fairlead.errors import UsageError
from fairlead.telemetry.billing import parquet
from fairlead.telemetry.billing.export import row


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(UsageError) as caught:
        parquet.ParquetWriter(io.BytesIO())
    assert caught.value.hint == "pip install 'fairlead[parquet]'"


def test_rows_are_written_group_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    monkeypatch.setattr(parquet, "_GROUP", 10)
    out = io.BytesIO()
    writer = parquet.ParquetWriter(out)
    for start in range(0, 25, 5):
        writer.write([row(record(number)) for number in range(start, start + 5)])
    writer.close()

    file = reader.ParquetFile(io.BytesIO(out.getvalue()))
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [10, 10, 5]
    assert file.read().column("id").to_pylist() == [record(number).id for number in range(25)]
