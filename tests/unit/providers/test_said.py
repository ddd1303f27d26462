"""What an answer says, for comparing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.providers.said import said


def chat(*messages: dict[str, Any]) -> bytes:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        for index, message in enumerate(messages)
    ]
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    ).encode()


def message(*content: dict[str, Any]) -> bytes:
    body = {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": list(content)}
    return json.dumps(
        {**body, "stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 1}}
    ).encode()


def response(*output: object) -> bytes:
    return json.dumps(
        {"id": "1", "object": "response", "status": "completed", "output": list(output)}
    ).encode()


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b":1,"a":2}'}}
SAME_CALL = {"id": "c2", "type": "function", "function": {"name": "f", "arguments": '{"a": 2, "b": 1}'}}
OUTPUT = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}


def test_texts_of_every_dialect() -> None:
    assert said("chat", chat({"content": "Hi"})) == "Hi"
    assert said("chat", chat({"content": None, "refusal": "No"})) == "No"
    assert said("messages", message({"type": "text", "text": "H"}, {"type": "text", "text": "i"})) == "Hi"
    assert said("responses", response({"type": "reasoning", "summary": []}, OUTPUT)) == "Hi"
    text = {"id": "1", "object": "text_completion", "created": 1, "model": "m"}
    choice = {"index": 0, "text": "Hi", "finish_reason": "stop"}
    assert said("completions", json.dumps({**text, "choices": [choice]}).encode()) == "Hi"


def test_calls_are_compared_by_value_and_without_their_ids() -> None:
    one = said("chat", chat({"content": None, "tool_calls": [CALL]}))
    other = said("chat", chat({"content": None, "tool_calls": [SAME_CALL]}))
    assert one is not None
    assert one == other
    assert json.loads(one)["calls"] == [{"name": "f", "arguments": {"a": 2, "b": 1}}]
    item = {"type": "function_call", "name": "f", "call_id": "9", "arguments": '{"a":2,"b":1}'}
    assert said("responses", response(item)) == one


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("chat", chat({"content": "Hi"}, {"content": "Ho"})),
        ("chat", chat({"content": ""})),
        ("chat", chat()),
        ("chat", b"{}"),
        ("chat", b"no json"),
        ("messages", b"[]"),
        ("responses", response({"type": "image_generation_call"})),
        ("responses", response({"type": "message", "content": [{"type": "output_audio"}]})),
        ("responses", b'{"output": null}'),
        ("responses", response(None)),
    ],
)
def test_what_cannot_be_compared_is_nothing(api: str, body: bytes) -> None:
    assert said(api, body) is None
