"""What providers tell of their rate limits."""

from __future__ import annotations

import pytest

from fairlead.gateway.rate_headers import rate_facts
from fairlead.limits.provider_rate import RateFacts
from fairlead.types import Headers


def test_openais_fields() -> None:
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"x-ratelimit-limit-requests", b"60"),
        (b"x-ratelimit-limit-tokens", b"150000"),
        (b"x-ratelimit-remaining-requests", b"59"),
        (b"x-ratelimit-remaining-tokens", b"149984"),
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
    ]
    assert rate_facts(headers, 0.0) == (
        RateFacts(limit=150_000, remaining=149_984, reset_s=360),
        RateFacts(limit=60, remaining=59, reset_s=1),
    )


def test_anthropics_fields() -> None:
    headers: Headers = [
        (b"anthropic-ratelimit-tokens-limit", b"80000"),
        (b"anthropic-ratelimit-tokens-remaining", b"1000"),
        (b"anthropic-ratelimit-tokens-reset", b"2023-11-14T22:13:30Z"),
    ]
    assert rate_facts(headers, 1_700_000_000.0) == (RateFacts(limit=80_000, remaining=1000, reset_s=10), None)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"x-ratelimit-limit-tokens", b"many")],
        [(b"x-ratelimit-limit-tokens", b"-5")],
        [(b"x-ratelimit-limit-tokens", b"nan")],
        [(b"x-ratelimit-remaining-tokens", b"5")],
        [(b"x-ratelimit-limit-tokens", b"\xff\xfe")],
    ],
)
def test_what_says_nothing_is_none(headers: Headers) -> None:
    assert rate_facts(headers, 0.0) == (None, None)


def test_a_reset_that_is_none_is_left_out() -> None:
    headers: Headers = [(b"x-ratelimit-limit-tokens", b"10"), (b"x-ratelimit-reset-tokens", b"soon")]
    assert rate_facts(headers, 0.0)[0] == RateFacts(limit=10)
