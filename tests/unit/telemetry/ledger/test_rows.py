"""Rows, and the statements that write them."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.storage.ports import Value
from fairlead.telemetry.ledger.rollup import COLUMNS as ROLLED_UP
from fairlead.telemetry.ledger.rollup import Batch, batch_of
from fairlead.telemetry.ledger.rows import COLUMNS, ROLLED_UP_PLACES, WIDTH, Chunk, rows_of


def chunk(rows: int, tenant: str = "acme") -> Chunk:
    row: list[Value] = [0.0 if name.endswith(("_s", "_at")) else 0 for name in COLUMNS]
    for name in ("tenant", "key_id", "model", "target", "endpoint", "outcome"):
        row[COLUMNS.index(name)] = tenant
    values = [value for number in range(rows) for value in [f"{number}", *row[1:]]]
    return Chunk(values, "writer-1", batch_of(values, WIDTH, ROLLED_UP_PLACES, [()] * rows, [0.0] * rows))


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [(512, [512]), (511, [64] * 7 + [8] * 7 + [1] * 7), (73, [64, 8, 1]), (1, [1])],
)
def test_rows_are_written_in_few_statements_and_the_journals_last(rows: int, sizes: list[int]) -> None:
    *written, (journal, (name, batch)) = chunk(rows).statements()

    assert [len(values) // WIDTH for _, values in written] == sizes
    assert all(sql.count("?") == len(values) for sql, values in written)
    assert [value for _, values in written for value in values[::WIDTH]] == [str(n) for n in range(rows)]
    assert "rollup_journal" in journal
    assert name == "writer-1"
    assert len(msgspec.msgpack.decode(batch, type=Batch).tenant) == rows  # type: ignore[arg-type]  # bytes


def test_the_columns_of_a_batch_are_those_of_the_table() -> None:
    assert [COLUMNS[place] for place in ROLLED_UP_PLACES] == list(ROLLED_UP)
    assert Batch.__struct_fields__[1 : 1 + len(ROLLED_UP)] == ROLLED_UP


def test_what_cannot_be_encoded_has_no_journal() -> None:
    assert chunk(3, tenant="\ud800").journal is None


def test_rows_come_out_one_by_one() -> None:
    assert [row[0] for row in rows_of([chunk(2), chunk(1)])] == ["0", "1", "0"]
