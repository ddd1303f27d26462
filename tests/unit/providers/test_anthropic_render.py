from __future__ import annotations

import json

import anthropic
import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers import neutral

from fairlead.errors import RateLimited
from fairlead.providers.anthropic import AnthropicClient, AnthropicWatcher
from fairlead.providers.chat import (
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.types import Failure, FailureKind, Usage

REQUEST = ChatRequest(model="asked", messages=())
BEGIN = Begin(id="chatcmpl-1", model="gpt", created=0)
STOP = Finish(reason=FinishReason.STOP)
CLIENT = AnthropicClient()


def render(*events: Event) -> bytes:
    return CLIENT.encoder(REQUEST, "req-9").encode(list(events))


def parsed(stream: bytes) -> list[tuple[str, dict[str, object]]]:
    found = []
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def sdk(stream: bytes, status: int = 200) -> anthropic.Anthropic:
    """Anthropic's own client over a transport that answers with `stream`."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        kind = "text/event-stream" if status == 200 else "application/json"
        return httpx2.Response(status, headers={"content-type": kind}, content=stream)

    transport = httpx2.MockTransport(answer)
    return anthropic.Anthropic(
        api_key="k", max_retries=0, http_client=anthropic.DefaultHttpxClient(transport=transport)
    )


def final_message(stream: bytes) -> Message:
    client = sdk(stream)
    with client.messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "x"}]
    ) as manager:
        for event in manager:
            assert event.type
        return manager.get_final_message()


def test_the_sdk_accumulates_text_reasoning_and_parallel_calls() -> None:
    stream = render(
        BEGIN,
        ReasoningDelta(text="Two "),
        ReasoningDelta(text="cities"),
        ReasoningDelta(signature="sig"),
        TextDelta(text="Look"),
        TextDelta(text="ing"),
        ToolCallBegin(index=0, id="functions.w:0", name="w"),
        ToolCallDelta(index=0, arguments='{"city":'),
        ToolCallDelta(index=0, arguments='"Paris"}'),
        ToolCallBegin(index=1, id="call_b", name="now"),
        ToolCallDelta(index=1, arguments="{}"),
        Finish(reason=FinishReason.TOOL_CALLS),
        UsageReport(usage=Usage(input_tokens=100, cache_read_tokens=90, output_tokens=7, reasoning_tokens=3)),
        End(),
    )

    message = final_message(stream)

    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    thinking, text, first, second = message.content
    assert (thinking.thinking, thinking.signature) == ("Two cities", "sig")
    assert text.text == "Looking"
    assert (first.name, first.input) == ("w", {"city": "Paris"})
    assert first.id.startswith("functions_w_0_")
    assert (second.id, second.input) == ("call_b", {})
    assert message.id == "msg_chatcmpl-1"
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (10, 90)
    assert message.usage.output_tokens == 7
    assert message.usage.output_tokens_details.thinking_tokens == 3


def test_interleaved_arguments_of_parallel_calls_are_not_mixed() -> None:
    stream = render(
        BEGIN,
        ToolCallBegin(index=0, id="a", name="one"),
        ToolCallBegin(index=1, id="b", name="two"),
        ToolCallDelta(index=1, arguments='{"y":'),
        ToolCallDelta(index=0, arguments='{"x":'),
        ToolCallDelta(index=1, arguments="2}"),
        ToolCallDelta(index=0, arguments="1}"),
        TextDelta(text="done"),
        Finish(reason=FinishReason.TOOL_CALLS),
        End(),
    )

    message = final_message(stream)

    assert [block.input for block in message.content[:2]] == [{"x": 1}, {"y": 2}]
    assert message.content[2].text == "done"


def test_a_whole_call_is_written_before_the_next_one_ends() -> None:
    encoder = CLIENT.encoder(REQUEST, "r")
    encoder.encode([BEGIN, ToolCallBegin(index=0, id="a", name="one")])
    encoder.encode([ToolCallDelta(index=0, arguments='{"x":1}')])

    written = encoder.encode([ToolCallBegin(index=1, id="b", name="two")])

    assert [name for name, _ in parsed(written)] == ["content_block_stop", "content_block_start"]


def test_reasoning_after_a_signature_is_another_block() -> None:
    message = final_message(
        render(
            BEGIN,
            ReasoningDelta(text="a"),
            ReasoningDelta(signature="s1"),
            ReasoningDelta(text="b"),
            ReasoningDelta(signature="s2"),
            ReasoningDelta(redacted="r"),
            STOP,
            End(),
        )
    )

    assert [(b.type, getattr(b, "signature", "")) for b in message.content] == [
        ("thinking", "s1"),
        ("thinking", "s2"),
        ("redacted_thinking", ""),
    ]


def test_a_foreign_signature_of_a_call_travels_in_front_of_it() -> None:
    message = final_message(
        render(BEGIN, ToolCallBegin(index=0, id="a", name="f", signature="gemini:x"), STOP, End())
    )

    assert message.content[0].data == "gemini:x"
    assert message.content[1].name == "f"


def test_an_error_ends_the_stream_and_the_sdk_raises_it() -> None:
    failure = Failure(kind=FailureKind.OVERLOADED, message="busy")
    stream = render(BEGIN, TextDelta(text="Hel"), StreamError(failure=failure), TextDelta(text="ZZZ"), End())

    assert b"ZZZ" not in stream
    with pytest.raises(anthropic.APIStatusError) as caught:
        final_message(stream)
    assert caught.value.type == "overloaded_error"
    assert caught.value.error_code == "overloaded"


def test_an_end_without_a_finish_reason_is_an_error_not_a_whole_answer() -> None:
    stream = render(BEGIN, TextDelta(text="Hel"), End())

    assert b"message_stop" not in stream
    with pytest.raises(anthropic.APIStatusError, match="before it was complete"):
        final_message(stream)


def test_an_error_event_of_ours_is_raised_by_the_sdk() -> None:
    stream = CLIENT.heartbeat() + CLIENT.error_event(RateLimited(), "req-9")

    with pytest.raises(anthropic.APIStatusError) as caught:
        final_message(stream)
    assert caught.value.type == "rate_limit_error"
    assert caught.value.error_code == "rate_limit_exceeded"


def test_heartbeats_are_skipped_by_the_sdk() -> None:
    ping = CLIENT.heartbeat()

    message = final_message(
        ping + render(BEGIN, TextDelta(text="a"), STOP, End()).replace(b"\n\n", b"\n\n" + ping)
    )

    assert message.content[0].text == "a"


def test_nothing_but_message_start_opens_a_stream() -> None:
    stream = render(TextDelta(text="a"), STOP, End())

    assert parsed(stream)[0][0] == "message_start"
    assert parsed(stream)[0][1]["message"]["id"] == "msg_req-9"
    assert parsed(stream)[0][1]["message"]["model"] == "asked"


def check_nesting(stream: bytes) -> None:
    """The order that the format prescribes, and nothing else."""
    found = [(name, data) for name, data in parsed(stream) if name != "ping"]
    names = [name for name, _ in found]
    if "message_start" in names:
        assert names.index("message_start") == 0
    assert names.count("message_start") <= 1
    assert names[-1] in ("message_stop", "error")
    assert ("message_delta" in names) == (names[-1] == "message_stop")
    open_index: int | None = None
    next_index = 0
    for name, data in found:
        assert data["type"] == name
        if name == "content_block_start":
            assert open_index is None
            assert data["index"] == next_index
            open_index, next_index = next_index, next_index + 1
        elif name == "content_block_delta":
            assert data["index"] == open_index
        elif name == "content_block_stop":
            assert data["index"] == open_index
            open_index = None
        elif name == "message_delta":
            assert open_index is None


@given(st.lists(neutral.events, max_size=25), neutral.endings, st.integers(1, 5))
def test_any_events_make_a_well_nested_stream_however_they_are_grouped(
    events: list[Event], ending: Event, size: int
) -> None:
    events = [*events, ending]
    encoder = CLIENT.encoder(REQUEST, "r")
    pieces = [encoder.encode(events[at : at + size]) for at in range(0, len(events), size)]
    stream = b"".join(pieces)

    check_nesting(stream)
    assert stream == render_as("r", events)
    # What we write, our own watcher and decoder understand.
    watcher = AnthropicWatcher()
    watcher.feed(stream)
    assert watcher.glimpse.ended == stream.endswith(b'{"type":"message_stop"}\n\n')


def render_as(request_id: str, events: list[Event]) -> bytes:
    return CLIENT.encoder(REQUEST, request_id).encode(events)


@given(st.lists(neutral.events, max_size=20))
def test_text_and_reasoning_arrive_whole_and_in_order(events: list[Event]) -> None:
    stream = render_as("r", [BEGIN, *events, STOP, End()])

    deltas = [data["delta"] for name, data in parsed(stream) if name == "content_block_delta"]
    text = "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta")
    thought = "".join(delta["thinking"] for delta in deltas if delta["type"] == "thinking_delta")
    assert text == "".join(e.text for e in events if type(e).__name__ in ("TextDelta", "RefusalDelta"))
    assert thought == "".join(e.text for e in events if isinstance(e, ReasoningDelta))


def test_every_event_is_one_of_the_sdks_types() -> None:
    stream = render(BEGIN, TextDelta(text="a"), ReasoningDelta(text="b"), STOP, End())

    for name, data in parsed(stream):
        if name != "ping":
            event = anthropic._models.validate_type(type_=RawMessageStreamEvent, value=data)
            assert event.type == name
