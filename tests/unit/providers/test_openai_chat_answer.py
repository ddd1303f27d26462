"""Whole chat answers, from upstreams and for clients."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.chat import (
    Answer,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from fairlead.providers.openai_chat_answer import decode_answer, render_answer
from fairlead.types import Usage


def decode(message: dict[str, object], finish: str | None = "stop", **choice: object) -> Choice:
    body = {
        "id": "chatcmpl-9",
        "choices": [{"index": 0, "message": message, "finish_reason": finish} | choice],
    }
    return decode_answer(json.dumps(body).encode()).choices[0]


def call(**fields: object) -> dict[str, object]:
    return {"type": "function"} | fields


def test_an_ordinary_answer() -> None:
    body = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 17.0, "model": "m",
        "service_tier": "default", "system_fingerprint": "fp", "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "hi", "annotations": []},
             "logprobs": {"content": [{"token": "hi"}]}, "finish_reason": "stop"},
            {"index": 1, "message": {"role": "assistant", "content": "ho"}, "finish_reason": "length"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }  # fmt: skip
    assert decode_answer(json.dumps(body).encode()) == Answer(
        id="chatcmpl-1", model="m", created=17, usage=Usage(input_tokens=1, output_tokens=2),
        system_fingerprint="fp", service_tier="default",
        choices=(
            Choice(index=0, parts=(TextPart(text="hi"),), finish=FinishReason.STOP,
                   logprobs=msgspec.Raw(b'{"content": [{"token": "hi"}]}')),
            Choice(index=1, parts=(TextPart(text="ho"),), finish=FinishReason.LENGTH),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_under_either_name(field: str) -> None:
    assert decode({"content": "x", field: "hm"}).parts == (ReasoningPart(text="hm"), TextPart(text="x"))


def test_calls_of_all_engines() -> None:
    choice = decode(
        {
            "content": None,
            "tool_calls": [
                call(id="a", function={"name": "f", "arguments": '{"x":1}'}),
                call(function={"name": "g", "arguments": {"y": 2}}),
                call(id="c", function={"name": "h"}),
            ],
        }
    )
    assert choice.parts == (
        ToolCallPart(id="a", name="f", arguments='{"x":1}'),
        ToolCallPart(id="call_chatcmpl-9_0_1", name="g", arguments='{"y": 2}'),
        ToolCallPart(id="c", name="h", arguments="{}"),
    )
    # The engine said `stop`; a client in another dialect would then not run the tools.
    assert choice.finish is FinishReason.TOOL_CALLS


def test_numbers_are_no_ids_of_calls() -> None:
    """TGI gives no id to answers and numbers their calls, so that every turn would have a call `0`."""
    message = {"tool_calls": [call(id="0", function={"name": "f"})]}
    body = {"id": "", "created": 1750000000, "choices": [{"message": message}]}
    part = decode_answer(json.dumps(body).encode()).choices[0].parts[0]
    assert isinstance(part, ToolCallPart)
    assert part.id == "call_1750000000_0_0"


@pytest.mark.parametrize(
    ("finish", "stop_reason", "expected"),
    [
        ("stop", None, (FinishReason.STOP, None)),
        ("stop", "###", (FinishReason.STOP_SEQUENCE, "###")),
        ("stop", 128009, (FinishReason.STOP, None)),
        ("eos_token", None, (FinishReason.STOP, None)),
        ("stop_sequence", None, (FinishReason.STOP_SEQUENCE, None)),
        ("length", None, (FinishReason.LENGTH, None)),
        ("content_filter", None, (FinishReason.CONTENT_FILTER, None)),
        ("function_call", None, (FinishReason.TOOL_CALLS, None)),
        ("something new", None, (FinishReason.STOP, None)),
        (None, None, (FinishReason.STOP, None)),
        ("", None, (FinishReason.STOP, None)),
    ],
)
def test_finish_reasons(
    finish: str | None, stop_reason: object, expected: tuple[FinishReason, str | None]
) -> None:
    choice = decode({"content": "x"}, finish, stop_reason=stop_reason)
    assert (choice.finish, choice.stop_sequence) == expected


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "not a chat completion"),
        (b'{"choices":[]}', "no choices"),
        (b'{"choices":null}', "no choices"),
        (b'{"error":{"message":"boom"}}', "boom"),
        (b'{"object":"error","message":"boom"}', "boom"),
        (b'{"choices":[{"message":{"content":"x"},"finish_reason":"abort"}]}', "broke"),
        (b'{"choices":[{"message":{"tool_calls":[{"id":"x"}]}}]}', "no name"),
        (b'{"choices":[{"message":{"content":["x"]}}]}', "content"),
        (b"[" * 100_000, "not a chat completion"),
    ],
)
def test_what_is_no_answer_is_said(body: bytes, says: str) -> None:
    with pytest.raises(BadUpstreamAnswer, match=says):
        decode_answer(body)


@given(st.binary(max_size=100))
def test_no_bytes_break_it(body: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        decode_answer(body)


# --- towards the client -------------------------------------------------------------------------


def render(*parts: Part, finish: FinishReason = FinishReason.STOP, **fields: object) -> dict[str, object]:
    choice = Choice(index=0, parts=parts, finish=finish)
    whole = {"id": "msg_1", "model": "", "created": 5, "usage": None, "choices": (choice,)} | fields
    body: dict[str, object] = json.loads(render_answer(msgspec.convert(whole, Answer), "asked", "r1"))
    return body


def test_a_text_answer_is_rendered_whole() -> None:
    usage = Usage(input_tokens=3, cache_read_tokens=2)
    assert render(TextPart(text="a"), TextPart(text="b"), usage=usage) == {
        "id": "chatcmpl-msg_1", "object": "chat.completion", "created": 5, "model": "asked",
        "choices": [{
            "index": 0, "message": {"role": "assistant", "content": "ab", "refusal": None},
            "logprobs": None, "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
                                          "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
        },
    }  # fmt: skip


def test_ids_of_the_dialect_stay() -> None:
    assert render(id="chatcmpl-7")["id"] == "chatcmpl-7"
    assert render(id="")["id"] == "chatcmpl-r1"


def test_reasoning_refusals_and_calls_have_their_fields() -> None:
    body = render(
        ReasoningPart(text="hm", signature="s"), RefusalPart(text="no"),
        ToolCallPart(id="c", name="f", arguments="", signature="g"), finish=FinishReason.TOOL_CALLS,
    )  # fmt: skip
    choice = body["choices"][0]  # type: ignore[index]  # JSON
    assert choice == {
        "index": 0, "logprobs": None, "finish_reason": "tool_calls",
        "message": {
            "role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0, "signature": "s"}],
            "tool_calls": [{
                "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "g"}},
            }],
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "shown"),
    [
        (FinishReason.STOP_SEQUENCE, "stop"),
        (FinishReason.PAUSE, "stop"),
        (FinishReason.REFUSAL, "content_filter"),
        (FinishReason.LENGTH, "length"),
    ],
)
def test_every_reason_has_a_word(finish: FinishReason, shown: str) -> None:
    assert render(finish=finish)["choices"][0]["finish_reason"] == shown  # type: ignore[index]  # JSON


def test_what_is_rendered_decodes_the_same() -> None:
    parts = (
        ReasoningPart(text="hm", signature="s"), TextPart(text="x"), RefusalPart(text="no"),
        ToolCallPart(id="c", name="f", arguments='{"a":1}', signature="g"),
    )  # fmt: skip
    answer = Answer(
        id="chatcmpl-1", model="m", created=5,
        usage=Usage(input_tokens=9, output_tokens=4, reasoning_tokens=2, service_tier="flex"),
        choices=(Choice(index=0, parts=parts, finish=FinishReason.TOOL_CALLS),), service_tier="flex",
    )  # fmt: skip
    assert decode_answer(render_answer(answer, "asked", "r1")) == answer
