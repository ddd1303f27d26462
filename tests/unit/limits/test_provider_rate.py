"""A provider's capacity, learned from what its answers tell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.limits.provider_rate import ProviderRate, RateFacts


def test_before_anything_is_known_everything_goes() -> None:
    rate = ProviderRate()
    for _ in range(1000):
        assert rate.wait_s(1_000_000, 0.0) == 0.0
        rate.take(1_000_000, 0.0)


def test_what_is_sent_drains_the_bucket_and_time_fills_it() -> None:
    rate = ProviderRate()
    rate.learn(0.0, tokens=RateFacts(limit=6000, remaining=500))
    assert rate.wait_s(500, 0.0) == 0.0
    rate.take(500, 0.0)
    assert rate.wait_s(300, 0.0) == pytest.approx(3.0)
    assert rate.wait_s(300, 3.0) == 0.0


def test_the_reset_tells_the_real_rate_also_of_limits_per_day() -> None:
    rate = ProviderRate()
    rate.learn(0.0, requests=RateFacts(limit=14_400, remaining=14_399, reset_s=6.0))
    for _ in range(14_399):
        rate.take(1, 0.0)
    assert rate.wait_s(1, 0.0) == pytest.approx(6.0)


def test_a_lower_level_is_believed_at_once_and_a_higher_one_half_way() -> None:
    rate = ProviderRate()
    rate.learn(0.0, tokens=RateFacts(limit=6000, remaining=6000))
    rate.learn(0.0, tokens=RateFacts(limit=6000, remaining=100))
    assert rate.wait_s(101, 0.0) > 0.0
    rate.learn(0.0, tokens=RateFacts(limit=6000, remaining=1100))
    assert rate.wait_s(600, 0.0) == 0.0
    assert rate.wait_s(601, 0.0) > 0.0


def test_a_429_stops_everything_for_as_long_as_it_says() -> None:
    rate = ProviderRate()
    rate.refused(7.0, 10.0)
    assert rate.wait_s(1, 10.0) == 7.0
    assert rate.wait_s(1, 17.0) == 0.0
    rate.learn(20.0, tokens=RateFacts(limit=600, remaining=600))
    rate.refused(1.0, 20.0)
    assert rate.wait_s(100, 20.0) == pytest.approx(10.0)


def test_a_request_larger_than_the_bucket_goes_when_it_is_full() -> None:
    rate = ProviderRate()
    rate.learn(0.0, tokens=RateFacts(limit=600, remaining=0))
    assert rate.wait_s(5000, 0.0) == pytest.approx(60.0)
    assert rate.wait_s(5000, 60.0) == 0.0


def test_nonsense_closes_a_provider_for_a_minute_at_most() -> None:
    rate = ProviderRate()
    rate.learn(5.0, requests=RateFacts(limit=1, remaining=0, reset_s=1e12))
    rate.refused(1e12, 10.0)
    assert rate.wait_s(1, 10.0) == 60.0
    assert rate.wait_s(1, 70.0) == 0.0
    rate.take(1, 70.0)
    assert rate.wait_s(1, 71.0) == 59.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["learn", "take", "refused", "nonsense"]),
            st.floats(-10, 100_000),
            st.floats(0, 100_000),
            st.floats(-5, 60),
        ),
        max_size=60,
    )
)
def test_it_never_waits_without_end(events: list[tuple[str, float, float, float]]) -> None:
    rate, now, latest = ProviderRate(), 0.0, 0.0
    for what, limit, remaining, step in events:
        now += step  # a clock that goes backwards is survived, too
        if what == "learn":
            rate.learn(now, tokens=RateFacts(limit=max(limit, 1.0), remaining=min(remaining, limit)))
        elif what == "nonsense":
            rate.learn(now, tokens=RateFacts(limit=-1.0, remaining=remaining), requests=RateFacts())
        elif what == "take":
            rate.take(int(remaining), now)
        else:
            rate.refused(min(remaining, 60.0), now)
        latest = max(now, latest)
        assert 0.0 <= rate.wait_s(10, now) <= latest - now + 60.0 + 1e-6
        assert rate.wait_s(10, latest + 60.0) <= 1e-6
