"""The alert budget: arithmetic, and that simulated quiet years keep to it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.alerts import budget
from fairlead.telemetry.alerts.budget import DAY_S, Evidence


def test_two_a_month_are_two_in_thirty_days() -> None:
    assert budget.daily_alpha(2.0) == pytest.approx(2 / 30)


def test_holm_is_that_of_the_textbook() -> None:
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}

    assert budget.holm(p_values, 0.05) == {"d", "a"}
    assert budget.holm(p_values, 0.05, count=20) == frozenset()
    assert budget.holm({}, 0.05) == frozenset()


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_all_that_bonferroni_does_and_only_small_ones(
    p_values: dict[str, float], alpha: float
) -> None:
    found = budget.holm(p_values, alpha)

    assert {name for name, p in p_values.items() if p <= alpha / len(p_values)} <= found
    assert all(p_values[name] <= alpha for name in found)


def test_a_day_begins_anew() -> None:
    one = budget.look(Evidence(), 1e-6, 24, 10.0)
    assert one.p == pytest.approx(24e-6)

    later = budget.look(one, 0.9, 24, 10.0 + 3600)
    assert later.p == one.p
    assert later.latest == 0.9

    tomorrow = budget.look(later, 0.9, 24, DAY_S + 1)
    assert tomorrow.p == 1.0


def test_looks_are_spaced() -> None:
    one = budget.look(Evidence(), 0.5, 24, 1000.0)

    assert not budget.may_look(one, 24, 1000.0 + 3599)
    assert budget.may_look(one, 24, 1000.0 + 3600)
    assert budget.may_look(Evidence(), 24, 0.0)


def test_what_is_no_number_is_no_evidence() -> None:
    assert budget.look(Evidence(), float("nan"), 24, 0.0).p == 1.0
    assert budget.look(Evidence(), -1.0, 24, 0.0).latest == 0.0


def test_an_alarm_is_over_when_the_latest_look_shows_nothing() -> None:
    strong = budget.look(Evidence(), 1e-9, 24, 0.0)
    assert budget.alarms({"a": strong}, {}, 2.0, 0.0) == {"a"}

    calm = budget.look(strong, 0.7, 24, 3600.0)
    assert budget.alarms({"a": calm}, {}, 2.0, 3600.0) == frozenset()


def test_evidence_adds_up_over_days() -> None:
    one = Evidence()
    days = 0
    while not budget.alarms({}, {"a": (one, 24)}, 2.0, days * 3600.0):
        one = budget.look(one, 0.02, 24, days * 3600.0)
        days += 1

    assert days < 24
    # A single look of that size is no alarm for the daily test.
    assert budget.alarms({"a": budget.look(Evidence(), 0.02, 24, 0.0)}, {}, 2.0, 0.0) == frozenset()


def days_with_alarms(method: str, chance: random.Random, *, days: int, hypotheses: int, looks: int) -> int:
    """Quiet days on which something was raised anew."""
    known = {f"h{number}": Evidence() for number in range(hypotheses)}
    found = 0
    for day in range(days):
        raised = False
        for turn in range(looks):
            now = day * DAY_S + turn * DAY_S / looks
            known = {name: budget.look(one, chance.random(), looks, now) for name, one in known.items()}
            if method == "daily":
                alarms = budget.alarms(known, {}, 2.0, now)
            else:
                alarms = budget.alarms({}, {name: (one, looks) for name, one in known.items()}, 2.0, now)
                # An alarm is looked into, and the detector begins anew.
                known = {name: Evidence() if name in alarms else one for name, one in known.items()}
            raised = raised or bool(alarms)
        found += raised
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("hypotheses", [1, 8])
def test_quiet_years_raise_no_more_than_the_budget(seed: int, hypotheses: int) -> None:
    """Two a month are 24.3 in a year; three standard deviations above are 38."""
    found = days_with_alarms("daily", random.Random(seed), days=365, hypotheses=hypotheses, looks=12)

    assert found <= 38


def test_the_budget_is_used_and_not_merely_kept() -> None:
    """A level that never alarms would pass the test above: a single hypothesis spends most of it."""
    found = days_with_alarms("daily", random.Random(5), days=1500, hypotheses=1, looks=4)

    assert 0.6 * 100 <= found <= 1.25 * 100  # the budget is 100 days of 1500


def test_a_detector_keeps_to_the_budget_too() -> None:
    found = days_with_alarms("e-detector", random.Random(11), days=730, hypotheses=4, looks=12)

    assert found <= 49 + 3 * 7
