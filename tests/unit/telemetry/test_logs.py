"""Log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.logs import HumanFormatter, JsonFormatter, configure, timestamp


def entry(
    message: str = "hello", *args: object, error: Exception | None = None, **extra: Any
) -> logging.LogRecord:
    record = logging.LogRecord("fairlead.test", logging.WARNING, __file__, 1, message, args, None)
    record.created = 1_700_000_000.25
    if error is not None:
        record.exc_info = (type(error), error, error.__traceback__)
    vars(record).update(extra)
    return record


def test_a_line_is_one_json_object() -> None:
    assert json.loads(
        JsonFormatter().format(entry("took %d ms", 5, model="m", tries=[1, 2], rate=0.5, none=None))
    ) == {
        "ts": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "fairlead.test",
        "message": "took 5 ms",
        "model": "m",
        "tries": [1, 2],
        "rate": 0.5,
        "none": None,
    }


def test_an_exception_is_text() -> None:
    try:
        raise ValueError("with sk-abcdefghijkl inside\nand a line")
    except ValueError as error:
        line = JsonFormatter().format(entry(error=error))

    assert "\n" not in line
    exception = json.loads(line)["exception"]
    assert "ValueError: with [redacted] inside\nand a line" in exception
    assert exception.startswith("Traceback")


def test_credentials_are_hidden_wherever_they_are() -> None:
    line = JsonFormatter().format(
        entry("key %s", "fl-abcdefghijkl", header="Bearer abcdefghijkl", nested={"a": ["sk-abcdefghijkl"]})
    )

    assert "abcdefghijkl" not in line
    assert json.loads(line)["nested"] == {"a": ["[redacted]"]}


@given(st.text(st.characters()), st.text(st.characters()))
def test_no_text_can_end_a_line_or_leave_ascii(message: str, field: str) -> None:
    line = JsonFormatter().format(entry("%s", message, field=field))

    assert line.isascii()
    assert line.isprintable()
    assert isinstance(json.loads(line)["field"], str)


@given(st.text(st.characters()), st.text(st.characters()))
def test_no_text_can_end_a_line_for_people(message: str, field: str) -> None:
    line = HumanFormatter().format(entry("%s", message, field=field))

    assert line.isprintable()


def test_what_json_cannot_hold_is_text() -> None:
    line = json.loads(JsonFormatter().format(entry(nan=float("nan"), thing=object, data={1: {2}})))

    assert line["nan"] == "nan"
    assert line["thing"] == "<class 'object'>"
    assert line["data"] == {"1": [2]}


def test_a_line_for_people_has_its_fields_and_an_indented_traceback() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        text = HumanFormatter().format(entry("it failed", error=error, target="lab/a", why="two words"))

    first, *rest = text.split("\n")
    assert first[8:] == " warning fairlead.test: it failed target=lab/a why='two words'"
    assert rest[-1] == "    ValueError: broken"
    assert all(line.startswith("    ") for line in rest)


def test_times_are_rfc_3339_in_utc() -> None:
    assert timestamp(0.0) == "1970-01-01T00:00:00.000Z"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, given back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_a_terminal_gets_readable_lines_and_a_pipe_json(root: logging.Logger) -> None:
    terminal, pipe = Terminal(), io.StringIO()

    configure("info", terminal)
    logging.getLogger("fairlead.test").info("hello")
    configure("warning", pipe)
    logging.getLogger("fairlead.test").info("not this")
    logging.getLogger("fairlead.test").warning("this")

    assert terminal.getvalue().endswith("info    fairlead.test: hello\n")
    assert [json.loads(line)["message"] for line in pipe.getvalue().splitlines()] == ["this"]
    assert len(root.handlers) == 1
