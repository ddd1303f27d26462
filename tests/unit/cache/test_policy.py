"""What is looked up, what is stored, and what a client may say about it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.made import ask, policy

from fairlead.cache.key import read
from fairlead.cache.policy import NO_CONTROL, Control, control


def bypassed(body: bytes, api: str = "chat", **options: object) -> str:
    request = read(api, body)
    assert request is not None
    return policy(**options).bypass(request)


@pytest.mark.parametrize(
    ("temperature", "ceiling", "reason"),
    [
        (0, 0.0, ""),
        (0.0, 0.0, ""),
        (0.1, 0.0, "temperature"),
        (1, 1.0, ""),
        (1.5, 1.0, "temperature"),
        (1.5, 2.0, ""),
        (None, 1.0, ""),
        (None, 0.9, "temperature"),
        ("0", 1.0, "temperature"),
        (False, 1.0, "temperature"),
        ([], 1.0, "temperature"),
    ],
)
def test_the_ceiling_of_temperature(temperature: object, ceiling: float, reason: str) -> None:
    assert bypassed(ask(temperature=temperature), max_temperature=ceiling) == reason


def test_a_request_that_names_no_temperature_counts_as_the_apis_default() -> None:
    assert bypassed(ask()) == ""
    assert bypassed(ask(), max_temperature=0.5) == "temperature"


@pytest.mark.parametrize(("n", "reason"), [(None, ""), (1, ""), (2, "choices"), ("1", "choices")])
def test_several_answers_at_once(n: object, reason: str) -> None:
    assert bypassed(ask(n=n)) == reason
    assert bypassed(ask(n=3), max_choices=3) == ""


@pytest.mark.parametrize(
    ("api", "fields", "reason"),
    [
        ("chat", {"store": True}, "state"),
        ("chat", {"store": False}, ""),
        ("responses", {"store": True}, "state"),
        ("responses", {"store": False}, ""),
        ("responses", {"background": True}, "state"),
        ("responses", {"previous_response_id": "resp_1"}, "state"),
        ("responses", {"previous_response_id": None}, ""),
        ("responses", {"conversation": {"id": "c"}}, "state"),
        ("messages", {"container": "c"}, "state"),
        ("messages", {"mcp_servers": [{"url": "https://example.com"}]}, "live"),
        ("chat", {"web_search_options": {"a": 1}}, "live"),
        ("responses", {"tools": [{"type": "web_search"}]}, "live"),
        ("messages", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "live"),
        ("messages", {"tools": [{"name": "f", "input_schema": {}}]}, ""),
        ("messages", {"tools": [{"type": "custom", "name": "f"}]}, ""),
        ("chat", {"tools": [{"type": "function", "function": {"name": "f"}}]}, ""),
        ("chat", {"tools": "all"}, "live"),
        ("chat", {"modalities": ["text", "audio"]}, "media"),
        ("chat", {"modalities": ["text"]}, ""),
        ("chat", {"audio": {"voice": "alloy"}}, "media"),
    ],
)
def test_what_depends_on_more_than_the_request(api: str, fields: dict[str, Any], reason: str) -> None:
    assert bypassed(ask(**fields), api) == reason


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_file", "file_id": "f"},
        {"type": "document", "source": {"type": "file", "file_id": "f"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
    ],
)
def test_images_audio_and_files(part: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}, indent=1).encode()

    assert bypassed(body) == "media"
    assert bypassed(body, media=True) == ""


def test_a_text_about_images_is_a_text() -> None:
    assert bypassed(ask('say {"type":"image_url"} and "type":"file"')) == ""


@pytest.mark.parametrize("api", ["embeddings", "rerank", "moderations"])
def test_what_is_computed_needs_no_temperature(api: str) -> None:
    assert bypassed(b'{"model":"m","input":"a"}', api, max_temperature=0.0) == ""


@pytest.mark.parametrize(
    ("finishes", "calls_tools", "options", "reason"),
    [
        ({"stop"}, False, {}, ""),
        ({"end_turn"}, False, {}, ""),
        ({"stop_sequence"}, False, {}, ""),
        ({"completed"}, False, {}, ""),
        ({"length"}, False, {}, "unfinished"),
        ({"max_tokens"}, False, {}, "unfinished"),
        ({"max_output_tokens"}, False, {}, "unfinished"),
        ({"content_filter"}, False, {}, "unfinished"),
        ({"refusal"}, False, {}, "unfinished"),
        ({"pause"}, False, {}, "unfinished"),
        ({"stop", "length"}, False, {}, "unfinished"),
        ({"unheard_of"}, False, {}, "unfinished"),
        (set(), False, {}, "unfinished"),
        ({"tool_calls"}, True, {}, "tool_calls"),
        ({"tool_calls"}, True, {"tool_calls": True}, ""),
        ({"completed"}, True, {}, "tool_calls"),
        ({"completed"}, True, {"tool_calls": True}, ""),
        ({"tool_calls"}, False, {"tool_calls": True}, "unfinished"),
    ],
)
def test_which_answers_are_stored(
    finishes: set[str], calls_tools: bool, options: dict[str, Any], reason: str
) -> None:
    assert policy(**options).refuses(finishes, calls_tools=calls_tools) == reason


def test_a_fallbacks_answer_is_not_stored() -> None:
    assert policy().refuses({"stop"}, calls_tools=False, fallback=True) == "fallback"


def test_how_long_an_answer_is_kept() -> None:
    assert policy(ttl_s=60.0).kept_s == 60.0
    assert policy(ttl_s=60.0, stale_on_outage_s=600.0).kept_s == 660.0


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (None, NO_CONTROL),
        (b"", NO_CONTROL),
        (b"no-store", Control(no_store=True)),
        (b"No-Cache", Control(no_cache=True)),
        (b"max-age=60", Control(max_age_s=60)),
        (b'max-age="60"', Control(max_age_s=60)),
        (b"max-age=0", Control(max_age_s=0, no_cache=True)),
        (b"max-age=-1", Control(max_age_s=0, no_cache=True)),
        (b"max-age=soon", Control(max_age_s=0, no_cache=True)),
        (b"max-age", Control(max_age_s=0, no_cache=True)),
        (b"max-age=99999999999999999999", Control(max_age_s=2**31)),
        (b"max-age=5, max-age=9", Control(max_age_s=5)),
        (b"only-if-cached, max-age=5", Control(only_if_cached=True, max_age_s=5)),
        (b" no-store ,, no-cache", Control(no_store=True, no_cache=True)),
        (b'extension="no-store, no-cache", only-if-cached', Control(only_if_cached=True)),
        (b"x-no-store", NO_CONTROL),
        (b"min-fresh=3, no-transform", NO_CONTROL),
    ],
)
def test_what_a_client_says(value: bytes | None, meant: Control) -> None:
    assert control(value) == meant


@given(st.binary(max_size=60))
def test_anything_can_be_read(value: bytes) -> None:
    assert isinstance(control(value), Control)
