"""What an answer says, as one text that can be compared with that of another answer.

Reasoning, ids, usage and times do not count. An answer that calls tools is the
JSON of its text and its calls, so that two are compared by value.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import anthropic_answer
from fairlead.providers.chat import Choice, ReasoningPart, RefusalPart, TextPart, ToolCallPart
from fairlead.providers.openai_chat_answer import decode_answer

_object: Final = msgspec.json.Decoder(dict[str, Any])
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_UNREADABLE: Final = (
    msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadUpstreamAnswer, AttributeError, TypeError,
)  # fmt: skip


def said(api: str, body: bytes) -> str | None:
    """The text of a whole answer; None when it cannot be read or holds what is no text.

    Args:
        api: its name: `chat`, `completions`, `messages` or `responses`.
        body: the answer in the client's dialect.
    """
    try:
        if api == "responses":
            return _response(_object.decode(body))
        answer = anthropic_answer.decode(body, []) if api == "messages" else decode_answer(body)
        return _choice(answer.choices[0]) if len(answer.choices) == 1 else None
    except _UNREADABLE:
        return None


def _choice(choice: Choice) -> str | None:
    texts: list[str] = []
    calls: list[tuple[str, str]] = []
    for part in choice.parts:
        if isinstance(part, (TextPart, RefusalPart)):
            texts.append(part.text)
        elif isinstance(part, ToolCallPart):
            calls.append((part.name, part.arguments))
        elif not isinstance(part, ReasoningPart):
            return None
    return _joined(texts, calls)


def _response(response: dict[str, Any]) -> str | None:
    texts: list[str] = []
    calls: list[tuple[str, str]] = []
    for item in _list(response.get("output")):
        kind = item.get("type")
        if kind == "message":
            for part in _list(item.get("content")):
                text = part.get("text", part.get("refusal"))
                if part.get("type") not in ("output_text", "refusal") or not isinstance(text, str):
                    return None
                texts.append(text)
        elif kind == "function_call":
            calls.append((str(item.get("name")), str(item.get("arguments"))))
        elif kind != "reasoning":
            return None
    return _joined(texts, calls)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _joined(texts: list[str], calls: list[tuple[str, str]]) -> str | None:
    text = "".join(texts)
    if not calls:
        # An answer that says nothing is the same as any other such, which proves nothing.
        return text if text.strip() else None
    made = [{"name": name, "arguments": _arguments(arguments)} for name, arguments in calls]
    return _encode({"text": text, "calls": made}).decode()


def _arguments(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
