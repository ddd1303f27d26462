"""Reads sampled requests and answers, of every dialect, into what semantic metrics look at.

What an answer is grounded in has to be recognised: results of tools, documents
that carry text, texts in tags that are usual for retrieved passages, and, where
configured, system prompts. Text in such tags is no part of the question.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from fairlead.errors import BadUpstreamAnswer, FairleadError
from fairlead.providers import anthropic_answer, openai_responses_replay
from fairlead.providers.anthropic_stream import AnthropicStreamDecoder
from fairlead.providers.chat import (
    ChatRequest,
    Choice,
    FilePart,
    Part,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from fairlead.providers.fold import fold
from fairlead.providers.openai_chat_answer import decode_answer
from fairlead.providers.openai_chat_decode import ChatDecoder
from fairlead.providers.table import apis
from fairlead.signals.questions import Sampled
from fairlead.signals.turn import Call, Turn

_TAGGED: Final = re.compile(
    r"<(context|documents?|sources?|search_results?|retrieved|passages?|knowledge|excerpts?)(?:\s[^<>]*)?>"
    r"(.*?)</\1>",
    re.DOTALL | re.IGNORECASE,
)
_MAX_CHARS: Final = 400_000
_SESSIONS: Final = ("session_id", "conversation_id", "thread_id")
_UNREADABLE: Final = (
    msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadUpstreamAnswer, AttributeError, TypeError,
)  # fmt: skip
_object: Final = msgspec.json.Decoder(dict[str, Any])


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """An answer's first choice."""

    id: str
    text: str
    refusal: str
    finish: str
    calls: tuple[tuple[str, str], ...]
    """Names and arguments."""


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A request with its answer."""

    turn: Turn
    response_id: str
    user: str
    """Who the application says is asking; "" when it does not."""
    session: str
    """What marks the conversation: an id, or how it began."""


def read(sampled: Sampled, context: Iterable[str]) -> Read | None:
    """Everything that is looked at; None when the request or the answer cannot be read."""
    dialect = next((api.dialect for api in apis().values() if api.name == sampled.api), None)
    found = answered(sampled.api, sampled.answer, stream=sampled.stream)
    if dialect is None or found is None:
        return None
    try:
        request = dialect.parse(sampled.request)
    except (FairleadError, *_UNREADABLE):
        return None  # what only its provider understands
    turn = Turn(
        prompt=_prompt(request),
        context=_context(request, frozenset(context)),
        answer=found.text,
        refusal=found.refusal,
        finish=found.finish,
        calls=tuple(_call(request, name, arguments) for name, arguments in found.calls),
        wants_json=request.response_format is not None and request.response_format.kind != "text",
        schema=_raw(request.response_format.schema if request.response_format is not None else None),
    )
    metadata = _metadata(request)
    user = request.user or str(metadata.get("user_id") or "")
    session = next((str(metadata[name]) for name in _SESSIONS if metadata.get(name)), "")
    return Read(
        turn=turn,
        response_id=found.id,
        user=user,
        session=sampled.session or session or _beginning(request),
    )


def answered(api: str, body: bytes, *, stream: bool) -> Answered | None:
    """An answer's first choice; None when it is not whole, or none that has text."""
    try:
        if api == "responses":
            whole = openai_responses_replay.whole_of_stream(body) if stream else body
            return None if whole is None else _response(_object.decode(whole))
        if api == "messages":
            answer = (
                fold(AnthropicStreamDecoder().feed(body)) if stream else anthropic_answer.decode(body, [])
            )
        else:
            answer = fold(ChatDecoder().feed(body)) if stream else decode_answer(body)
        if answer is None or not answer.choices:
            return None
        return _first(answer.id, answer.choices[0])
    except _UNREADABLE:
        return None


def _first(answer_id: str, choice: Choice) -> Answered:
    return Answered(
        id=answer_id,
        text=_text(part for part in choice.parts if isinstance(part, TextPart)),
        refusal="".join(part.text for part in choice.parts if isinstance(part, RefusalPart)),
        finish=choice.finish.value,
        calls=tuple((part.name, part.arguments) for part in choice.parts if isinstance(part, ToolCallPart)),
    )


def _response(response: dict[str, Any]) -> Answered | None:
    texts: list[str] = []
    refusals: list[str] = []
    calls: list[tuple[str, str]] = []
    for item in response["output"] if isinstance(response.get("output"), list) else ():
        if item.get("type") == "function_call":
            calls.append((str(item.get("name")), str(item.get("arguments"))))
        for part in (item.get("content") or ()) if item.get("type") == "message" else ():
            if part.get("type") == "output_text":
                texts.append(str(part.get("text")))
            elif part.get("type") == "refusal":
                refusals.append(str(part.get("refusal")))
    status = response.get("status")
    if status not in ("completed", "incomplete"):
        return None
    reason = (response.get("incomplete_details") or {}).get("reason") if status == "incomplete" else "stop"
    return Answered(
        id=str(response.get("id") or ""),
        text="".join(texts),
        refusal="".join(refusals),
        finish="length" if reason == "max_output_tokens" else str(reason),
        calls=tuple(calls),
    )


def _prompt(request: ChatRequest) -> str:
    """The last text of the user, without what was retrieved for it."""
    for message in reversed(request.messages):
        if message.role == "user":
            text = _text(part for part in message.parts if isinstance(part, TextPart))
            if text.strip():
                return _TAGGED.sub(" ", text[:_MAX_CHARS]).strip()
    return ""


def _context(request: ChatRequest, wanted: frozenset[str]) -> str:
    found = "\n".join(_grounds(request, wanted))
    return found[:_MAX_CHARS]


def _grounds(request: ChatRequest, wanted: frozenset[str]) -> Iterator[str]:
    for message in request.messages:
        system = message.role in ("system", "developer")
        for part in message.parts:
            if isinstance(part, ToolResultPart) and "tool_results" in wanted:
                yield _text(content for content in part.content if isinstance(content, TextPart))
            elif isinstance(part, FilePart) and "documents" in wanted:
                yield part.text or ""
            elif isinstance(part, TextPart) and system and "system" in wanted:
                yield part.text
            elif isinstance(part, TextPart) and message.role != "assistant" and "tags" in wanted:
                yield from (match[2] for match in _TAGGED.finditer(part.text[:_MAX_CHARS]))


def _call(request: ChatRequest, name: str, arguments: str) -> Call:
    for tool in request.tools:
        if tool.name == name:
            return Call(name=name, arguments=arguments, schema=_raw(tool.parameters))
    return Call(name=name, arguments=arguments, known=False)


def _metadata(request: ChatRequest) -> dict[str, Any]:
    """What the application says of a request besides it."""
    found: dict[str, Any] = {}
    for name, raw in request.advisory.items():
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            continue
        if name == "metadata" and isinstance(value, dict):
            found.update(value)
        elif name == "safety_identifier":
            found.setdefault("user_id", value)
        else:
            found[name.removeprefix("metadata.")] = value
    return found


def _beginning(request: ChatRequest) -> str:
    """How a conversation began, which its later turns repeat: the first two texts of its user.

    Two, because in many applications every conversation has the same first one.
    """
    texts = (
        _text(part for part in message.parts if isinstance(part, TextPart))
        for message in request.messages
        if message.role == "user"
    )
    return "\0".join(itertools.islice((text for text in texts if text), 2))


def _text(parts: Iterable[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _raw(value: msgspec.Raw | None) -> bytes | None:
    return None if value is None else bytes(value)
