from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import anthropic_wire as wire
from fairlead.providers.anthropic import AnthropicClient, AnthropicUpstream
from fairlead.providers.anthropic_answer import usage_fields, usage_of
from fairlead.providers.chat import (
    Answer,
    AudioPart,
    ChatRequest,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from fairlead.types import Usage

R = FinishReason
REQUEST = ChatRequest(model="asked", messages=())
counts = st.integers(0, 10**9)


def render(
    *parts: Part, finish: FinishReason = R.STOP, usage: Usage | None = None
) -> anthropic.types.Message:
    answer = Answer(
        id="x/y", model="", created=0, choices=(Choice(index=0, parts=parts, finish=finish),), usage=usage
    )
    data = AnthropicClient().render(answer, REQUEST, "req")
    return anthropic.types.Message.model_validate_json(data)


def test_the_sdk_reads_what_is_rendered() -> None:
    message = render(
        ReasoningPart(text="hm"),
        ReasoningPart(redacted="b3A="),
        TextPart(text=""),
        TextPart(text="a"),
        RefusalPart(text="no"),
        ToolCallPart(id="functions.f:0", name="f", arguments='{"a": 1}', signature="gemini:s"),
        finish=R.TOOL_CALLS,
    )

    assert [block.type for block in message.content] == [
        "thinking",
        "redacted_thinking",
        "text",
        "text",
        "redacted_thinking",
        "tool_use",
    ]
    assert message.content[5].input == {"a": 1}
    assert (message.id, message.model, message.stop_reason) == ("msg_xy", "asked", "tool_use")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (0, 0)


@pytest.mark.parametrize("finish", FinishReason)
def test_every_finish_reason_has_a_stop_reason_that_the_sdk_knows(finish: FinishReason) -> None:
    assert render(TextPart(text="a"), finish=finish).stop_reason is not None


def test_a_call_with_broken_arguments_is_a_bad_answer_unless_it_was_cut() -> None:
    call = ToolCallPart(id="a", name="f", arguments='{"a": ')

    with pytest.raises(BadUpstreamAnswer, match="not a JSON object"):
        render(call, finish=R.TOOL_CALLS)
    assert render(call, finish=R.LENGTH).content[0].input == {}


def test_what_no_block_can_hold_is_a_bad_answer() -> None:
    with pytest.raises(BadUpstreamAnswer):
        render(AudioPart(data="x", format="wav"))


@given(counts, counts, counts, counts, counts)
def test_usage_there_and_back(plain: int, read: int, write: int, output: int, thinking: int) -> None:
    usage = Usage(
        input_tokens=plain + read + write,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=write // 2,
        reasoning_tokens=thinking,
    )

    fields: Any = json.loads(json.dumps(usage_fields(usage)))

    assert fields["input_tokens"] == plain
    assert usage_of(_decoded(fields)) == usage


def _decoded(fields: dict[str, Any]) -> wire.Usage:
    creation, details = fields.pop("cache_creation", None), fields.pop("output_tokens_details", None)
    return wire.Usage(
        **fields,
        cache_creation=wire.CacheCreation(**creation) if creation else None,
        output_tokens_details=wire.OutputTokensDetails(**details) if details else None,
    )


def test_counts_never_become_negative() -> None:
    assert usage_fields(Usage(input_tokens=5, cache_read_tokens=9))["input_tokens"] == 0


def test_a_later_report_replaces_only_what_it_says() -> None:
    first = wire.Usage(input_tokens=10, cache_read_input_tokens=5, output_tokens=1)
    last = wire.Usage(output_tokens=30, cache_read_input_tokens=None)

    assert usage_of(first, last) == Usage(input_tokens=15, output_tokens=30, cache_read_tokens=5)
    assert usage_of(None, None) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"id":"m","content":[]}',
        b'{"type":"error","error":{"type":"api_error","message":"x"}}',
        b'{"id":"m","stop_reason":"end_turn","content":[{"type":"server_tool_use","id":"a","name":"b"}]}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadUpstreamAnswer):
        AnthropicUpstream().decode(body, [])


def test_the_creation_time_is_the_answers_date() -> None:
    body = b'{"id":"m","stop_reason":"something_new","content":[]}'

    answer = AnthropicUpstream().decode(body, [(b"date", b"Tue, 01 Sep 2026 12:00:00 GMT")])

    assert answer.created == 1788264000
    assert answer.choices[0].finish is R.STOP
    assert AnthropicUpstream().decode(body, [(b"date", b"yesterday")]).created == 0
