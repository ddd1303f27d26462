"""Bounds: against known values, and how often they are wrong when looked at all the time."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.bound import anytime_upper, exact_upper

counts = st.integers(0, 400).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count)))
known = functools.cache(anytime_upper)


@pytest.mark.parametrize(
    ("count", "errors", "expected"),
    [
        (0, 0, 1.0),
        (10, 10, 1.0),
        (100, 0, 0.029513),
        (100, 1, 0.046560),
        (50, 5, 0.198833),
        (1000, 3, 0.007734),
    ],
)
def test_clopper_and_pearson(count: int, errors: int, expected: float) -> None:
    assert exact_upper(count, errors, 0.05) == pytest.approx(expected, abs=2e-5)


@given(counts)
def test_bounds_lie_above_the_rate_and_the_anytime_one_is_wider(sample: tuple[int, int]) -> None:
    count, errors = sample
    rate = errors / count if count else 0.0

    assert rate <= exact_upper(count, errors, 0.05) <= 1.0
    assert exact_upper(count, errors, 0.05) <= anytime_upper(count, errors, 0.05) + 1e-9 <= 1.0 + 1e-9


@given(counts.filter(lambda sample: sample[0] > 0))
def test_an_error_raises_the_bound_and_a_success_lowers_it(sample: tuple[int, int]) -> None:
    count, errors = sample
    now = anytime_upper(count, errors, 0.05)

    assert anytime_upper(count + 1, errors, 0.05) <= now + 1e-12
    assert anytime_upper(count + 1, errors + 1, 0.05) >= now - 1e-12
    assert anytime_upper(count, errors, 0.01) >= now


def test_a_clean_sample_qualifies_soon() -> None:
    needed = next(count for count in range(1, 400) if anytime_upper(count, 0, 0.05) <= 0.02)

    # The best that any bound can do is ln(0.05) / ln(0.98) = 149.
    assert needed <= 190


def rate_of_ever_being_wrong(rate: Callable[[int], float], *, runs: int, steps: int) -> float:
    """How often the bound falls below the mean rate at any time, in simulated samples."""
    random_ = random.Random(5)
    wrong = 0
    for _ in range(runs):
        errors, total = 0, 0.0
        for step in range(1, steps + 1):
            chance = rate(step)
            total += chance
            errors += random_.random() < chance
            if known(step, errors, 0.1) < total / step:
                wrong += 1
                break
    return wrong / runs


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_optional_stopping_does_not_break_it(rate: float) -> None:
    assert rate_of_ever_being_wrong(lambda step: rate, runs=300, steps=300) <= 0.1


def test_rates_that_change_do_not_break_it() -> None:
    """A policy that gets worse, and one whose decisions are good and bad in turn."""
    assert rate_of_ever_being_wrong(lambda step: 0.0 if step < 100 else 0.1, runs=300, steps=300) <= 0.1
    assert rate_of_ever_being_wrong(lambda step: 0.1 * (step % 2), runs=300, steps=300) <= 0.1


@pytest.mark.parametrize(
    ("count", "errors", "alpha"), [(1, 2, 0.05), (-1, 0, 0.05), (5, 1, 0.0), (5, 1, 1.0)]
)
def test_what_is_no_sample_is_refused(count: int, errors: int, alpha: float) -> None:
    for bound in (anytime_upper, exact_upper):
        with pytest.raises(ValueError, match="no sample"):
            bound(count, errors, alpha)
