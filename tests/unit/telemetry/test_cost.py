"""Costs in micro-dollars: exact, rounded once, and never for one token twice."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import Target
from fairlead.telemetry.cost import Prices, cost_microusd, dearest_microusd, estimate_microusd, prices_of
from fairlead.types import Usage

SONNET = Target(
    provider="p",
    input_usd_per_mtok=3.0,
    output_usd_per_mtok=15.0,
    cache_read_usd_per_mtok=0.3,
    cache_write_usd_per_mtok=3.75,
)


def prices(target: Target = SONNET) -> Prices:
    found = prices_of(target)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("usage", "microusd"),
    [
        (Usage(), 0),
        (Usage(input_tokens=1000, output_tokens=100), 3000 + 1500),
        (Usage(input_tokens=1000, cache_read_tokens=900), 300 + 270),
        (Usage(input_tokens=1000, cache_write_tokens=400), 1800 + 1500),
        (Usage(input_tokens=1000, cache_read_tokens=600, cache_write_tokens=400), 180 + 1500),
        (Usage(input_tokens=1000, cache_read_tokens=5000, cache_write_tokens=5000), 300),
        (Usage(input_tokens=-5, output_tokens=-5, cache_read_tokens=-1), 0),
    ],
)
def test_cached_tokens_are_billed_at_their_own_price_only(usage: Usage, microusd: int) -> None:
    assert cost_microusd(usage, prices()) == microusd


def test_cached_tokens_without_a_price_cost_what_other_input_does() -> None:
    plain = prices(Target(provider="p", input_usd_per_mtok=3.0, output_usd_per_mtok=15.0))

    assert cost_microusd(Usage(input_tokens=1000, cache_read_tokens=900), plain) == 3000


def test_a_cost_is_rounded_once_at_the_end() -> None:
    cheap = prices(Target(provider="p", input_usd_per_mtok=0.15, output_usd_per_mtok=0.6))

    assert cost_microusd(Usage(input_tokens=3), cheap) == 0  # 0.45
    assert cost_microusd(Usage(input_tokens=3, output_tokens=1), cheap) == 1  # 1.05
    assert cost_microusd(Usage(input_tokens=10**9), cheap) == 150_000_000


def test_without_prices_there_is_no_cost() -> None:
    assert prices_of(Target(provider="p")) is None
    assert prices_of(Target(provider="p", input_usd_per_mtok=0.0)) == Prices(
        input=0, output=0, cache_read=0, cache_write=0
    )


def test_the_dearest_target_is_reserved_for() -> None:
    cheap = prices(Target(provider="p", input_usd_per_mtok=0.1))

    assert dearest_microusd([cheap, None, prices()], 1000, 100) == 3750 + 1500
    assert dearest_microusd([None], 1000, 100) is None


counts = st.integers(0, 10**7)


@given(counts, counts, counts, counts)
def test_a_cost_is_exact_and_never_above_its_estimate(read: int, write: int, rest: int, output: int) -> None:
    usage = Usage(
        input_tokens=read + write + rest,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
    )
    exact = Fraction("0.3") * read + Fraction("3.75") * write + 3 * rest + 15 * output

    cost = cost_microusd(usage, prices())

    assert abs(cost - exact) <= Fraction(1, 2)
    assert cost <= estimate_microusd(prices(), usage.input_tokens, output)
