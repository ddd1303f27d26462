"""Events as a chat stream for clients."""

from __future__ import annotations

import json

from fairlead.providers.chat import (
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.providers.openai_chat_decode import ChatDecoder
from fairlead.providers.openai_chat_render import ChatEncoder
from fairlead.types import Failure, FailureKind, Usage

BEGIN = Begin(id="chatcmpl-1", model="m", created=1)
FINISH = Finish(reason=FinishReason.STOP)
USAGE = UsageReport(usage=Usage(input_tokens=3, output_tokens=2))


def encode(*events: Event, usage: bool = False, n: int = 1) -> list[str]:
    request = ChatRequest(model="asked", messages=(), stream=True, include_usage=usage, n=n)
    data = ChatEncoder(request, "r1").encode(list(events))
    assert data.endswith(b"\n\n") or not data
    return [frame.removeprefix("data: ") for frame in data.decode().split("\n\n")[:-1]]


def deltas(*events: Event) -> list[object]:
    chunks = [json.loads(frame) for frame in encode(BEGIN, *events)[1:]]
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks)
    return [chunk["choices"][0]["delta"] for chunk in chunks]


def test_a_stream_opens_with_the_role_and_ends_with_the_mark() -> None:
    frames = encode(BEGIN, TextDelta(text='"é\n'), FINISH, USAGE, End())
    first, text, last = (json.loads(frame) for frame in frames[:3])
    assert first == {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None, "finish_reason": None,
        }],
    }  # fmt: skip
    assert text["choices"][0]["delta"] == {"content": '"é\n'}
    assert last["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert frames[3:] == ["[DONE]"]


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for() -> None:
    frames = encode(BEGIN, TextDelta(text="x"), FINISH, USAGE, End(), usage=True)
    chunks = [json.loads(frame) for frame in frames[:-1]]
    assert [chunk["usage"] is None for chunk in chunks] == [True, True, True, False]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == 5
    assert frames[-1] == "[DONE]"


def test_usage_known_at_the_start_counts_too() -> None:
    begin = Begin(id="x", model="m", created=1, usage=Usage(input_tokens=7))
    frames = encode(begin, FINISH, End(), usage=True)
    assert json.loads(frames[-2])["usage"]["prompt_tokens"] == 7


def test_every_kind_of_delta_has_its_field() -> None:
    assert deltas(
        RefusalDelta(text="no"),
        ReasoningDelta(text="hm"),
        ReasoningDelta(signature="s"),
        ReasoningDelta(redacted="d"),
        ReasoningDelta(),
        ToolCallBegin(index=1, id="c", name="f", signature="g"),
        ToolCallDelta(index=1, arguments='{"'),
    ) == [
        {"refusal": "no"},
        {"reasoning_content": "hm"},
        {"reasoning_details": [{"type": "reasoning.text", "text": "", "index": 0, "signature": "s"}]},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "d", "index": 0}]},
        {
            "tool_calls": [
                {
                    "index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""},
                    "extra_content": {"google": {"thought_signature": "g"}},
                }
            ]
        },
        {"tool_calls": [{"index": 1, "function": {"arguments": '{"'}}]},
    ]  # fmt: skip


def test_each_choice_is_opened() -> None:
    chunks = [json.loads(frame) for frame in encode(BEGIN, TextDelta(text="x", choice=1), n=2)]
    assert [chunk["choices"][0]["index"] for chunk in chunks] == [0, 1, 1]


def test_a_stream_that_never_began_is_opened_all_the_same() -> None:
    first, text = (json.loads(frame) for frame in encode(TextDelta(text="x"))[:2])
    assert (first["id"], first["model"]) == ("chatcmpl-r1", "asked")
    assert text["choices"][0]["delta"] == {"content": "x"}


def test_an_error_ends_the_stream_without_the_mark() -> None:
    failure = Failure(kind=FailureKind.RATE_LIMITED, message="slow down")
    frames = encode(BEGIN, StreamError(failure=failure), TextDelta(text="x"), End())
    assert len(frames) == 2
    assert json.loads(frames[1])["error"] == {
        "message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded",
    }  # fmt: skip


def test_what_is_encoded_decodes_the_same() -> None:
    events: list[Event] = [
        BEGIN, ReasoningDelta(text="hm"), ReasoningDelta(signature="s"), TextDelta(text="x"),
        RefusalDelta(text="no"), ToolCallBegin(index=0, id="c", name="f", signature="g"),
        ToolCallDelta(index=0, arguments="{}"), Finish(reason=FinishReason.TOOL_CALLS), USAGE, End(),
    ]  # fmt: skip
    request = ChatRequest(model="asked", messages=(), stream=True, include_usage=True)
    stream = ChatEncoder(request, "r1").encode(events)
    assert ChatDecoder().feed(stream) == events
