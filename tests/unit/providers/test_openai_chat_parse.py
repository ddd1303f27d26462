"""Reading a client's chat request."""

from __future__ import annotations

import json

import msgspec
import pytest

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.chat import (
    CacheHint,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from fairlead.providers.openai_chat_parse import parse_chat

HELLO = [{"role": "user", "content": "hi"}]


def parse(**fields: object) -> ChatRequest:
    return parse_chat(json.dumps({"model": "m", "messages": HELLO} | fields).encode())


def parts(*content: object) -> tuple[Part, ...]:
    return parse(messages=[{"role": "user", "content": list(content)}]).messages[0].parts


def test_the_least_request() -> None:
    request = parse()
    assert (request.model, request.stream, request.n, request.include_usage) == ("m", False, 1, False)
    assert request.messages == (Message(role="user", parts=(TextPart(text="hi"),)),)
    assert (request.extras, request.advisory) == ({}, {})


def test_null_is_absent_everywhere() -> None:
    names = (
        "tools", "tool_choice", "response_format", "reasoning_effort", "max_tokens", "temperature", "stop",
        "n", "stream", "stream_options", "logprobs", "user", "seed", "logit_bias", "metadata",
    )  # fmt: skip
    assert parse(**dict.fromkeys(names)) == parse()


def test_unknown_fields_become_extras_and_harmless_ones_advisory() -> None:
    request = parse(
        guided_json={"a": 1}, logit_bias={"5": 1}, store=True, metadata={"k": "v"}, prompt_cache_key="p",
        safety_identifier="s", stream_options={"include_usage": True, "include_obfuscation": False},
    )  # fmt: skip
    assert request.include_usage
    assert {name: bytes(value) for name, value in request.extras.items()} == {
        "guided_json": b'{"a": 1}', "logit_bias": b'{"5": 1}', "store": b"true",
    }  # fmt: skip
    assert request.advisory.keys() == {"metadata", "prompt_cache_key", "safety_identifier", "stream_options"}
    assert bytes(request.advisory["stream_options"]) == b'{"include_obfuscation":false}'
    assert parse(store=False).advisory.keys() == {"store"}


def test_both_names_of_the_token_limit() -> None:
    assert parse(max_tokens=5).max_output_tokens == 5
    assert parse(max_completion_tokens=5).max_output_tokens == 5
    assert parse(max_completion_tokens=5, max_tokens=5).max_output_tokens == 5


def test_stop_is_a_word_or_several() -> None:
    assert parse(stop="a").stop == ("a",)
    assert parse(stop=["a", "b"]).stop == ("a", "b")


def test_reasoning_effort_none_turns_it_off() -> None:
    assert parse(reasoning_effort="none").reasoning == Reasoning(enabled=False, effort="none")
    assert parse(reasoning_effort="low").reasoning == Reasoning(effort="low")


def test_tools_and_choices() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": None}}
    request = parse(tools=[tool], tool_choice={"type": "function", "function": {"name": "f"}})
    assert request.tools[0].name == "f"
    assert request.tools[0].parameters == msgspec.Raw(b'{"type": "object"}')
    assert request.tool_choice == ToolChoice(mode="tool", name="f")
    assert parse(tool_choice="required").tool_choice == ToolChoice(mode="required")


def test_formats() -> None:
    schema = {"name": "s", "schema": {"type": "object"}, "strict": True}
    assert parse(response_format={"type": "json_schema", "json_schema": schema}).response_format == (
        ResponseFormat(kind="json_schema", name="s", schema=msgspec.Raw(b'{"type": "object"}'), strict=True)
    )
    assert parse(response_format={"type": "json_object"}).response_format == ResponseFormat(
        kind="json_object"
    )
    # A kind that only some engines know.
    request = parse(response_format={"type": "grammar", "value": "x"})
    assert request.response_format is None
    assert request.extras.keys() == {"response_format"}


def test_images_by_url_and_inline() -> None:
    assert parts(
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": "https://x/z.png"},
    ) == (
        ImagePart(url="https://x/y.png", detail="low"),
        ImagePart(media_type="image/png", data="aGk="),
        ImagePart(url="https://x/z.png"),
    )


def test_files_and_cache_breakpoints() -> None:
    assert parts(
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
    ) == (
        FilePart(filename="a.pdf", media_type="application/pdf", data="aGk="),
        FilePart(file_id="f1"),
        TextPart(text="x", cache=CacheHint(ttl="30m")),
    )


def test_answers_of_tools_that_follow_each_other_are_one_turn() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    other = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}, "index": 1}
    messages = parse(
        messages=[
            {"role": "assistant", "content": None, "tool_calls": [call, other]},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"role": "user", "content": "go on"},
        ]
    ).messages
    assert messages == (
        Message(
            role="assistant",
            parts=(
                ToolCallPart(id="c1", name="f", arguments='{"a":1}'),
                ToolCallPart(id="c2", name="g", arguments="{}"),
            ),
        ),
        Message(
            role="user",
            parts=(
                ToolResultPart(call_id="c1", content=(TextPart(text="one"),)),
                ToolResultPart(call_id="c2", content=(TextPart(text="two"),)),
            ),
        ),
        Message(role="user", parts=(TextPart(text="go on"),)),
    )


def test_what_a_client_sends_back_of_an_answer_is_understood() -> None:
    """An SDK's `message.model_dump()` holds nulls and output-only fields."""
    said = {
        "role": "assistant", "content": "x", "refusal": "no", "annotations": [], "audio": None,
        "function_call": None, "parsed": None, "reasoning_content": "hm",
        "tool_calls": [
            {"id": "c", "type": "function",
             "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}},
             "extra_content": {"google": {"thought_signature": "sig"}}}
        ],
    }  # fmt: skip
    assert parse(messages=[said]).messages[0].parts == (
        ReasoningPart(text="hm"),
        TextPart(text="x"),
        RefusalPart(text="no"),
        ToolCallPart(id="c", name="f", arguments="{}", signature="sig"),
    )


def test_signed_reasoning_is_preferred_to_the_plain_text() -> None:
    details = [
        {"type": "reasoning.text", "text": "hm", "signature": "s", "index": 0, "format": "x"},
        {"type": "reasoning.encrypted", "data": "d", "index": 1},
    ]
    said = {"role": "assistant", "content": "x", "reasoning_content": "hm", "reasoning_details": details}
    signed = (ReasoningPart(text="hm", signature="s"), ReasoningPart(redacted="d"))
    assert parse(messages=[said]).messages[0].parts[:2] == signed
    # As LiteLLM's client library sends it back.
    del said["reasoning_details"]
    said["provider_specific_fields"] = {"refusal": None, "reasoning_details": details}
    assert parse(messages=[said]).messages[0].parts[:2] == signed
    said["provider_specific_fields"] = {"refusal": None}
    assert parse(messages=[said]).messages[0].parts[0] == ReasoningPart(text="hm")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "judge", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"stop": 5}, "stop"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png,xx"}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,!"}}]}]},
         "messages[0].content[0].image_url.url"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
         "messages[0].content[0].file"),
    ],
)  # fmt: skip
def test_what_is_invalid_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert type(caught.value) is InvalidRequest
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}]},
         "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": "x", "mood": "good"}]}, "messages[0].mood"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"messages": [{"role": "assistant", "function_call": {"name": "f"}}]}, "messages[0].function_call"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type"),
    ],
)  # fmt: skip
def test_what_only_this_dialect_knows_is_refused_by_name(fields: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        parse(**fields)
    assert caught.value.param == param


def test_a_missing_model_is_named() -> None:
    with pytest.raises(InvalidRequest, match="model"):
        parse_chat(b'{"messages":[{"role":"user","content":"x"}]}')
