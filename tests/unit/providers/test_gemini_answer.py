from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.chat import (
    ChatRequest,
    Finish,
    FinishReason,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.gemini import GeminiUpstream
from fairlead.types import Usage

R = FinishReason
REQUEST = ChatRequest(model="m", messages=())


def answer(reason: str = "STOP", parts: list[dict[str, Any]] | None = None, **more: Any) -> bytes:
    candidate = {"content": {"parts": parts or []}, "finishReason": reason}
    return json.dumps({"responseId": "r1", "candidates": [candidate], **more}).encode()


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", R.STOP),
        ("MAX_TOKENS", R.LENGTH),
        ("SAFETY", R.CONTENT_FILTER),
        ("RECITATION", R.CONTENT_FILTER),
        ("PROHIBITED_CONTENT", R.CONTENT_FILTER),
        ("SPII", R.CONTENT_FILTER),
        ("IMAGE_SAFETY", R.CONTENT_FILTER),
        ("OTHER", R.CONTENT_FILTER),
        ("CONTINUATION", R.PAUSE),
    ],
)
def test_finish_reasons(reason: str, finish: FinishReason) -> None:
    assert GeminiUpstream().decode(answer(reason), []).choices[0].finish is finish


def test_a_stop_with_calls_is_tool_calls_and_a_cut_one_is_not() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}

    assert GeminiUpstream().decode(answer("STOP", [call]), []).choices[0].finish is R.TOOL_CALLS
    assert GeminiUpstream().decode(answer("MAX_TOKENS", [call]), []).choices[0].finish is R.LENGTH


@pytest.mark.parametrize(
    "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"]
)
def test_unusable_output_is_a_bad_answer(reason: str) -> None:
    with pytest.raises(BadUpstreamAnswer, match=reason):
        GeminiUpstream().decode(answer(reason), [])
    events = GeminiUpstream().decoder(REQUEST).feed(b"data: " + answer(reason) + b"\n\n")
    assert isinstance(events[-1], StreamError)


def ids(body: bytes) -> list[str]:
    return [p.id for p in GeminiUpstream().decode(body, []).choices[0].parts if isinstance(p, ToolCallPart)]


def test_made_up_ids_are_the_same_each_time_and_differ_between_calls_and_answers() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    body = answer("STOP", [call, call])

    assert ids(body) == ids(body)
    assert len({*ids(body), *ids(body.replace(b'"r1"', b'"r2"'))}) == 4
    stream = b"".join(
        b"data: "
        + json.dumps({"responseId": "r1", "candidates": [{"content": {"parts": [call]}}]}).encode()
        + b"\n\n"
        for _ in range(2)
    )
    events = GeminiUpstream().decoder(REQUEST).feed(stream)
    assert [event.id for event in events if isinstance(event, ToolCallBegin)] == ids(body)


def test_usage_counts_thoughts_as_output_and_cached_tokens_as_input() -> None:
    usage = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 5,
        "cachedContentTokenCount": 80,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 30,
        "promptTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 40},
            {"modality": "TEXT", "tokenCount": 60},
        ],
    }

    assert GeminiUpstream().decode(answer(usageMetadata=usage), []).usage == Usage(
        input_tokens=105,
        output_tokens=37,
        cache_read_tokens=80,
        reasoning_tokens=30,
        audio_input_tokens=40,
    )


def test_several_candidates_in_a_stream() -> None:
    def chunk(index: int, text: str, reason: str | None) -> bytes:
        candidate: dict[str, Any] = {"index": index, "content": {"parts": [{"text": text}]}}
        if reason:
            candidate["finishReason"] = reason
        return b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\n\n"

    decoder = GeminiUpstream().decoder(REQUEST)
    events = decoder.feed(chunk(0, "a", None) + chunk(1, "b", "STOP") + chunk(0, "c", "MAX_TOKENS"))

    assert [(e.choice, e.text) for e in events if isinstance(e, TextDelta)] == [(0, "a"), (1, "b"), (0, "c")]
    assert [(e.choice, e.reason) for e in events if isinstance(e, Finish)] == [(1, R.STOP), (0, R.LENGTH)]


def test_usage_behind_the_finish_reason_still_counts() -> None:
    decoder = GeminiUpstream().decoder(REQUEST)
    decoder.feed(b"data: " + answer() + b"\n\n")

    events = decoder.feed(b'data: {"usageMetadata":{"promptTokenCount":4}}\n\n')

    assert events == [UsageReport(usage=Usage(input_tokens=4))]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"candidates":[]}',
        b'{"candidates":[{"content":{"parts":[]}}]}',
        b'{"error":{"code":500,"message":"x","status":"INTERNAL"}}',
        answer(parts=[{"inlineData": {"mimeType": "image/png", "data": "x"}}]),
        answer(parts=[{"executableCode": {"code": "x"}}]),
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        GeminiUpstream().decode(body, [])


def test_a_stream_that_is_not_json_is_a_bad_answer() -> None:
    with pytest.raises(BadUpstreamAnswer):
        GeminiUpstream().decoder(REQUEST).feed(b"data: <html>\n\n")


def test_creation_times() -> None:
    headers = [(b"date", b"Tue, 01 Sep 2026 12:00:00 GMT")]

    assert GeminiUpstream().decode(answer(), headers).created == 1788264000
    assert GeminiUpstream().decode(answer(createTime="2026-09-01T12:00:01.5Z"), headers).created == 1788264001
    assert GeminiUpstream().decode(answer(createTime="soon"), []).created == 0
