from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.anthropic import AnthropicUpstream
from fairlead.providers.anthropic_encode import max_tokens_for, thinking_of
from fairlead.providers.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)

USER = Message(role="user", parts=(TextPart(text="hi"),))
TOOL = Tool(name="now")


def encode(*messages: Message, model: str = "claude-sonnet-5", **fields: Any) -> dict[str, Any]:
    request = ChatRequest(model="m", messages=messages or (USER,), **fields)
    found: dict[str, Any] = json.loads(AnthropicUpstream().encode(request, model).body)
    return found


def test_system_and_developer_messages_are_hoisted_and_joined() -> None:
    sent = encode(
        Message(role="system", parts=(TextPart(text="a"), TextPart(text="b"))),
        USER,
        Message(role="developer", parts=(TextPart(text="c"),)),
        USER,
    )

    assert sent["system"] == "a\nb\nc"
    assert [turn["role"] for turn in sent["messages"]] == ["user"]


def test_tool_results_come_first_in_their_turn_and_neighbours_are_merged() -> None:
    sent = encode(
        USER,
        Message(role="assistant", parts=(ToolCallPart(id="a:1", name="f", arguments=""),)),
        Message(role="user", parts=(ToolResultPart(call_id="a:1", content=(TextPart(text="1"),)),)),
        Message(role="user", parts=(TextPart(text="and"),)),
        Message(role="user", parts=(ToolResultPart(call_id="b", content=()),)),
    )

    blocks = sent["messages"][2]["content"]
    assert [block["type"] for block in blocks] == ["tool_result", "tool_result", "text"]
    call = sent["messages"][1]["content"][0]
    assert call["input"] == {}
    assert blocks[0]["tool_use_id"] == call["id"]
    assert ":" not in call["id"]


def test_empty_texts_and_turns_are_dropped_and_a_prefill_is_kept() -> None:
    sent = encode(
        USER,
        Message(role="assistant", parts=(TextPart(text=""),)),
        Message(role="user", parts=(TextPart(text=""), TextPart(text="more"))),
        Message(role="assistant", parts=(RefusalPart(text="No,"),)),
    )

    assert [[b["text"] for b in turn["content"]] for turn in sent["messages"]] == [["hi", "more"], ["No,"]]
    assert sent["messages"][-1]["role"] == "assistant"


def test_reasoning_goes_back_only_with_anthropics_own_signature() -> None:
    request = ChatRequest(
        model="m",
        messages=(
            Message(
                role="assistant",
                parts=(
                    ReasoningPart(text="unsigned"),
                    ReasoningPart(text="google", signature="gemini:x"),
                    ReasoningPart(redacted="openai:y"),
                    ReasoningPart(text="ours", signature="sig=="),
                    ToolCallPart(id="a", name="f", arguments="{}", signature="gemini:z"),
                ),
            ),
        ),
    )

    out = AnthropicUpstream().encode(request, "claude-sonnet-5")

    kinds = [block["type"] for block in json.loads(out.body)["messages"][0]["content"]]
    assert kinds == ["thinking", "tool_use"]
    assert out.ignored == ("messages.reasoning", "messages.tool_calls.signature")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"seed": 1}, "seed"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"temperature": 1.2}, "temperature"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"response_format": ResponseFormat(kind="json_object")}, "response_format"),
        ({"extras": {"logit_bias": msgspec.Raw(b'{"1":2}')}}, "logit_bias"),
        ({"extras": {"modalities": msgspec.Raw(b'["audio"]')}}, "modalities"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        encode(**fields)
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    "message",
    [
        Message(role="user", parts=(AudioPart(data="x", format="wav"),)),
        Message(role="user", parts=(FilePart(file_id="file-openai"),)),
        Message(role="user", parts=(FilePart(data="x", media_type="application/zip"),)),
        Message(role="system", parts=(ImagePart(url="u"),)),
        Message(role="user", name="bob", parts=(TextPart(text="x"),)),
    ],
)
def test_content_that_cannot_be_carried_is_refused(message: Message) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        encode(message)
    assert (caught.value.param or "").startswith("messages")


def test_penalties_of_zero_are_none() -> None:
    assert "presence_penalty" not in encode(presence_penalty=0.0, frequency_penalty=0.0)


def test_arguments_that_are_no_object_are_the_clients_mistake() -> None:
    with pytest.raises(InvalidRequest, match="not a JSON object"):
        encode(Message(role="assistant", parts=(ToolCallPart(id="a", name="f", arguments="[1"),)))


def test_documents() -> None:
    sent = encode(
        Message(
            role="user",
            parts=(
                FilePart(data="aGk=", media_type="text/plain", filename="n.txt"),
                FilePart(url="https://x/y.pdf"),
                FilePart(file_id="file_011"),
            ),
        )
    )

    assert [block["source"] for block in sent["messages"][0]["content"]] == [
        {"type": "text", "data": "hi", "media_type": "text/plain"},
        {"type": "url", "url": "https://x/y.pdf"},
        {"type": "file", "file_id": "file_011"},
    ]


def test_a_file_id_asks_for_the_files_beta() -> None:
    message = Message(role="user", parts=(FilePart(file_id="file_011"),))

    out = AnthropicUpstream().encode(ChatRequest(model="m", messages=(message,)), "m")

    assert out.headers == ((b"anthropic-beta", b"files-api-2025-04-14"),)


@pytest.mark.parametrize(
    ("model", "limit"),
    [
        ("claude-3-opus-20240229", 4096),
        ("claude-3-5-haiku-latest", 8192),
        ("claude-3-7-sonnet-20250219", 32_000),
        ("claude-opus-4-1", 32_000),
        ("claude-opus-5-5", 32_000),
        ("kimi-k2", 8192),
    ],
)
def test_max_tokens_by_model_family(model: str, limit: int) -> None:
    assert max_tokens_for(model) == limit
    assert encode(model=model)["max_tokens"] == limit


def test_max_tokens_can_be_configured() -> None:
    out = AnthropicUpstream(default_max_tokens=77).encode(ChatRequest(model="m", messages=(USER,)), "m")

    assert json.loads(out.body)["max_tokens"] == 77


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="tool", name="now"), None, {"type": "tool", "name": "now"}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
    ],
)
def test_tool_choice(choice: ToolChoice | None, parallel: bool | None, expected: object) -> None:
    sent = encode(tools=(TOOL,), tool_choice=choice, parallel_tool_calls=parallel)

    assert sent.get("tool_choice") == expected
    assert sent["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]


@pytest.mark.parametrize(
    ("reasoning", "model", "max_tokens", "thinking", "effort"),
    [
        (Reasoning(effort="high"), "claude-opus-5", 99, {"type": "adaptive"}, "high"),
        (Reasoning(effort="minimal"), "claude-opus-4-8", 99, {"type": "adaptive"}, "low"),
        (Reasoning(effort="none"), "claude-opus-5", 99, {"type": "disabled"}, None),
        (Reasoning(enabled=False), "claude-3-7-sonnet-latest", 99, {"type": "disabled"}, None),
        (
            Reasoning(effort="low"),
            "claude-sonnet-4-5",
            9000,
            {"type": "enabled", "budget_tokens": 2048},
            None,
        ),
        (Reasoning(effort="high"), "claude-opus-4-1", 9000, {"type": "enabled", "budget_tokens": 8999}, None),
        (
            Reasoning(effort="high"),
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            None,
            {"type": "enabled", "budget_tokens": 24_576},
            None,
        ),
        (
            Reasoning(budget_tokens=5000),
            "claude-opus-5",
            9000,
            {"type": "enabled", "budget_tokens": 5000},
            None,
        ),
        (Reasoning(adaptive=True), "claude-haiku-4-5", 500, None, None),
        (
            Reasoning(effort="low", summary="auto"),
            "claude-fable-5-2",
            99,
            {"type": "adaptive", "display": "summarized"},
            "low",
        ),
    ],
)
def test_thinking(
    reasoning: Reasoning, model: str, max_tokens: int | None, thinking: object, effort: str | None
) -> None:
    found, named = thinking_of(reasoning, model, max_tokens)

    assert (None if found is None else json.loads(msgspec.json.encode(found))) == thinking
    assert named == effort


def test_no_room_for_thinking_is_refused() -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        encode(model="claude-sonnet-4-5", reasoning=Reasoning(effort="low"), max_output_tokens=800)
    assert caught.value.param == "reasoning_effort"


def test_structured_output_and_advisory_fields() -> None:
    schema = ResponseFormat(kind="json_schema", name="x", description="d", schema=msgspec.Raw(b'{"a": 1.0}'))
    request = ChatRequest(
        model="m",
        messages=(USER,),
        response_format=schema,
        extras={"thinking": msgspec.Raw(b'{"type":"adaptive"}')},
        advisory={"metadata": msgspec.Raw(b"{}"), "speed": msgspec.Raw(b'"fast"')},
    )

    out = AnthropicUpstream().encode(request, "claude-opus-5")

    assert b'"output_config":{"format":{"type":"json_schema","schema":{"a": 1.0}}}' in out.body
    sent = json.loads(out.body)
    assert (sent["thinking"], sent["speed"]) == ({"type": "adaptive"}, "fast")
    assert out.ignored == ("response_format.json_schema.description", "metadata")
