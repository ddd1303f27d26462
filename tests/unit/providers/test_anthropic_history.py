from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.providers.anthropic_history import without_foreign_reasoning

OWN = [
    {"type": "thinking", "thinking": "a", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "b3A="},
    {"type": "text", "text": "I was thinking"},
    {"type": "tool_use", "id": "a", "name": "thinking", "input": {"type": "thinking", "signature": ""}},
]
FOREIGN = [
    {"type": "thinking", "thinking": "b", "signature": ""},
    {"type": "thinking", "thinking": "b"},
    {"type": "thinking", "thinking": "b", "signature": "gemini:x"},
    {"type": "redacted_thinking", "data": "gemini:x"},
]


def body(*contents: Any) -> bytes:
    messages = [{"role": "assistant", "content": content} for content in contents]
    return json.dumps({"model": "m", "x": 1.50, "messages": messages, "thinking": {}}, indent=1).encode()


def test_blocks_that_another_provider_made_are_taken_out() -> None:
    mixed = [block for pair in zip(OWN, FOREIGN, strict=True) for block in pair]

    cleaned = json.loads(without_foreign_reasoning(body("thinking", mixed, FOREIGN)))

    assert [message["content"] for message in cleaned["messages"]] == ["thinking", OWN]
    assert cleaned["x"] == 1.5


@pytest.mark.parametrize(
    "data",
    [
        body(OWN, "text"),
        b'{"model":"m","messages":[]}',
        b'{"thinking":1}',
        b'{"messages":"thinking"}',
        b'{"messages":[{"content":["thinking"]}]}',
        b'{"messages":[{"content":[{"type":7,"x":"thinking"}]}]}',
    ],
)
def test_anything_else_is_the_same_object(data: bytes) -> None:
    assert without_foreign_reasoning(data) is data
