"""Rows for spreadsheets and data tools: complete, exact, harmless."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.records import NOW, full_record, record

from fairlead.storage.connect import open_database
from fairlead.telemetry.billing.export import (
    BATCH,
    COLUMNS,
    FORMULA,
    CsvWriter,
    batches,
    dollars,
    harmless,
    row,
)
from fairlead.telemetry.billing.parquet import ParquetWriter
from fairlead.telemetry.ledger.db import Ledger
from fairlead.types import Attempt, RequestRecord, Usage

NAMES = [name for name, _ in COLUMNS]


def cells(record: RequestRecord) -> dict[str, Any]:
    return dict(zip(NAMES, row(record), strict=True))


def test_a_row_holds_tokens_by_kind_money_and_what_priced_it() -> None:
    attempts = (
        Attempt(target="a/x", started_s=0.0, cost_microusd=1, priced_by="2026-11-24"),
        Attempt(target="b/x", started_s=0.0, cost_microusd=2, priced_by="config"),
    )
    usage = Usage(
        input_tokens=10, output_tokens=5, cache_read_tokens=3, reasoning_tokens=2, service_tier="flex"
    )
    found = cells(record(1, usage=usage, cost_microusd=1_234_567, attempts=attempts))

    assert found["started_at"] == "2023-11-14T22:13:21.000000Z"
    assert found["day"] == "2023-11-14"
    assert (found["input_tokens"], found["cache_read_tokens"], found["reasoning_tokens"]) == (10, 3, 2)
    assert (found["cost_microusd"], found["cost_usd"]) == (1_234_567, "1.234567")
    assert (found["priced_by"], found["service_tier"]) == ("2026-11-24 config", "flex")


def test_what_is_not_known_is_empty_and_not_zero() -> None:
    found = cells(record(1, cost_microusd=None))

    assert found["cost_microusd"] is None
    assert found["cost_usd"] is None
    assert found["first_token_s"] is None


def test_a_count_that_an_upstream_made_up_fits_the_column() -> None:
    assert cells(record(1, usage=Usage(input_tokens=10**30)))["input_tokens"] == 2**63 - 1


@pytest.mark.parametrize(("microusd", "text"), [(0, "0.000000"), (1, "0.000001"), (12_000_000, "12.000000")])
def test_dollars_are_exact(microusd: int, text: str) -> None:
    assert dollars(microusd) == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝cmd()", "=HYPERLINK(0)"])  # noqa: RUF001  # spreadsheets take it for `=`
def test_no_cell_is_a_formula(text: str) -> None:
    assert harmless(text) == "'" + text


@given(st.text())
def test_a_harmless_cell_begins_like_none(text: str) -> None:
    assert not str(harmless(text)).startswith(FORMULA)


@given(st.text(max_size=50))
def test_csv_reads_back_what_was_written(model: str) -> None:
    out = io.StringIO()
    writer = CsvWriter(out)
    writer.write([row(record(1, model=model, usage_estimated=True))])
    writer.close()

    heading, line = csv.reader(io.StringIO(out.getvalue(), newline=""))
    found = dict(zip(heading, line, strict=True))
    assert heading == NAMES
    assert found["model"] == harmless(model)
    assert found["usage_estimated"] == "true"
    assert found["cost_usd"] == ""


def test_an_export_is_made_in_batches_oldest_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = await open_database(str(tmp_path))
        ledger = Ledger(store)
        # Several share a moment, so that a batch ends in the middle of it.
        ledger.take(record(n, started_at=NOW + n // 10) for n in range(BATCH + 5))
        ledger.take([record(99_999, started_at=NOW + 5000, tenant="other")])
        await ledger.commit()
        sizes, ids = [], []
        async for rows in batches(ledger, NOW, NOW + 1000):
            sizes.append(len(rows))
            ids += [cells[0] for cells in rows]
        assert sizes == [BATCH, 5]
        assert ids == sorted(ids)
        assert len(set(ids)) == BATCH + 5
        theirs = [rows async for rows in batches(ledger, NOW, NOW + 9000, tenants=("other",))]
        assert [len(rows) for rows in theirs] == [1]
        await store.close()

    asyncio.run(scenario())


def test_a_parquet_file_reads_back_with_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    path = tmp_path / "usage.parquet"
    with path.open("wb") as out:
        writer = ParquetWriter(out)
        writer.write([row(full_record())])
        writer.write([row(record(2, cost_microusd=None, model="=cmd()"))])
        writer.close()

    found = parquet.read_table(path)
    assert found.column_names == NAMES
    assert str(found.schema.field("cost_microusd").type) == "int64"
    first, second = found.to_pylist()
    assert first["cost_microusd"] == full_record().cost_microusd
    assert second["cost_microusd"] is None
    assert second["model"] == "=cmd()"  # nothing runs what is in a Parquet file


def test_a_parquet_file_of_nothing_has_its_columns(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    path = tmp_path / "usage.parquet"
    with path.open("wb") as out:
        ParquetWriter(out).close()

    assert parquet.read_table(path).num_rows == 0
