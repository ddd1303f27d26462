"""Crossings of `warn_at`, once a window."""

from __future__ import annotations

from tests.unit.limits.made import budget, places, requests

from fairlead.limits.quota import Limit, State
from fairlead.limits.warn import Crossing, Warnings

BUDGET = budget(1000, warn_at=(0.5, 0.9))


class Told:
    """Warnings, and what they told."""

    def __init__(self) -> None:
        self.crossings: list[Crossing] = []
        self.warnings = Warnings(self.crossings.append)

    def look(self, limit: Limit, used: int, now: float, resets_at: float | None = 3600.0) -> list[float]:
        """The fractions told at this look."""
        before = len(self.crossings)
        self.warnings.look([State(limit, used, 0, 0, resets_at)], now)
        return [crossing.fraction for crossing in self.crossings[before:]]


def test_each_fraction_is_told_once_a_window() -> None:
    told = Told()

    assert told.look(BUDGET, 499, 1.0) == []
    assert told.look(BUDGET, 500, 2.0) == [0.5]
    assert told.look(BUDGET, 600, 3.0) == []
    assert told.look(BUDGET, 950, 4.0) == [0.9]
    assert told.look(BUDGET, 999, 5.0) == []
    assert told.look(BUDGET, 500, 3600.0, 7200.0) == [0.5]


def test_of_fractions_crossed_at_once_the_highest_is_told() -> None:
    assert Told().look(BUDGET, 1200, 1.0) == [0.9]


def test_rates_and_places_are_told_once_a_minute() -> None:
    told = Told()
    for limit in (requests(10, warn_at=(0.8,)), places(10, warn_at=(0.8,))):
        assert told.look(limit, 8, 1.0, None) == [0.8]
        assert told.look(limit, 10, 60.9, None) == []
        assert told.look(limit, 8, 61.0, None) == [0.8]


def test_limits_without_warnings_are_passed_over() -> None:
    assert Told().look(requests(10), 10, 1.0) == []


def test_what_was_told_is_forgotten_with_its_window() -> None:
    told = Told()
    for number in range(10_001):
        told.look(requests(1, node=f"key:{number}", warn_at=(1.0,)), 1, float(number))

    assert len(told.crossings) == 10_001
    assert len(told.warnings._told) < 100
