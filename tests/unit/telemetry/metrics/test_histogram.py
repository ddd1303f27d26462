"""Quantiles and sums of bucket counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.metrics.histogram import coarsened, merged, quantile

BOUNDS = (1.0, 2.0, 4.0)
counts = st.tuples(*[st.integers(0, 1000)] * 4)


def test_a_quantile_is_interpolated_within_its_bucket() -> None:
    assert quantile(BOUNDS, (0, 10, 0, 0), 0.5) == 1.5
    assert quantile(BOUNDS, (10, 10, 20, 0), 0.5) == 2.0
    assert quantile(BOUNDS, (10, 10, 20, 0), 0.75) == 3.0


def test_the_first_bucket_begins_at_zero() -> None:
    assert quantile(BOUNDS, (4, 0, 0, 0), 0.25) == 0.25


def test_what_is_above_the_last_bound_is_reported_as_that_bound() -> None:
    assert quantile(BOUNDS, (0, 0, 0, 3), 0.99) == 4.0


def test_nothing_observed_has_no_quantile() -> None:
    assert quantile(BOUNDS, (0, 0, 0, 0), 0.5) is None
    assert quantile(BOUNDS, (), 0.5) is None


@given(counts, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise_with_q_and_stay_within_the_bounds(
    observed: tuple[int, ...], one: float, other: float
) -> None:
    low, high = (quantile(BOUNDS, observed, q) for q in sorted((one, other)))
    if low is None or high is None:
        assert sum(observed) == 0
    else:
        assert 0.0 <= low <= high <= BOUNDS[-1]


@given(counts, counts, counts)
def test_merging_conserves_counts_in_any_order(
    a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...]
) -> None:
    assert merged(merged(a, b), c) == merged(a, merged(c, b))
    assert sum(merged(a, b)) == sum(a) + sum(b)
    assert merged(a, ()) == a == merged((), a)


def test_histograms_over_different_bounds_do_not_merge() -> None:
    with pytest.raises(ValueError, match="2 and 3 bounds"):
        merged((1, 2, 3), (1, 2, 3, 4))


def test_fewer_bounds_hold_the_same_observations() -> None:
    assert coarsened(BOUNDS, (1, 2, 3, 4), (2.0,)) == (3, 7)
    assert coarsened(BOUNDS, (1, 2, 3, 4), BOUNDS) == (1, 2, 3, 4)
    with pytest.raises(ValueError, match="not in"):
        coarsened(BOUNDS, (1, 2, 3, 4), (3.0,))
