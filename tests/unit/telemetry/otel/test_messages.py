"""What is said in requests and answers of every dialect, as spans hold it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.otel_options import Redaction
from fairlead.telemetry.otel.messages import answer_attributes, request_attributes
from fairlead.telemetry.otel.redact_content import Redactor

MOST = 4000


def asked(body: object, redact: Any = str, most: int = MOST) -> dict[str, Any]:
    return dict(request_attributes(json.dumps(body).encode(), redact, most))


def answered(body: object, redact: Any = str, most: int = MOST) -> dict[str, Any]:
    return dict(answer_attributes(json.dumps(body).encode(), redact, most))


def streamed(*events: object, redact: Any = str) -> Any:
    answer = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    found = dict(answer_attributes(answer + b"data: [DONE]\n\n", redact, MOST))
    return json.loads(str(found["gen_ai.output.messages"]))[0]


def text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


def test_an_openai_chat() -> None:
    found = asked(
        {
            "model": "m",
            "temperature": 0.5,
            "max_tokens": 9,
            "n": 2,
            "seed": 7,
            "stop": "END",
            "tools": [{"type": "function", "function": {"name": "look"}}],
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": '{"a":1}'}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
            ],
        }
    )

    assert json.loads(found.pop("gen_ai.input.messages")) == [
        {"role": "system", "parts": [text("be kind")]},
        {"role": "user", "parts": [text("see"), {"type": "image_url"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "arguments": '{"a":1}', "name": "look", "id": "c1"}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "42"}]},
    ]
    assert json.loads(found.pop("gen_ai.tool.definitions"))[0]["function"]["name"] == "look"
    assert found == {
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
    }


def test_an_anthropic_message() -> None:
    found = asked(
        {
            "system": [{"type": "text", "text": "be kind"}],
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "42"}]},
            ],
        }
    )

    assert json.loads(found["gen_ai.system_instructions"]) == [text("be kind")]
    assert [one["parts"][0]["type"] for one in json.loads(found["gen_ai.input.messages"])] == [
        "text",
        "tool_call",
        "tool_call_response",
    ]


@pytest.mark.parametrize("body", [{"input": "hi"}, {"prompt": "hi"}, {"input": ["hi"]}])
def test_other_shapes_of_a_prompt(body: dict[str, Any]) -> None:
    assert json.loads(asked(body)["gen_ai.input.messages"]) == [{"role": "user", "parts": [text("hi")]}]


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x1", "model": "m1", "choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]},
        {"id": "x1", "model": "m1", "choices": [{"text": "hello", "finish_reason": "stop"}]},
        {"id": "x1", "model": "m1", "content": [{"type": "text", "text": "hello"}], "stop_reason": "stop"},
        {
            "id": "x1",
            "model": "m1",
            "status": "stop",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "hello"}]}],
        },
    ],
)
def test_a_whole_answer_of_any_api(body: dict[str, Any]) -> None:
    found = answered(body)

    assert json.loads(found["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [text("hello")], "finish_reason": "stop"}
    ]
    assert (found["gen_ai.response.id"], found["gen_ai.response.model"]) == ("x1", "m1")


def test_streams_are_joined() -> None:
    said = streamed(
        {"id": "x1", "choices": [{"delta": {"content": "hel"}}]},
        {"choices": [{"delta": {"content": "lo"}}]},
        {"choices": [{"delta": {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": '{"a"'}}]}}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"arguments": ":1}"}}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    )
    assert said["parts"] == [
        text("hello"),
        {"type": "tool_call", "arguments": '{"a":1}', "name": "f", "id": "c"},
    ]
    assert said["finish_reason"] == "tool_calls"

    said = streamed(
        {"type": "message_start", "message": {"id": "x1", "content": []}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hel"}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "lo"}},
        {"type": "content_block_start", "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
    )
    assert said["parts"] == [text("hello"), {"type": "tool_call", "arguments": "{}", "name": "f", "id": "t"}]
    assert said["finish_reason"] == "tool_use"

    said = streamed(
        {"type": "response.output_text.delta", "delta": "hel"},
        {"type": "response.output_text.delta", "delta": "lo"},
        {"type": "response.completed", "response": {"id": "x1", "output": []}},
    )
    assert said["parts"] == [text("hello")]


def test_what_a_stream_splits_is_redacted_all_the_same() -> None:
    said = streamed(
        {"choices": [{"delta": {"content": "write to jane@exa"}}]},
        {"choices": [{"delta": {"content": "mple.com now"}}]},
        redact=Redactor(),
    )

    assert said["parts"] == [text("write to [redacted] now")]


def test_long_content_is_cut_and_says_so() -> None:
    found = asked({"messages": [{"role": "user", "content": "é" * 5000}]}, most=300)

    [message] = json.loads(found["gen_ai.input.messages"])
    assert message["parts"][0]["content"] == "é" * 150 + "…"
    assert found["fairlead.content.cut"] is True


def test_a_cut_shows_nothing_of_what_it_has_split() -> None:
    """Redaction makes the text shorter, so that the place of the first cut may come into view."""
    secret = "sk-" + "a" * 150
    body = "sk-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb " * 24 + secret
    for most in range(250, 500, 7):
        found = asked({"prompt": body}, redact=Redactor(), most=most)
        assert "aaaa" not in found["gen_ai.input.messages"]


@pytest.mark.parametrize(
    "secret",
    [
        "jane.doe+x@mail.example.co.uk",
        "4111 1111 1111 1111",
        "+49 (170) 123-4567-89",
        "DE89 3704 0044 0532 0130 00",
        "sk-abcdefghijkl",
        "password: hunter22",
    ],
)
def test_credentials_and_personal_data_are_taken_out(secret: str) -> None:
    shown = Redactor()(f"it is {secret}, yes")

    assert "[redacted]" in shown
    assert secret not in shown
    assert shown.endswith(", yes")


@pytest.mark.parametrize("harmless", ["in 2024 there were 17 of 1,000", "version 1.2.3", "3.14159", "@home"])
def test_ordinary_text_stays(harmless: str) -> None:
    assert Redactor()(harmless) == harmless


def test_rules_of_ones_own_come_first_and_put_in_text_as_it_is() -> None:
    redact = Redactor([Redaction(pattern=r"(case)-\d+", replacement=r"\1 [it]")])

    assert redact("case-1234567890123") == r"\1 [it]"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["messages", "content", "role", "choices", "delta", "message", "tool_calls", "function", "output",
             "input", "type", "text", "item", "content_block", "arguments", "name", "system", "stop", "id",
             "response", "partial_json", "thinking", "tools"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(_json)
def test_nothing_that_is_sent_makes_it_fail(body: object) -> None:
    for data in (json.dumps(body).encode(), b"data: " + json.dumps(body).encode() + b"\n\n"):
        for attributes in (request_attributes(data, str, 50), answer_attributes(data, str, 50)):
            for name, value in attributes:
                assert name.startswith(("gen_ai.", "fairlead."))
                assert isinstance(value, str | int | float | tuple)


@given(st.binary(max_size=60))
def test_bytes_that_are_nothing_say_nothing(data: bytes) -> None:
    request_attributes(data, str, 50)
    answer_attributes(data, str, 50)
