"""Windows of money: they hold their moment, touch each other, and follow the local calendar."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.limits.calendar import window_at
from fairlead.limits.quota import Window

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "Asia/Kolkata",
    "Asia/Beirut", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kiritimati", "Atlantic/Azores",
)  # fmt: skip


def us(text: str, zone: str = "UTC") -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("kind", "zone", "now", "start", "end"),
    [
        (Window.HOUR, "UTC", "2026-03-01T12:34:56", "2026-03-01T12:00:00", "2026-03-01T13:00:00"),
        (Window.DAY, "UTC", "2026-03-01T00:00:00", "2026-03-01T00:00:00", "2026-03-02T00:00:00"),
        (Window.WEEK, "UTC", "2026-03-01T10:00:00", "2026-02-23T00:00:00", "2026-03-02T00:00:00"),
        (Window.MONTH, "UTC", "2024-02-29T23:59:59", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        (Window.MONTH, "UTC", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
        (Window.MONTH, "Europe/Berlin", "2026-03-01T00:30:00", "2026-03-01T00:00:00", "2026-04-01T00:00:00"),
    ],
)
def test_windows(kind: Window, zone: str, now: str, start: str, end: str) -> None:
    assert window_at(kind, zone, us(now, zone)) == (us(start, zone), us(end, zone))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)])
def test_days_with_a_change_of_clocks_are_as_long_as_they_are(day: str, hours: int) -> None:
    start, end = window_at(Window.DAY, "Europe/Berlin", us(f"{day}T12:00:00", "Europe/Berlin"))

    assert end - start == hours * 3_600_000_000


def test_the_hour_that_happens_twice_is_two_windows() -> None:
    first = us("2026-10-25T00:30:00")  # 02:30 in summer time
    second = us("2026-10-25T01:30:00")  # 02:30 in winter time

    assert window_at(Window.HOUR, "Europe/Berlin", first) == (
        us("2026-10-25T00:00:00"),
        us("2026-10-25T01:00:00"),
    )
    assert window_at(Window.HOUR, "Europe/Berlin", second)[0] == us("2026-10-25T01:00:00")


def test_an_hour_is_cut_on_the_local_clock_face() -> None:
    start, _ = window_at(Window.HOUR, "Asia/Kolkata", us("2026-01-01T12:45:00", "Asia/Kolkata"))

    assert start == us("2026-01-01T12:00:00", "Asia/Kolkata")


def test_a_day_without_midnight_begins_when_it_begins() -> None:
    """In Havana clocks went from 00:00 to 01:00 on this day."""
    noon = us("2026-03-08T12:00:00", "America/Havana")

    start, end = window_at(Window.DAY, "America/Havana", noon)

    assert end - start == 23 * 3_600_000_000
    assert window_at(Window.DAY, "America/Havana", start - 1)[1] == start


@given(st.sampled_from(Window), st.sampled_from(ZONES), st.integers(0, 2**32))
def test_a_window_holds_its_moment_and_ends_where_the_next_begins(kind: Window, zone: str, now: int) -> None:
    moment = now * 1_000_000

    start, end = window_at(kind, zone, moment)

    assert start <= moment < end
    assert window_at(kind, zone, start) == (start, end)
    assert window_at(kind, zone, end - 1) == (start, end)
    assert window_at(kind, zone, end)[0] == end
