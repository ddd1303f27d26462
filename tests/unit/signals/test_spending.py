"""From a budget of false alarms to levels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.signals.spending import LEAST, MONTH_S, level, score


@given(
    st.floats(0.1, 20),
    st.integers(1, 20),
    st.lists(st.floats(0, 40_000), min_size=1, max_size=200),
)
def test_levels_of_all_series_never_add_up_to_more_than_the_budget(
    per_month: float, series: int, waits: list[float]
) -> None:
    spent = sum(level(per_month, series, wait) for wait in waits) * series

    assert spent <= per_month * sum(waits) / MONTH_S + 1e-9


def test_what_is_not_spent_within_a_day_is_lost() -> None:
    assert level(2, 1, 10 * 86_400) == level(2, 1, 86_400)


def test_a_level_is_never_a_coin_toss() -> None:
    assert level(100, 1, 86_400) == 0.05


def test_clocks_that_run_backwards_earn_nothing() -> None:
    assert level(2, 1, -5) == 0


def test_an_alarm_scores_one_and_more() -> None:
    assert score(0.001, 0.001) == pytest.approx(1.0)
    assert score(0.0001, 0.001) > 1 > score(0.002, 0.001)
    assert score(1.0, 0.001) == 0
    assert score(0.0, 0.001) > 1
    assert 0 < LEAST < 0.01
