"""Histograms under way."""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.metrics.cells import Tally

_BOUNDS = (0.01, 0.1, 1.0, 10.0)


@given(st.lists(st.lists(st.sampled_from(_BOUNDS) | st.floats(0, 20), max_size=30), max_size=4))
def test_folding_counts_each_value_in_its_bucket(batches: list[list[float]]) -> None:
    tally = Tally(_BOUNDS)
    expected = [0] * (len(_BOUNDS) + 1)
    for batch in batches:
        for value in batch:
            tally.new.append(value)
            expected[bisect_left(_BOUNDS, value)] += 1
        tally.fold()
        assert tally.new == []

    assert tally.counts == expected
    assert abs(tally.total - sum(map(sum, batches))) < 1e-6
