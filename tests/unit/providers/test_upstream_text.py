from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.upstream_text import MAX_CHARS, body_excerpt, is_error_envelope, presentable


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcDEF123456",
        "sk-ant-api03-xxxxxxxx",
        "AIzaSyA1234567890abcdefg",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer abcdef123456",
        "x-api-key: 0123456789abcdef",
        "api_key=deadbeef01234567",
        "Signature=5d672d79c15b13162d9279b0855cfba6",
        "eyJhbGciOiJI.eyJzdWIiOiIx.sig",
    ],
)
def test_credentials_are_taken_out(secret: str) -> None:
    text = presentable(f"refused {secret} today")

    assert secret not in text
    assert text.startswith("refused ")
    assert text.endswith(" today")


def test_ordinary_words_stay() -> None:
    text = "Incorrect API key provided. The api key format is wrong; task-force, sk-8, bearer token missing."

    assert presentable(text) == text


@given(st.text(max_size=5000))
def test_always_one_bounded_line(text: str) -> None:
    line = presentable(text)

    assert len(line) <= MAX_CHARS
    assert not any(ch in line for ch in "\r\n\x00\x1b")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b" \r\n", "the body is empty"),
        (b"<html><head><title>502 Bad\nGateway</title>", "an HTML page: 502 Bad Gateway"),
        (b"<!DOCTYPE html><p>x", "an HTML page"),
        (b"upstream connect error\n", "upstream connect error"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_a_body_that_is_no_json_is_told_in_short(body: bytes, told: str) -> None:
    assert body_excerpt(body) == told


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"error": {"message": "no"}}', True),
        (b'{"type": "error", "error": {"type": "invalid_request_error"}, "request_id": "r"}', True),
        (b'{"detail": "Unexpected fields"}', False),
        (b'{"object": "error", "message": "no"}', False),
        (b'{"error": "no", "error_type": "validation"}', False),
        (b'{"error": {}}', False),
        (b"[]", False),
        (b"Internal Server Error", False),
        (b"\xff", False),
        (b'{"error":' * 100_000, False),
    ],
)
def test_what_sdks_read_as_an_error(body: bytes, found: bool) -> None:
    assert is_error_envelope(body) is found
