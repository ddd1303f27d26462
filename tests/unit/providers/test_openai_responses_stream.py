"""Events as a Responses stream."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.chat import (
    Answer,
    Begin,
    ChatRequest,
    Choice,
    End,
    Event,
    Finish,
    FinishReason,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    StreamError,
    TextDelta,
    TextPart,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.openai_responses import ResponsesClient
from fairlead.types import Failure, FailureKind, Usage

CLIENT = ResponsesClient()
BEGIN = Begin(id="x", model="m", created=7)
STOP = Finish(reason=FinishReason.STOP)


def ask(**fields: object) -> ChatRequest:
    return CLIENT.parse(json.dumps({"model": "asked", "input": "hi", "stream": True} | fields).encode())


def encode(*events: Event, **fields: object) -> list[dict[str, object]]:
    stream = CLIENT.encoder(ask(**fields), "r1").encode(list(events)).decode()
    assert not stream or stream.endswith("\n\n")
    found: list[dict[str, object]] = []
    for frame in stream.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


def kinds(events: list[dict[str, object]]) -> list[str]:
    return [str(event["type"]).removeprefix("response.") for event in events]


def test_a_text_stream_has_every_event_in_order() -> None:
    usage = UsageReport(usage=Usage(input_tokens=3, output_tokens=2))
    events = encode(BEGIN, TextDelta(text="a"), TextDelta(text="b"), STOP, usage, End())
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert events[4] == {
        "type": "response.output_text.delta", "sequence_number": 4, "item_id": "msg_r1_0", "output_index": 0,
        "content_index": 0, "delta": "a", "logprobs": [],
    }  # fmt: skip
    assert events[6]["text"] == "ab"
    final = events[-1]["response"]
    assert isinstance(final, dict)
    assert (final["status"], final["usage"]["total_tokens"], final["model"]) == ("completed", 5, "m")
    assert final["output"] == [events[-2]["item"]]


def test_reasoning_then_a_refusal_then_calls() -> None:
    events = encode(
        BEGIN, ReasoningDelta(text="hm"), ReasoningDelta(signature="s"), ReasoningDelta(redacted="d"),
        TextDelta(text="x"), RefusalDelta(text="no"), ToolCallBegin(index=0, id="c", name="f"),
        ToolCallDelta(index=0, arguments="{}"), Finish(reason=FinishReason.TOOL_CALLS), End(),
    )  # fmt: skip
    assert kinds(events)[2:] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done",
        "content_part.done", "output_item.done", "output_item.added", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "content_part.added", "refusal.delta", "refusal.done", "content_part.done",
        "output_item.done", "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip


def test_a_summary_for_those_who_asked_for_one() -> None:
    events = encode(BEGIN, ReasoningDelta(text="hm"), STOP, End(), reasoning={"summary": "auto"})
    assert kinds(events)[2:] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.done", "reasoning_summary_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    item = events[-2]["item"]
    assert isinstance(item, dict)
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]


def test_calls_that_alternate_keep_their_arguments() -> None:
    events = encode(
        BEGIN, ToolCallBegin(index=0, id="a", name="f"), ToolCallBegin(index=1, id="b", name="g"),
        ToolCallDelta(index=0, arguments="1"), ToolCallDelta(index=1, arguments="2"),
        ToolCallDelta(index=0, arguments="3"), ToolCallDelta(index=9, arguments="lost"), STOP, End(),
    )  # fmt: skip
    done = [event for event in events if event["type"] == "response.function_call_arguments.done"]
    assert [(event["output_index"], event["name"], event["arguments"]) for event in done] == [
        (0, "f", "13"), (1, "g", "2"),
    ]  # fmt: skip


def test_an_answer_that_was_cut_short_is_incomplete() -> None:
    events = encode(BEGIN, TextDelta(text="x"), Finish(reason=FinishReason.LENGTH), End())
    assert kinds(events)[-1] == "incomplete"
    final = events[-1]["response"]
    assert isinstance(final, dict)
    assert final["incomplete_details"] == {"reason": "max_output_tokens"}
    assert final["output"][0]["status"] == "incomplete"


def test_a_failure_ends_the_stream_with_failed_and_error() -> None:
    failure = Failure(kind=FailureKind.RATE_LIMITED, message="slow down")
    events = encode(BEGIN, TextDelta(text="x"), StreamError(failure=failure), TextDelta(text="y"), End())
    assert kinds(events)[-2:] == ["failed", "error"]
    failed, error = events[-2]["response"], events[-1]
    assert isinstance(failed, dict)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "rate_limit_exceeded")
    assert (error["message"], error["code"]) == ("slow down", "rate_limit_exceeded")
    assert error["error"] == {
        "message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded",
    }  # fmt: skip


def test_a_failure_before_the_start_is_an_error_only() -> None:
    failure = Failure(kind=FailureKind.SERVER_ERROR, message="x")
    assert kinds(encode(StreamError(failure=failure))) == ["error"]


def test_a_stream_that_never_began_is_begun_all_the_same() -> None:
    assert kinds(encode(TextDelta(text="x")))[:2] == ["created", "in_progress"]


PIECES = st.lists(
    st.sampled_from(["text", "more", "reasoning", "signature", "redacted", "refusal", "call"]), max_size=8
)


@given(PIECES, st.booleans())
def test_the_stream_ends_in_the_same_answer_as_a_whole_one(pieces: list[str], summary: bool) -> None:
    events: list[Event] = [BEGIN]
    parts: list[Part] = []
    calls = 0
    for piece in pieces:
        match piece:
            case "text" | "more":
                events.append(TextDelta(text=piece))
                if parts and isinstance(parts[-1], TextPart):
                    parts[-1] = TextPart(text=parts[-1].text + piece)
                else:
                    parts.append(TextPart(text=piece))
            case "refusal":
                events.append(RefusalDelta(text="no"))
                if parts and isinstance(parts[-1], RefusalPart):
                    parts[-1] = RefusalPart(text=parts[-1].text + "no")
                else:
                    parts.append(RefusalPart(text="no"))
            case "reasoning":
                events += [ReasoningDelta(text="hm"), ReasoningDelta(signature="end")]
                parts.append(ReasoningPart(text="hm", signature="end"))
            case "signature":
                events.append(ReasoningDelta(signature="alone"))
                parts.append(ReasoningPart(signature="alone"))
            case "redacted":
                events.append(ReasoningDelta(redacted="d"))
                parts.append(ReasoningPart(redacted="d"))
            case "call":
                events += [
                    ToolCallBegin(index=calls, id=f"c{calls}", name="f"),
                    ToolCallDelta(index=calls, arguments="{}"),
                ]
                parts.append(ToolCallPart(id=f"c{calls}", name="f", arguments="{}"))
                calls += 1
    fields = {"reasoning": {"summary": "auto"}} if summary else {}
    streamed = encode(*events, STOP, End(), **fields)[-1]["response"]
    choice = Choice(index=0, parts=tuple(parts), finish=FinishReason.STOP)
    answer = Answer(id="x", model="m", created=7, choices=(choice,), usage=None)
    assert streamed == json.loads(CLIENT.render(answer, ask(**fields), "r1"))
