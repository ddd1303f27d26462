"""What is tried again, and when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.alerts.notify.retry import Answer, Result, asked_s, of_status, pause_s

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, Result.SENT), (202, Result.SENT), (400, Result.REFUSED), (401, Result.REFUSED),
        (404, Result.REFUSED), (408, Result.RETRY), (429, Result.RETRY), (500, Result.RETRY),
        (503, Result.RETRY),
    ],
)  # fmt: skip
def test_statuses(status: int, result: Result) -> None:
    assert of_status(status, "", None, NOW).result is result


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"7", 7.0), (b" 7 ", 7.0), (b"99999999999", 3600.0), (b"-1", None), (b"soon", None), (None, None),
        (b"Tue, 14 Nov 2023 22:13:50 GMT", 30.0), (b"Tue, 14 Nov 2000 22:13:50 GMT", 0.0), (b"\xff", None),
    ],
)  # fmt: skip
def test_pauses_that_are_asked_for(value: bytes | None, seconds: float | None) -> None:
    assert asked_s(value, NOW) == seconds


def test_the_pause_doubles_up_to_ten_minutes() -> None:
    failed = Answer(result=Result.RETRY)

    assert [pause_s(attempts, failed, 1.0) for attempts in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert pause_s(100, failed, 1.0) == 600


@given(attempts=st.integers(0, 10_000), roll=st.floats(0, 0.999), asked=st.none() | st.floats(0, 3600))
def test_the_pause_is_at_least_what_was_asked_for(attempts: int, roll: float, asked: float | None) -> None:
    pause = pause_s(attempts, Answer(result=Result.RETRY, retry_after_s=asked), roll)

    assert pause >= (asked or 0.0)
    assert 1.0 <= pause <= 3600.0
