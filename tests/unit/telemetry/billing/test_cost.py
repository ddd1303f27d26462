"""Costs in micro-dollars: exact, rounded once, and never for one token twice."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config import Target
from fairlead.telemetry.billing.cost import (
    UNIT,
    Prices,
    cost_microusd,
    dearest_microusd,
    estimate_microusd,
    price_each,
    prices_of,
)
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


KINDS = Prices(
    input=2 * UNIT, output=10 * UNIT, cache_read=UNIT, cache_write=3 * UNIT, cache_write_1h=4 * UNIT,
    cache_read_audio=5 * UNIT, reasoning=12 * UNIT, audio_input=32 * UNIT, audio_output=64 * UNIT,
    image_input=8 * UNIT, image_output=40 * UNIT, request=7 * UNIT,
)  # fmt: skip


@pytest.mark.parametrize(
    ("usage", "microusd"),
    [
        (Usage(), 7),
        (Usage(input_tokens=100, cache_write_tokens=60, cache_write_1h_tokens=20), 7 + 80 + 40 * 3 + 20 * 4),
        (Usage(input_tokens=100, cache_write_tokens=10, cache_write_1h_tokens=99), 7 + 180 + 40),
        (Usage(output_tokens=100, reasoning_tokens=30), 7 + 700 + 360),
        (Usage(input_tokens=100, audio_input_tokens=30), 7 + 140 + 960),
        (Usage(input_tokens=100, cache_read_tokens=50, audio_input_tokens=30), 7 + 40 + 960 + 50),
        # More audio than was uncached: the rest of it was read from the cache, though nobody said so.
        (Usage(input_tokens=100, cache_read_tokens=50, audio_input_tokens=80), 7 + 50 * 32 + 30 * 5 + 20),
        (
            Usage(input_tokens=100, cache_read_tokens=50, audio_input_tokens=30, cache_read_audio_tokens=20),
            7 + 40 * 2 + 10 * 32 + 20 * 5 + 30,
        ),
        (Usage(input_tokens=10, image_input_tokens=4), 7 + 12 + 32),
        (Usage(output_tokens=10, audio_output_tokens=4, image_output_tokens=3), 7 + 30 + 256 + 120),
        # Parts that contradict the whole never make it larger.
        (Usage(output_tokens=10, audio_output_tokens=8, reasoning_tokens=50), 7 + 8 * 64 + 2 * 12),
        (Usage(input_tokens=10, audio_input_tokens=50, image_input_tokens=50), 7 + 10 * 32),
    ],
)
def test_every_kind_of_token_has_its_price(usage: Usage, microusd: int) -> None:
    assert cost_microusd(usage, KINDS) == microusd


def test_seconds_of_audio_are_billed_by_the_millisecond() -> None:
    whisper = Prices(input=0, output=0, cache_read=0, cache_write=0, audio_second=price_each(0.0001))

    assert cost_microusd(Usage(audio_s=27.5), whisper) == 2750
    assert cost_microusd(Usage(audio_s=-1.0), whisper) == 0


def test_the_sum_of_two_usages_keeps_the_tier() -> None:
    both = Usage(input_tokens=1, audio_s=0.5, service_tier="flex") + Usage(input_tokens=2, reasoning_tokens=3)

    assert both == Usage(input_tokens=3, reasoning_tokens=3, audio_s=0.5, service_tier="flex")


anything = st.integers(-10, 10**6)


@given(st.builds(Usage, **dict.fromkeys(
    ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens",
     "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "cache_read_audio_tokens",
     "image_input_tokens", "image_output_tokens"), anything)))  # fmt: skip
def test_whatever_is_reported_no_token_is_billed_twice_or_below_the_cheapest(usage: Usage) -> None:
    cost = cost_microusd(usage, KINDS)
    into, out = max(0, usage.input_tokens), max(0, usage.output_tokens)

    assert 7 + into * 1 + out * 10 <= cost <= 7 + into * 32 + out * 64


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
