"""Parameters, as Postgres writes them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.storage.dialect import numbered


@pytest.mark.parametrize(
    ("sql", "text", "count"),
    [
        ("SELECT 1", "SELECT 1", 0),
        ("a = ? AND b = ?", "a = $1 AND b = $2", 2),
        ("VALUES (?,?)", "VALUES ($1,$2)", 2),
        ("SELECT '?', 'it''s ?', \"a?\", ?", "SELECT '?', 'it''s ?', \"a?\", $1", 1),
        ("SELECT ? -- why?\n, ? /* ? */", "SELECT $1 -- why?\n, $2 /* ? */", 2),
        ("SELECT 4 / ? - ?", "SELECT 4 / $1 - $2", 2),
    ],
)
def test_each_question_mark_outside_of_text_gets_its_number(sql: str, text: str, count: int) -> None:
    assert numbered(sql) == (text, count)


@given(st.lists(st.text(), max_size=5))
def test_quoted_text_is_left_alone(texts: list[str]) -> None:
    quoted = [("'" + text.replace("'", "''") + "'") for text in texts]

    assert numbered(" || ".join([*quoted, "?"])) == (" || ".join([*quoted, "$1"]), 1)


@given(st.text("ab ?,()=", max_size=40))
def test_the_numbers_ascend_and_nothing_else_changes(sql: str) -> None:
    text, count = numbered(sql)

    assert [int(number) for number in re.findall(r"\$(\d+)", text)] == list(range(1, count + 1))
    assert re.sub(r"\$\d+", "?", text) == sql
