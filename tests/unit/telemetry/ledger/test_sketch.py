"""Sketches: how far percentiles may be off, merging, and the stored form."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.ledger.sketch import (
    ERROR,
    HIGHEST,
    Spread,
    Tally,
    counts_of,
    decode,
    encode,
    from_counts,
    index,
    middle,
    quantiles,
    size,
    sketch,
)
from fairlead.types import ITL_BOUNDS_S

values = st.lists(st.floats(1.0, 1e13) | st.integers(1, 1000).map(float), min_size=1, max_size=200)
counts = st.dictionaries(st.integers(0, HIGHEST), st.integers(1, 2**36), max_size=60)


def exact(found: Sequence[float], share: float) -> float:
    return sorted(found)[max(1, math.ceil(share * len(found) - 1e-9)) - 1]


@given(values, st.floats(0.0, 1.0))
def test_a_percentile_is_within_the_stated_error(found: list[float], share: float) -> None:
    estimates = quantiles(sketch(found), [share])

    assert estimates is not None
    assert estimates[0] == pytest.approx(exact(found, share), rel=ERROR * 1.000001)


@given(values, values)
def test_the_sum_is_the_sketch_of_both(left: list[float], right: list[float]) -> None:
    assert sketch(left) + sketch(right) == sketch([*left, *right])
    assert size(sketch(left) + sketch(right)) == len(left) + len(right)


@given(counts)
def test_the_stored_form_comes_back(found: dict[int, int]) -> None:
    merged = from_counts(found.items())

    assert dict(counts_of(merged)) == found
    assert decode(encode(merged)) == merged


def test_few_buckets_are_stored_in_few_bytes() -> None:
    assert encode(0) == b""
    assert len(encode(sketch([0.2e6]))) < 10
    assert len(encode(sketch([0.2e6, 20e6]))) < 20
    assert len(encode(sketch([1.03**power for power in range(300)]))) < 5 * 300


@pytest.mark.parametrize("stored", [b"x", b"d", b"d\x01", b"s123", b"\xff" * 20])
def test_what_is_no_sketch_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored sketch"):
        decode(stored)


def test_shares_may_be_in_any_order_and_repeat() -> None:
    merged = sketch(map(float, range(1, 1001)))

    high, low, again = quantiles(merged, [0.99, 0.0, 0.99]) or []
    assert high == again
    assert high == pytest.approx(990, rel=ERROR)
    assert low == pytest.approx(1, rel=ERROR * 1.000001)


def test_without_observations_there_is_no_percentile() -> None:
    assert quantiles(0, [0.5]) is None
    assert list(counts_of(0)) == []
    assert size(0) == 0


@pytest.mark.parametrize(
    ("value", "bucket"),
    [(0.0, 0), (-5.0, 0), (0.5, 0), (1.0, 0), (math.nan, 0), (2.0**63, 1091), (1e30, 1100), (math.inf, 1100)],
)
def test_odd_values_have_a_bucket(value: float, bucket: int) -> None:
    assert index(value) == bucket
    assert dict(counts_of(sketch([value]))) == {bucket: 1}


def test_two_values_beyond_the_last_bucket_are_counted_together() -> None:
    assert dict(counts_of(sketch([1e25, math.inf, *map(float, range(1, 40))])))[HIGHEST] == 2


def test_small_numbers_of_tokens_are_told_apart() -> None:
    assert [round(middle(index(number))) for number in range(1, 25)] == list(range(1, 25))


@given(st.lists(st.integers(0, 1000), min_size=len(ITL_BOUNDS_S) + 1, max_size=len(ITL_BOUNDS_S) + 1))
def test_a_coarse_histogram_keeps_its_number_and_its_buckets(found: list[int]) -> None:
    merged = Spread(ITL_BOUNDS_S, 1e6).sketch(found)

    assert size(merged) == sum(found)
    for place, bound in enumerate(ITL_BOUNDS_S[:-1]):
        below = sum(count for bucket, count in counts_of(merged) if bucket < index(bound * 1e6))
        assert below == sum(found[: place + 1])


def test_a_single_observation_lies_in_the_middle_of_its_coarse_bucket() -> None:
    spread = Spread((0.01, 0.02, 0.04), 1e6)
    (at,) = [middle(bucket) for bucket, _ in counts_of(spread.sketch([0, 1, 0, 0]))]

    assert at == pytest.approx(math.sqrt(0.01 * 0.02) * 1e6, rel=0.05)


def test_a_histogram_over_other_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        Spread((0.01, 0.02), 1e6).sketch([1, 2])


@given(st.lists(counts, max_size=5), counts)
def test_a_tally_is_the_sum_of_whatever_form(stored: list[dict[int, int]], fresh: dict[int, int]) -> None:
    tally = Tally()
    for one in stored:
        tally.add_stored(encode(from_counts(one.items())))
    tally.add(from_counts(fresh.items()))

    assert tally.sketch() == sum(from_counts(one.items()) for one in (*stored, fresh))


def test_a_tally_refuses_what_is_no_sketch() -> None:
    with pytest.raises(ValueError, match="not a stored sketch"):
        Tally().add_stored(b"s123")
