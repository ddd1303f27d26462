"""Reading a client's request to the Responses API."""

from __future__ import annotations

import json

import msgspec
import pytest

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.chat import (
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from fairlead.providers.openai_responses_parse import parse_response


def parse(**fields: object) -> ChatRequest:
    return parse_response(json.dumps({"model": "m", "input": "hi"} | fields).encode())


def messages(*items: object) -> tuple[Message, ...]:
    return parse(input=list(items)).messages


USER = Message(role="user", parts=(TextPart(text="hi"),))


def test_a_string_is_a_message_and_instructions_come_first() -> None:
    request = parse(instructions="be nice")
    assert request.messages == (Message(role="system", parts=(TextPart(text="be nice"),)), USER)
    assert request.include_usage


def test_null_is_absent_everywhere() -> None:
    names = (
        "instructions", "tools", "tool_choice", "text", "reasoning", "store", "background", "truncation",
        "previous_response_id", "conversation", "prompt", "include", "metadata", "user", "top_logprobs",
        "something_new",
    )  # fmt: skip
    assert parse(**dict.fromkeys(names)) == parse()


def test_messages_with_all_kinds_of_content() -> None:
    content = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "high"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
        {"type": "input_file", "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
        {"type": "input_file", "file_url": "https://x/a.pdf"},
        {"type": "input_file", "file_id": "f1"},
    ]
    assert messages({"role": "user", "content": content}, {"role": "developer", "content": "d"}) == (
        Message(
            role="user",
            parts=(
                TextPart(text="look"),
                ImagePart(url="https://x/y.png", detail="high"),
                ImagePart(media_type="image/png", data="aGk="),
                FilePart(filename="a.pdf", media_type="application/pdf", data="aGk="),
                FilePart(url="https://x/a.pdf"),
                FilePart(file_id="f1"),
            ),
        ),
        Message(role="developer", parts=(TextPart(text="d"),)),
    )


def test_the_output_of_an_earlier_answer_is_one_turn() -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [],
         "content": [{"type": "reasoning_text", "text": "hm"}],
         "encrypted_content": "fairlead-signature:sig"},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "phase": None,
         "content": [{"type": "output_text", "text": "x", "annotations": [], "logprobs": []},
                     {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}",
         "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
    ]  # fmt: skip
    results = [
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
    ]
    assert messages({"role": "user", "content": "hi"}, *output, *results) == (
        USER,
        Message(
            role="assistant",
            parts=(
                ReasoningPart(text="hm", signature="sig"),
                TextPart(text="x"),
                RefusalPart(text="no"),
                ToolCallPart(id="c1", name="f", arguments="{}"),
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
    )


@pytest.mark.parametrize(
    ("encrypted", "part"),
    [
        (None, ReasoningPart(text="sum")),
        ("fairlead-signature:s", ReasoningPart(text="sum", signature="s")),
        ("fairlead-redacted:d", ReasoningPart(redacted="d")),
        ("gAAAA", ReasoningPart(text="sum", redacted="openai:gAAAA")),
    ],
)
def test_encrypted_reasoning_keeps_its_maker(encrypted: str | None, part: ReasoningPart) -> None:
    item = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "sum"}]}
    found = messages({"role": "user", "content": "hi"}, item | {"encrypted_content": encrypted})
    assert found[1].parts == (part,)


def test_options() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    schema = {"type": "json_schema", "name": "s", "schema": {"type": "object"}, "strict": True}
    request = parse(
        tools=[tool], tool_choice={"type": "function", "name": "f"},
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"}, max_output_tokens=5, metadata={"k": "v"}, store=False,
        include=["reasoning.encrypted_content"], top_logprobs=2, truncation="disabled", max_tool_calls=3,
    )  # fmt: skip
    assert request.tools[0].parameters == msgspec.Raw(b'{"type": "object"}')
    assert request.tool_choice == ToolChoice(mode="tool", name="f")
    assert request.response_format == ResponseFormat(
        kind="json_schema", name="s", schema=msgspec.Raw(b'{"type": "object"}'), strict=True
    )
    assert request.reasoning == Reasoning(effort="low", summary="auto")
    assert (request.max_output_tokens, request.logprobs, request.top_logprobs) == (5, True, 2)
    assert request.extras == {"verbosity": msgspec.Raw(b'"low"')}
    assert request.advisory.keys() == {"metadata", "max_tool_calls"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"truncation": "auto"}, "truncation"),
        ({"context_management": []}, "context_management"),
        ({"something_new": 1}, "something_new"),
        ({"include": ["web_search_call.results"]}, "include[0]"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f", "surprise": 1}]}, "tools[0].surprise"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": [{"type": "computer_call_output", "call_id": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
         "input[0].content[0].file_id"),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_refused_by_name(fields: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        parse(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0]"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"text": {"format": {"type": "json_schema", "name": "s"}}}, "text.format.schema"),
        ({"tool_choice": "any"}, "tool_choice"),
    ],
)
def test_what_is_invalid_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert type(caught.value) is InvalidRequest
    assert caught.value.param == param
