from __future__ import annotations

import json

import pytest
from hypothesis import given
from tests.unit.providers import neutral

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.anthropic import AnthropicClient, AnthropicUpstream
from fairlead.providers.anthropic_request import parse
from fairlead.providers.chat import ChatRequest, Reasoning, ToolResultPart

USER = {"role": "user", "content": "hi"}


def body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 8, "messages": [USER], **fields}).encode()


def block(**fields: object) -> bytes:
    return body(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, fields]}])


@given(neutral.requests)
def test_neutral_to_anthropic_and_back_is_the_same(request: ChatRequest) -> None:
    sent = AnthropicUpstream().encode(request, request.model)

    back = parse(sent.body)

    assert sent.ignored == ()
    assert neutral.comparable(back) == neutral.comparable(request)


def test_raw_json_keeps_its_bytes() -> None:
    raw = b'{"type":"object",  "maximum": 1.50e2}'
    source = b'{"model":"m","max_tokens":8,"messages":[],"tools":[{"name":"a","input_schema":' + raw + b"}]}"

    request = parse(source)

    assert bytes(request.tools[0].parameters or b"") == raw
    assert raw in AnthropicUpstream().encode(request, "m").body


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"model":"\xff"}', None),
        (b"[" * 100_000, None),
        (b'{"max_tokens":8,"messages":[]}', None),
        (b'{"model":"m","messages":[]}', "max_tokens"),
        (body(messages=[{"role": "tool", "content": "x"}]), "messages.0.role"),
        (body(messages=[USER, {"role": "user", "content": 7}]), "messages.1.content"),
        (body(temperature="hot"), "temperature"),
        (block(type="text"), "messages.0.content.1"),
        (block(type="image", source={"type": "ftp"}), "messages.0.content.1.source.type"),
        (block(type="image", source={"type": "base64", "data": "x"}), "messages.0.content.1.source"),
        (block(type="tool_use", id="a", name="b", input={}), "messages.0.content.1.type"),
        (
            body(
                messages=[
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "a", "name": "b", "input": [1]}],
                    }
                ]
            ),
            "messages.0.content.0.input",
        ),
        (body(tools=[{"name": "a"}]), "tools.0.input_schema"),
        (body(tool_choice={"type": "tool"}), "tool_choice.name"),
        (body(tool_choice={"type": "some"}), "tool_choice.type"),
        (body(metadata={"user_id": 7}), "metadata.user_id"),
    ],
)
def test_an_invalid_body_is_refused_with_the_field_at_fault(data: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(data)
    assert not isinstance(caught.value, UnsupportedByTarget)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (block(type="search_result", source="s", title="t", content=[]), "messages.0.content.1.type"),
        (block(type="container_upload", file_id="f"), "messages.0.content.1.type"),
        (
            block(type="image", source={"type": "file", "file_id": "file_1"}),
            "messages.0.content.1.source.file_id",
        ),
        (
            block(type="document", source={"type": "content", "content": "x"}),
            "messages.0.content.1.source.type",
        ),
        (
            block(type="document", source={"type": "url", "url": "u"}, citations={"enabled": True}),
            "messages.0.content.1.citations",
        ),
        (
            block(type="document", source={"type": "url", "url": "u"}, context="c"),
            "messages.0.content.1.context",
        ),
        (
            block(type="text", text="a", citations=[{"type": "char_location"}]),
            "messages.0.content.1.citations",
        ),
        (body(tools=[{"type": "web_search_20260318", "name": "web_search"}]), "tools.0.type"),
        (body(tools=[{"name": "a", "input_schema": {}, "defer_loading": True}]), "tools.0.defer_loading"),
        (body(tools=[{"name": "a", "input_schema": {}, "input_examples": [{}]}]), "tools.0.input_examples"),
        (
            body(tools=[{"name": "a", "input_schema": {}, "allowed_callers": ["code_execution_20260120"]}]),
            "tools.0.allowed_callers",
        ),
    ],
)
def test_what_only_anthropic_has_is_refused_by_name(data: bytes, param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        parse(data)
    assert caught.value.param == param


def test_fields_without_a_neutral_meaning_are_kept_as_extras_or_advisory() -> None:
    request = parse(
        body(
            mcp_servers=[{"url": "x"}],
            container="c",
            cache_control={"type": "ephemeral"},
            inference_geo=None,
            context_management={},
        )
    )

    assert set(request.extras) == {"mcp_servers", "container"}
    assert set(request.advisory) == {"cache_control"}


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(budget_tokens=2000)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}},
            Reasoning(adaptive=True, effort="max"),
        ),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}},
            Reasoning(adaptive=True, summary="auto"),
        ),
        ({"thinking": {"type": "disabled"}}, Reasoning(enabled=False)),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low")),
    ],
)
def test_thinking(fields: dict[str, object], reasoning: Reasoning | None) -> None:
    assert parse(body(**fields)).reasoning == reasoning


def test_a_way_of_thinking_that_is_not_known_is_an_extra_field() -> None:
    request = parse(body(thinking={"type": "between_tools"}))

    assert bytes(request.extras["thinking"]) == b'{"type": "between_tools"}'


def test_the_betas_output_format_is_understood() -> None:
    request = parse(body(output_format={"type": "json_schema", "schema": {"type": "object"}}))

    assert request.response_format is not None
    assert bytes(request.response_format.schema or b"") == b'{"type": "object"}'


def test_system_messages_stay_where_they_are() -> None:
    request = parse(body(system="a", messages=[USER, {"role": "system", "content": "b"}]))

    assert [message.role for message in request.messages] == ["system", "user", "system"]


def test_an_empty_tool_result() -> None:
    request = parse(block(type="tool_result", tool_use_id="t"))

    assert request.messages[0].parts[1] == ToolResultPart(call_id="t", content=())


def test_counting_needs_no_max_tokens() -> None:
    counted = AnthropicClient().count_tokens(json.dumps({"model": "m", "messages": [USER]}).encode())

    assert json.loads(counted) == {"input_tokens": 7}
