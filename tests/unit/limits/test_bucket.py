"""GCRA: what fits, what is given back, and what no clock can bring about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.limits import bucket

MINUTE_US = 60_000_000
NOW = 1_700_000_000_000_000

amounts = st.integers(1, 10**9)
moments = st.integers(0, 10 * MINUTE_US).map(lambda offset: NOW + offset)


@pytest.mark.parametrize("amount", [1, 7, 60, 999, 1_000_000, 7_000_001])
def test_a_full_bucket_holds_its_burst_in_single_pieces_and_no_more(amount: int) -> None:
    pieces = min(amount, 2000)
    burst = pieces
    tolerance = bucket.cost_us(burst, amount, 60)
    one = bucket.cost_us(1, amount, 60)
    tat = 0
    for _ in range(pieces):
        assert bucket.wait_us(tat, NOW, one, tolerance) == 0
        tat = bucket.take(tat, NOW, one)

    assert bucket.free(tat, NOW, tolerance, amount, 60) == 0 or one * pieces < tolerance
    if one > pieces:  # else rounding may leave room for one more
        assert bucket.wait_us(tat, NOW, one, tolerance) > 0


def test_the_wait_is_exact() -> None:
    tolerance = bucket.cost_us(10, 10, 60)
    tat = bucket.take(0, NOW, tolerance)
    cost = bucket.cost_us(3, 10, 60)

    wait = bucket.wait_us(tat, NOW, cost, tolerance)

    assert wait == 18_000_000
    assert bucket.wait_us(tat, NOW + wait, cost, tolerance) == 0
    assert bucket.wait_us(tat, NOW + wait - 1, cost, tolerance) == 1


@given(amounts, st.integers(1, 10**6), st.lists(st.integers(0, 10**6), max_size=8), moments)
def test_what_is_free_now_can_be_taken_now(amount: int, burst: int, costs: list[int], now: int) -> None:
    tolerance = bucket.cost_us(burst, amount, 60)
    tat = 0
    for cost in costs:
        tat = bucket.take(tat, now, bucket.cost_us(cost, amount, 60))
        free = bucket.free(tat, now, tolerance, amount, 60)
        assert free <= burst
        if free >= 0:
            assert bucket.wait_us(tat, now, bucket.cost_us(free, amount, 60), tolerance) == 0


@given(amounts, st.integers(1, 10**6), st.integers(0, 10**6), moments, moments)
def test_an_earlier_moment_never_has_more(amount: int, burst: int, cost: int, one: int, two: int) -> None:
    earlier, later = sorted((one, two))
    tat = bucket.take(0, later, bucket.cost_us(cost, amount, 60))
    tolerance = bucket.cost_us(burst, amount, 60)

    assert bucket.free(tat, earlier, tolerance, amount, 60) <= bucket.free(tat, later, tolerance, amount, 60)


@given(amounts, st.integers(0, 10**6), st.integers(0, 10**6), moments, moments)
def test_a_refund_undoes_a_cost_and_is_never_saved_up(
    amount: int, before: int, cost: int, one: int, two: int
) -> None:
    earlier, later = sorted((one, two))
    tat = bucket.take(0, earlier, bucket.cost_us(before, amount, 60))
    refill = bucket.cost_us(cost, amount, 60)
    taken = bucket.take(tat, earlier, refill)

    assert bucket.give_back(taken, earlier, refill) == tat
    assert bucket.give_back(taken, later, refill) >= min(taken, later)
    assert bucket.free(bucket.give_back(taken, later, 10**18), later, MINUTE_US, 5, 60) == 5
