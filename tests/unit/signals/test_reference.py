"""What a window is compared with."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fairlead.signals.reference import Candidate, choose, stratum, thinned

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY
MONDAY = 4 * DAY
"""1970-01-05."""


def one(name: str, at: float, user: str = "", digest: bytes = b"") -> Candidate:
    return Candidate(id=name, at=at, user=user, session=name, digest=digest)


def test_hours_of_the_week() -> None:
    assert stratum(MONDAY, "hour of week") == 0
    assert stratum(MONDAY + WEEK + 25 * HOUR, "hour of week") == 25
    assert stratum(MONDAY + 6 * DAY + 23 * HOUR, "hour of week") == 167
    assert stratum(MONDAY + 2 * DAY + 9 * HOUR, "hour of day") == 9
    assert stratum(MONDAY + 5 * DAY + 9 * HOUR, "hour of day") == 33
    assert stratum(MONDAY + 5 * DAY + 9 * HOUR, "part of day") == 8


def test_a_user_counts_for_a_few_requests_an_hour_and_repetitions_once() -> None:
    items = [
        one("a", 0, "u", b"x"), one("b", 1, "u", b"x"), one("c", 2, "u", b"y"), one("d", 3, "u", b"z"),
        one("e", HOUR, "u", b"x"), one("f", 4, "", b"x"), one("g", 5, "", b"x"),
    ]  # fmt: skip

    assert [items[place].id for place in thinned(items, per_user=2)] == ["a", "c", "e", "f", "g"]


def _weeks(count: int, per_hour: int, hours: range) -> list[Candidate]:
    return [
        one(f"w{week}h{hour}n{number}", MONDAY + week * WEEK + hour * HOUR + number)
        for week in range(count)
        for hour in hours
        for number in range(per_hour)
    ]


def _choose(window: list[Candidate], reference: list[Candidate], **more: int) -> object:
    settings = {"per_user": 2, "least_reference": 100, "most_reference": 400, "most_window": 100} | more
    return choose(window, reference, **settings)


def test_the_same_hours_of_earlier_weeks_in_the_windows_proportions() -> None:
    now = MONDAY + 10 * WEEK
    window = [one(f"a{n}", now + 9 * HOUR + n) for n in range(60)]
    window += [one(f"b{n}", now + 10 * HOUR + n) for n in range(20)]

    chosen = choose(
        window,
        _weeks(4, 120, range(168)),
        per_user=2,
        least_reference=300,
        most_reference=400,
        most_window=100,
    )

    assert chosen is not None
    assert chosen.level == "hour of week"
    slots = Counter(chosen.strata.values())
    assert set(slots) == {9, 10}
    assert len(chosen.window) == 80
    assert slots[9] - 60 == 300  # three quarters of 400
    assert slots[10] - 20 == 100


def test_without_earlier_weeks_the_same_hours_of_other_working_days() -> None:
    window = [one(f"a{n}", MONDAY + 4 * DAY + 9 * HOUR + n) for n in range(60)]

    chosen = choose(
        window, _weeks(1, 60, range(72)), per_user=2, least_reference=100, most_reference=400, most_window=100
    )

    assert chosen is not None
    assert (chosen.level, len(chosen.reference)) == ("hour of day", 180)


def test_other_hours_are_never_compared_with() -> None:
    night = [one(f"a{n}", MONDAY + 4 * DAY + 3 * HOUR + n) for n in range(60)]

    assert _choose(night, _weeks(1, 60, range(9, 18))) is None


def test_too_little_says_nothing() -> None:
    window = [one(f"a{n}", MONDAY + WEEK + n) for n in range(60)]

    assert _choose(window, []) is None
    assert _choose(window, _weeks(1, 99, range(1))) is None
    assert _choose(window, _weeks(1, 100, range(1))) is not None


def test_requests_of_hours_that_nothing_is_known_of_are_left_out() -> None:
    now = MONDAY + 2 * WEEK
    window = [one(f"a{n}", now + 9 * HOUR + n) for n in range(90)]
    window += [one(f"b{n}", now + 12 * HOUR + n) for n in range(10)]

    chosen = choose(
        window,
        _weeks(2, 100, range(9, 10)),
        per_user=2,
        least_reference=100,
        most_reference=400,
        most_window=200,
    )

    assert chosen is not None
    assert len(chosen.window) == 90


@given(st.lists(st.integers(0, 3 * 168), max_size=80), st.lists(st.integers(0, 168), min_size=1, max_size=60))
def test_every_stratum_of_the_window_is_in_the_reference(before: list[int], now: list[int]) -> None:
    reference = [one(f"r{at}", MONDAY + hour * HOUR + at) for at, hour in enumerate(sorted(before))]
    window = [one(f"w{at}", MONDAY + 4 * WEEK + hour * HOUR + at) for at, hour in enumerate(sorted(now))]

    chosen = choose(window, reference, per_user=1, least_reference=5, most_reference=50, most_window=40)

    if chosen is not None:
        assert len(set(chosen.window)) == len(chosen.window) <= 40
        assert len(set(chosen.reference)) == len(chosen.reference)
        ours = {chosen.strata[window[place].id] for place in chosen.window}
        theirs = {chosen.strata[reference[place].id] for place in chosen.reference}
        assert ours <= theirs
