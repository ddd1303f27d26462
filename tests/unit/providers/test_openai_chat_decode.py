"""Upstream chat streams as events."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.chat import (
    Begin,
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
from fairlead.types import FailureKind, Usage

BEGIN = Begin(id="chatcmpl-1", model="m", created=1)


def chunk(*choices: object, **more: object) -> bytes:
    body = {"id": "chatcmpl-1", "model": "m", "created": 1, "choices": list(choices)} | more
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def delta(finish: str | None = None, index: int = 0, **fields: object) -> bytes:
    return chunk({"index": index, "delta": fields, "finish_reason": finish})


def calls(*pieces: object, finish: str | None = None) -> bytes:
    return delta(finish, tool_calls=list(pieces))


def decode(*events: bytes) -> list[Event]:
    decoder = ChatDecoder()
    return [event for data in events for event in decoder.feed(data)]


def content(*events: bytes) -> list[Event]:
    """Without the opening event."""
    found = decode(*events)
    assert found[0] == BEGIN
    return found[1:]


DONE = b"data: [DONE]\n\n"
STREAM = b"".join(
    [
        delta(role="assistant", content=""),
        b": ping\n\n",
        delta(reasoning_content="hm"),
        delta(content="é"),
        calls({"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}}),
        calls({"index": 0, "function": {"arguments": '{"a":'}}),
        calls({"index": 0, "function": {"arguments": "1}"}}),
        delta("tool_calls"),
        chunk(usage={"prompt_tokens": 1, "completion_tokens": 2}),
        DONE,
    ]
)
EVENTS = [
    BEGIN,
    ReasoningDelta(text="hm"),
    TextDelta(text="é"),
    ToolCallBegin(index=0, id="a", name="f"),
    ToolCallDelta(index=0, arguments='{"a":'),
    ToolCallDelta(index=0, arguments="1}"),
    Finish(reason=FinishReason.TOOL_CALLS),
    UsageReport(usage=Usage(input_tokens=1, output_tokens=2)),
    End(),
]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_cut_gives_the_same_events(ending: bytes) -> None:
    stream = STREAM.replace(b"\n", ending)
    for position in range(len(stream) + 1):
        assert decode(stream[:position], stream[position:]) == EVENTS
    assert decode(*(bytes([byte]) for byte in stream)) == EVENTS


def test_azure_opens_with_a_chunk_that_says_nothing() -> None:
    azure = chunk(id="", model="", created=0, prompt_filter_results=[{"content_filter_results": {}}])
    assert decode(azure, delta(content="x")) == [BEGIN, TextDelta(text="x")]


def test_choices_are_told_apart() -> None:
    assert content(
        delta(content="a"), delta(content="b", index=1), delta("stop", index=1), delta("length")
    ) == [
        TextDelta(text="a"),
        TextDelta(text="b", choice=1),
        Finish(reason=FinishReason.STOP, choice=1),
        Finish(reason=FinishReason.LENGTH),
    ]


def test_refusals_and_log_probabilities() -> None:
    found = content(
        delta(refusal="no"),
        chunk({"index": 0, "delta": {"content": "x"}, "logprobs": {"content": []}, "finish_reason": "stop"}),
    )
    assert found[0] == RefusalDelta(text="no")
    assert isinstance(found[1], TextDelta)
    assert found[1].logprobs is not None
    assert bytes(found[1].logprobs) == b'{"content": []}'


def test_calls_without_an_index_are_told_apart_by_id() -> None:
    assert content(
        calls({"id": "a", "function": {"name": "f", "arguments": "{"}}),
        calls({"function": {"arguments": "}"}}),
        calls({"id": "b", "function": {"name": "g", "arguments": "{}"}}),
    ) == [
        ToolCallBegin(index=0, id="a", name="f"),
        ToolCallDelta(index=0, arguments="{"),
        ToolCallDelta(index=0, arguments="}"),
        ToolCallBegin(index=1, id="b", name="g"),
        ToolCallDelta(index=1, arguments="{}"),
    ]


def test_calls_that_share_an_index_are_told_apart_by_id() -> None:
    """Ollama numbers every call 0."""
    found = content(
        calls(
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}},
            {"index": 0, "id": "b", "function": {"name": "f", "arguments": "{}"}},
        )
    )
    assert [event for event in found if isinstance(event, ToolCallBegin)] == [
        ToolCallBegin(index=0, id="a", name="f"),
        ToolCallBegin(index=1, id="b", name="f"),
    ]


def test_an_id_that_changes_without_a_name_is_the_same_call() -> None:
    found = content(
        calls({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
        calls({"index": 0, "id": "zz", "function": {"name": None, "arguments": "}"}}),
        calls({"index": 0, "id": "a", "function": {"name": "f", "arguments": " "}}),
    )
    assert [type(event) for event in found] == [ToolCallBegin, ToolCallDelta, ToolCallDelta, ToolCallDelta]


def test_pieces_of_parallel_calls_may_alternate() -> None:
    found = content(
        calls(
            {"index": 3, "id": "a", "function": {"name": "f"}},
            {"index": 5, "id": "b", "function": {"name": "g"}},
        ),
        calls({"index": 3, "function": {"arguments": "1"}}, {"index": 5, "function": {"arguments": "2"}}),
        calls({"index": 3, "function": {"arguments": "3"}}),
    )
    assert found[2:] == [
        ToolCallDelta(index=0, arguments="1"),
        ToolCallDelta(index=1, arguments="2"),
        ToolCallDelta(index=0, arguments="3"),
    ]


def test_a_call_without_id_gets_one_and_a_late_name_is_waited_for() -> None:
    assert content(
        calls({"index": 0, "function": {"arguments": "{"}}),
        calls({"index": 0, "function": {"name": "f", "arguments": "}"}}),
    ) == [
        ToolCallBegin(index=0, id="call_chatcmpl-1_0_0", name="f"),
        ToolCallDelta(index=0, arguments="{}"),
    ]


def test_arguments_may_be_an_object() -> None:
    assert content(calls({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}))[1] == (
        ToolCallDelta(index=0, arguments='{"x": 1}')
    )


def test_stop_after_a_call_means_that_tools_are_to_run() -> None:
    found = content(calls({"index": 0, "id": "a", "function": {"name": "f"}}), delta("stop"))
    assert found[-1] == Finish(reason=FinishReason.TOOL_CALLS)


def test_only_the_first_finish_of_a_choice_counts() -> None:
    assert content(delta("stop"), delta("stop", content="more")) == [Finish(reason=FinishReason.STOP)]


def test_signed_reasoning() -> None:
    assert content(
        delta(reasoning="hm", reasoning_details=[{"type": "reasoning.text", "text": "hm"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "signature": "s"}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "d"}]),
        delta(reasoning_details=[{"type": "reasoning.text", "text": "only here"}]),
    ) == [
        ReasoningDelta(text="hm"),
        ReasoningDelta(signature="s"),
        ReasoningDelta(redacted="d"),
        ReasoningDelta(text="only here"),
    ]


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'data: {"error":{"message":"x","code":503}}\n\n', FailureKind.OVERLOADED),
        (b'data: {"object":"error","message":"x","code":400}\n\n', FailureKind.INVALID_REQUEST),
        (b"event: error\ndata: broken\n\n", FailureKind.SERVER_ERROR),
        (delta("abort"), FailureKind.CUT),
    ],
)
def test_an_error_ends_the_stream(event: bytes, kind: FailureKind) -> None:
    found = decode(delta(content="a"), event + delta(content="b"), DONE)
    assert found[:2] == [BEGIN, TextDelta(text="a")]
    assert isinstance(found[-1], StreamError)
    assert found[-1].failure.kind is kind
    assert not any(isinstance(event, TextDelta | End) for event in found[2:])


@pytest.mark.parametrize("event", [b"data: garbage\n\n", b"data: [1]\n\n", b'data: {"choices":5}\n\n'])
def test_what_is_not_the_dialect_is_refused(event: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        decode(event)


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 40))
def test_pieces_of_text_add_up(words: list[int], size: int) -> None:
    stream = b"".join(delta(content=str(word)) for word in words) + DONE
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    found = decode(*pieces)
    assert "".join(event.text for event in found if isinstance(event, TextDelta)) == "".join(map(str, words))
    assert found[-1] == End()
