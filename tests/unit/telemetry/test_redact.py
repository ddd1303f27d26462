"""Secrets in text."""

from __future__ import annotations

import pytest

from fairlead.telemetry.redact import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key fl-0123456789abcdefABCDEF used", "key [redacted] used"),
        ("sk-ant-api03-AbC_dEf-123", "[redacted]"),
        ("Incorrect API key provided: sk-proj-abcdefghij.", "Incorrect API key provided: [redacted]."),
        ("Authorization: Bearer abc.def-ghi_jkl=", "Authorization: Bearer [redacted]"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic [redacted]"),
        ("x-api-key: 0123456789abcdef", "x-api-key: [redacted]"),
        ('{"api_key": "0123456789abcdef"}', '{"api_key": "[redacted]"}'),
        ("GET /v1?api-key=topsecret&x=1", "GET /v1?api-key=[redacted]&x=1"),
        ("x-goog-api-key=topsecret", "x-goog-api-key=[redacted]"),
        ("AIzaSyA1234567890abcdefghijklmnopqrstuv", "[redacted]"),
        ("gsk_0123456789ab", "[redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        ("aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCY", "aws_secret_access_key = [redacted]"),
        ("redis://user:hunter2@cache:6379/0", "redis://[redacted]@cache:6379/0"),
        ("postgres://:hunter2@db/x", "postgres://[redacted]@db/x"),
        ("password=hunter2", "password=[redacted]"),
    ],
)
def test_credentials_are_hidden(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "risk-management and task-oriented",
        "model gpt-4o-mini on lab/llama-3.1-8b-instruct",
        "request 018bcfe5687b0001 took 12 ms",
        "https://api.example.com/v1/chat?x=1 failed",
        "bearer of bad news",
        "the password is missing",
        "sk-1",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_redacting_again_changes_nothing() -> None:
    once = redact("Bearer abcdefgh api_key=abcdefgh http://a:b@c sk-abcdefghijk")
    assert redact(once) == once


def test_a_long_hostile_text_is_searched_quickly() -> None:
    for piece in ("Bearer ", "api_key=", "a://", "http://a:", "sk-", "Basic    ", "api_key ' : "):
        redact(piece * 20_000)
