from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.bedrock import BedrockUpstream
from fairlead.providers.chat import (
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningPart,
    StreamError,
    UsageReport,
)
from fairlead.providers.eventstream import encode_message
from fairlead.types import FailureKind, Usage

R = FinishReason
REQUEST = ChatRequest(model="m", messages=())


def answer(reason: str = "end_turn", *blocks: dict[str, Any], **more: Any) -> bytes:
    return json.dumps(
        {"output": {"message": {"role": "assistant", "content": list(blocks)}}, "stopReason": reason, **more}
    ).encode()


def event(kind: str, **payload: Any) -> bytes:
    return encode_message({":message-type": "event", ":event-type": kind}, json.dumps(payload).encode())


def feed(*frames: bytes) -> list[Event]:
    return BedrockUpstream().decoder(REQUEST).feed(b"".join(frames))


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", R.STOP),
        ("tool_use", R.TOOL_CALLS),
        ("max_tokens", R.LENGTH),
        ("stop_sequence", R.STOP_SEQUENCE),
        ("guardrail_intervened", R.CONTENT_FILTER),
        ("content_filtered", R.CONTENT_FILTER),
        ("model_context_window_exceeded", R.LENGTH),
        ("something_new", R.STOP),
    ],
)
def test_stop_reasons(reason: str, finish: FinishReason) -> None:
    assert BedrockUpstream().decode(answer(reason), []).choices[0].finish is finish
    assert feed(event("messageStop", stopReason=reason)) == [Finish(reason=finish)]


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_unusable_output_is_a_bad_answer(reason: str) -> None:
    with pytest.raises(BadUpstreamAnswer, match=reason):
        BedrockUpstream().decode(answer(reason), [])
    (error,) = feed(event("messageStop", stopReason=reason))
    assert isinstance(error, StreamError)
    assert error.failure.kind is FailureKind.BAD_ANSWER


def test_usage_includes_cached_tokens() -> None:
    usage = {
        "inputTokens": 1,
        "outputTokens": 2,
        "cacheReadInputTokens": 10,
        "cacheWriteInputTokens": 20,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 5}],
    }
    expected = Usage(
        input_tokens=31, output_tokens=2, cache_read_tokens=10, cache_write_tokens=20, cache_write_1h_tokens=5
    )

    assert BedrockUpstream().decode(answer(usage=usage), []).usage == expected
    assert feed(event("metadata", usage=usage)) == [UsageReport(usage=expected), End()]


def test_the_sequence_that_stopped_the_answer() -> None:
    fields = {"additionalModelResponseFields": {"stop_sequence": "END"}}

    assert BedrockUpstream().decode(answer("stop_sequence", **fields), []).choices[0].stop_sequence == "END"
    assert feed(event("messageStop", stopReason="stop_sequence", **fields)) == [
        Finish(reason=R.STOP_SEQUENCE, stop_sequence="END")
    ]


def test_redacted_reasoning() -> None:
    block = {"reasoningContent": {"redactedContent": "b3A="}}

    assert BedrockUpstream().decode(answer("end_turn", block), []).choices[0].parts == (
        ReasoningPart(redacted="b3A="),
    )
    assert feed(event("contentBlockDelta", contentBlockIndex=0, delta=block)) == [
        ReasoningDelta(redacted="b3A=")
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("throttlingException", FailureKind.RATE_LIMITED),
        ("internalServerException", FailureKind.SERVER_ERROR),
        ("modelStreamErrorException", FailureKind.SERVER_ERROR),
        ("serviceUnavailableException", FailureKind.OVERLOADED),
        ("validationException", FailureKind.INVALID_REQUEST),
    ],
)
def test_exceptions_end_the_stream(name: str, kind: FailureKind) -> None:
    frame = encode_message({":message-type": "exception", ":exception-type": name}, b'{"message":"m"}')

    found = feed(event("messageStart", role="assistant"), frame, event("messageStop", stopReason="end_turn"))

    assert found[0] == Begin(id="", model="", created=0)
    assert len(found) == 2
    assert isinstance(found[1], StreamError)
    assert (found[1].failure.kind, found[1].failure.message) == (kind, "m")


def test_an_error_message() -> None:
    frame = encode_message(
        {":message-type": "error", ":error-code": "ThrottlingException", ":error-message": "slow"}, b""
    )

    (error,) = feed(frame)

    assert isinstance(error, StreamError)
    assert error.failure.kind is FailureKind.RATE_LIMITED


@pytest.mark.parametrize(
    "frames",
    [
        event("contentBlockDelta", contentBlockIndex=0, delta={"toolUse": {"input": "{"}}),
        event("contentBlockStart", contentBlockIndex=0, start={"image": {"format": "png"}}),
        encode_message({":message-type": "event", ":event-type": "messageStop"}, b"<html>"),
        b"HTTP/1.1 500 not an event stream",
    ],
)
def test_what_is_not_the_dialect(frames: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        feed(frames)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", answer("end_turn", {"image": {}})])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        BedrockUpstream().decode(body, [])
