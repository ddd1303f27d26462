"""Burn rates and pairs of windows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.alert_options import BurnWindow
from fairlead.telemetry.alerts import burn


def test_the_workbook_spends_what_its_table_says() -> None:
    month_s = 30 * 86_400
    spent = [round(pair.burn * pair.long_s / month_s, 4) for pair in burn.WORKBOOK]

    assert spent == [0.02, 0.05, 0.1]
    assert all(pair.long_s / pair.short_s == 12 for pair in burn.WORKBOOK)


def test_a_budget_that_is_just_used_up_burns_at_one() -> None:
    assert burn.of_ratio(1, 100, 0.99) == pytest.approx(1.0)
    assert burn.of_spend(10.0, 86_400, 300.0, 30 * 86_400) == pytest.approx(1.0)


def test_nothing_burns_nothing() -> None:
    assert burn.of_ratio(0, 0, 0.99) == 0.0
    assert burn.of_spend(0.0, 60, 0.0, 60) == 0.0
    assert burn.of_spend(1.0, 60, 0.0, 60) == float("inf")


def test_a_budget_that_began_anew_has_spent_what_it_has_used() -> None:
    assert burn.of_budget(5.0, 90.0, 100.0, 3600, 36_000) == pytest.approx(0.5)


def test_both_windows_must_burn() -> None:
    pair = BurnWindow(long_s=60, short_s=5, burn=10)
    rates = {60: 20.0, 5: 1.0}

    over = burn.worst([pair], rates.__getitem__)["page"]

    assert not over.holds
    rates[5] = 11.0
    assert burn.worst([pair], rates.__getitem__)["page"].holds


def test_the_worst_pair_of_each_severity_is_told() -> None:
    found = burn.worst(burn.WORKBOOK, lambda window_s: 20.0 if window_s <= 3600 else 7.0)

    assert found["page"].pair.long_s == 3600
    assert found["ticket"].holds


@given(bad=st.floats(0, 1e9), total=st.floats(0, 1e9), objective=st.floats(0.01, 0.99999))
def test_a_ratio_burns_between_nothing_and_everything(bad: float, total: float, objective: float) -> None:
    assert 0.0 <= burn.of_ratio(bad, total, objective) <= 1.0 / (1.0 - objective) + 1e-9
