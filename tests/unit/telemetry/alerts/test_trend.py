"""The robust line and its test."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.alerts import budget, trend
from fairlead.telemetry.alerts.budget import Evidence


def test_a_line_is_found_exactly() -> None:
    points = [(float(at), 3.0 + 0.5 * at) for at in range(12)]

    assert trend.theil_sen(points) == pytest.approx((0.5, 3.0))


def test_a_quarter_of_wild_points_does_not_move_it() -> None:
    points = [(float(at), 3.0 + 0.5 * at) for at in range(16)]
    for wild in (1, 6, 11):
        points[wild] = (float(wild), 1e6)

    slope, _ = trend.theil_sen(points)

    assert slope == pytest.approx(0.5, rel=0.1)


def test_a_constant_series_is_no_trend() -> None:
    found = trend.fit([(float(at), 2.0) for at in range(20)], 20.0)

    assert found is not None
    assert (found.p, found.slope) == (1.0, 0.0)
    assert found.reaches_in_s(3.0) == math.inf
    assert found.reaches_in_s(2.0) == 0.0


def test_a_clear_rise_says_when_the_bound_is_reached() -> None:
    found = trend.fit([(float(at), 10.0 + at) for at in range(24)], 24.0)

    assert found is not None
    assert found.p < 1e-9
    assert found.reaches_in_s(44.0) == pytest.approx(10.0)


def test_too_few_points_say_nothing() -> None:
    assert trend.fit([(float(at), float(at)) for at in range(trend.FEWEST - 1)], 0.0) is None


def test_the_statistic_is_that_of_a_published_table() -> None:
    # Kendall's S of 10 untied values has variance 125; S = 45 of a perfect order.
    assert trend.mann_kendall([float(at) for at in range(10)]) == pytest.approx(
        0.5 * math.erfc(44 / math.sqrt(250)), rel=1e-9
    )


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.6])
def test_a_series_without_a_trend_rarely_looks_like_one(alike: float) -> None:
    """Autoregressive noise of 24 blocks, 3000 times: at a level of 0.01 at most 1.5 % false alarms."""
    chance = random.Random(7)
    found, runs = 0, 3000
    for _ in range(runs):
        value, values = 0.0, []
        for _ in range(40):
            value = alike * value + chance.gauss(0, 1)
            values.append(value)
        fitted = trend.fit([(float(at), one) for at, one in enumerate(values[-24:])], 24.0)
        found += fitted is not None and fitted.p <= 0.01

    assert found / runs <= 0.015


@pytest.mark.parametrize("alike", [0.0, 0.3, 0.6, 0.8])
def test_a_quiet_stream_keeps_to_the_alert_budget(alike: float) -> None:
    """200 days, looked at every half hour over windows that overlap: 13.3 days with an alarm are allowed."""
    chance = random.Random(1)
    value, values, evidence, found = 0.0, [], Evidence(), 0
    for day in range(200):
        raised = False
        for turn in range(48):
            value = alike * value + chance.gauss(0, 1)
            values = [*values, value][-24:]
            now = (day + turn / 48) * budget.DAY_S
            fitted = trend.fit([(float(at), one) for at, one in enumerate(values)], 24.0)
            if fitted is not None:
                evidence = budget.look(evidence, fitted.p, 48, now)
            raised = raised or bool(budget.alarms({"a": evidence}, {}, 2.0, now))
        found += raised

    assert found <= 13.3 + 3 * 3.65


def test_a_slow_rise_in_noise_is_found() -> None:
    """20 % over the window with 2 % noise; the mean of thousands of gaps has less."""
    chance = random.Random(3)
    found = 0
    for _ in range(100):
        points = [(float(at), (1 + 0.2 * at / 24) * (1 + chance.gauss(0, 0.02))) for at in range(24)]
        fitted = trend.fit(points, 24.0)
        found += fitted is not None and fitted.p <= 1e-4

    assert found >= 80


@given(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=30))
def test_a_p_value_is_one(values: list[float]) -> None:
    found = trend.fit([(float(at), value) for at, value in enumerate(values)], 0.0)

    assert found is not None
    assert 0.0 <= found.p <= 1.0
    assert math.isfinite(found.slope)
