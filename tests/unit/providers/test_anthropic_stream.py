from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers import neutral

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.anthropic import AnthropicClient, AnthropicUpstream
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
)
from fairlead.types import FailureKind

REQUEST = ChatRequest(model="m", messages=())


def feed(*events: dict[str, Any]) -> list[Event]:
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return AnthropicUpstream().decoder(REQUEST).feed(data)


def test_a_call_that_is_given_whole_at_its_start() -> None:
    block = {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}

    assert feed(
        {"type": "content_block_start", "index": 4, "content_block": block},
        {"type": "content_block_stop", "index": 4},
    ) == [ToolCallBegin(index=0, id="a", name="f"), ToolCallDelta(index=0, arguments='{"x": 1}')]


def test_blocks_that_begin_with_text() -> None:
    assert feed(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "thinking", "thinking": "b"}},
    ) == [TextDelta(text="a"), ReasoningDelta(text="b")]


def test_nothing_follows_the_end_or_an_error() -> None:
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}

    assert feed({"type": "message_stop"}, text) == [End()]
    (error,) = feed({"type": "error", "error": {"type": "rate_limit_error", "message": "m"}}, text)
    assert isinstance(error, StreamError)
    assert error.failure.kind is FailureKind.RATE_LIMITED


@pytest.mark.parametrize(
    "event",
    [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "server_tool_use"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": "{"},
        },
        {"type": 7},
    ],
)
def test_what_is_not_the_dialect(event: dict[str, Any]) -> None:
    with pytest.raises(BadUpstreamAnswer):
        feed(event)


def test_a_stream_that_is_not_json() -> None:
    with pytest.raises(BadUpstreamAnswer):
        AnthropicUpstream().decoder(REQUEST).feed(b"data: <html>\n\n")


def content(events: list[Event]) -> tuple[str, str, dict[str, str]]:
    """Text, reasoning and the arguments of each call, by call id."""
    text = "".join(e.text for e in events if isinstance(e, TextDelta | RefusalDelta))
    thought = "".join(e.text for e in events if isinstance(e, ReasoningDelta))
    calls: dict[str, str] = {}
    names: dict[int, str] = {}
    for event in events:
        if isinstance(event, ToolCallBegin):
            names[event.index] = event.id
            calls[event.id] = ""
        elif isinstance(event, ToolCallDelta):
            calls[names[event.index]] += event.arguments
    return text, thought, calls


pieces = st.lists(
    st.one_of(
        st.builds(TextDelta, text=neutral.texts),
        st.builds(ReasoningDelta, text=neutral.texts),
        st.builds(ToolCallDelta, index=st.integers(0, 2), arguments=st.just("")),
    ),
    max_size=12,
)


@given(pieces, st.permutations([0, 0, 0, 1, 1, 1, 2, 2, 2]), st.integers(1, 30))
def test_what_our_encoder_writes_our_decoder_reads_back(
    others: list[Event], order: list[int], size: int
) -> None:
    fragments = {index: iter(['{"n":', str(index), "}"]) for index in range(3)}
    calls: list[Event] = [ToolCallBegin(index=index, id=f"c{index}", name="f") for index in range(3)]
    calls += [ToolCallDelta(index=index, arguments=next(fragments[index])) for index in order]
    sent: list[Event] = [
        Begin(id="msg_1", model="m", created=0),
        *others[: len(others) // 2],
        *calls,
        *others[len(others) // 2 :],
        Finish(reason=FinishReason.TOOL_CALLS),
        End(),
    ]
    # Deltas for a call that has not begun have no name to be sent under.
    sent = [e for e in sent if not (isinstance(e, ToolCallDelta) and not e.arguments)]
    stream = AnthropicClient().encoder(REQUEST, "r").encode(sent)

    decoder = AnthropicUpstream().decoder(REQUEST)
    back = [event for at in range(0, len(stream), size) for event in decoder.feed(stream[at : at + size])]

    assert content(back) == content(sent)
    assert content(back)[2] == {f"c{index}": f'{{"n":{index}}}' for index in range(3)}
    assert back[-1] == End()
