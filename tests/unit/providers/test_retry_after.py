"""How long an upstream asks us to wait."""

from __future__ import annotations

import pytest

from fairlead.providers.retry_after import parse_reset, retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def test_milliseconds_come_before_seconds() -> None:
    assert retry_after_s([(b"retry-after-ms", b"1500"), (b"retry-after", b"9")]) == 1.5


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"3", 3.0),
        (b"0.25", 0.25),
        (b"-5", 0.0),
        (b"Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        (b"Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
        (b"soon", None),
        (b"inf", None),
        (b"nan", None),
        (b"", None),
    ],
)
def test_seconds_and_http_dates(value: bytes, seconds: float | None) -> None:
    assert retry_after_s([(b"retry-after", value)], now=NOW) == seconds


def test_the_answers_own_date_stands_in_for_now() -> None:
    headers = [
        (b"date", b"Tue, 14 Nov 2023 22:13:20 GMT"),
        (b"retry-after", b"Tue, 14 Nov 2023 22:13:27 GMT"),
    ]
    assert retry_after_s(headers) == 7.0
    assert retry_after_s(headers[1:]) is None


def test_a_reset_counts_only_for_a_429() -> None:
    headers = [(b"x-ratelimit-reset-requests", b"2s")]
    assert retry_after_s(headers) is None
    assert retry_after_s(headers, rate_limited=True) == 2.0


def test_what_is_used_up_decides() -> None:
    headers = [
        (b"x-ratelimit-reset-requests", b"1s"),
        (b"x-ratelimit-remaining-requests", b"12"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
        (b"x-ratelimit-remaining-tokens", b"0"),
    ]
    assert retry_after_s(headers, rate_limited=True) == 360.0
    unknown = [(name, value) for name, value in headers if b"remaining" not in name]
    assert retry_after_s(unknown, rate_limited=True) == 1.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("1d", 86_400.0),
        ("2023-11-14T22:13:25Z", 5.0),
        ("2023-11-14T22:13:25", None),
        ("5 apples", None),
        ("s", None),
        ("", None),
    ],
)
def test_resets_in_all_their_spellings(text: str, seconds: float | None) -> None:
    assert parse_reset(text, NOW) == seconds


def test_a_time_without_now_is_unknown() -> None:
    assert parse_reset("2023-11-14T22:13:25Z", None) is None
