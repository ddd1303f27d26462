"""Time that never runs backwards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.limits.clock import ForwardClock


def readings(walls: list[int], monotonics: list[int]) -> list[int]:
    """What a clock says, given the two clocks below it; the first pair is read at its making."""
    wall, monotonic = iter(walls), iter(monotonics)
    clock = ForwardClock(lambda: next(wall), lambda: next(monotonic))
    return [clock() for _ in walls[1:]]


def test_it_is_the_wall_clock_in_microseconds() -> None:
    assert readings([5_000, 9_000, 11_999], [0, 1, 2]) == [9, 11]


def test_a_wall_clock_set_back_is_bridged_at_the_speed_of_the_monotonic_one() -> None:
    hour = 3600 * 10**9
    walls = [2 * hour, 2 * hour + 1000, hour + 2000, hour + 4000, 3 * hour]

    assert readings(walls, [0, 1000, 2000, 4000, 5000]) == [
        2 * hour // 1000 + 1,
        2 * hour // 1000 + 2,
        2 * hour // 1000 + 4,
        3 * hour // 1000,
    ]


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=20), st.data())
def test_it_never_runs_backwards(walls: list[int], data: st.DataObject) -> None:
    monotonics = sorted(data.draw(st.lists(st.integers(0, 10**12), min_size=len(walls), max_size=len(walls))))

    said = readings(walls, monotonics)

    assert said == sorted(said)
