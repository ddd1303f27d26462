"""What of a request may be put in other words: its last user text, and nothing else.

`question_of` takes a request apart into that text and the fingerprint of all
the rest, or says why it must not be compared with any other. Pure.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.cache.key import Canonical, Space
from fairlead.cache.semantic.fingerprint import Context, Turn, fingerprint, unsuitable
from fairlead.cache.semantic.text import MAX_CHARS

_DEFAULT_TEMPERATURE: Final = 1.0
_TEXTS: Final = frozenset({"text", "input_text"})
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A text, and everything that was said around it."""

    text: str
    fingerprint: bytes


def question_of(
    request: Canonical, space: Space, embedder: str, *, headers: bytes = b"", max_temperature: float
) -> Question | str:
    """The question, or in one word why the request is not compared with others.

    Args:
        request: the request.
        space: where its answer is kept; scope, route and targets.
        embedder: `Embedder.id` of the route's.
        headers: the client's lines that change what is answered.
        max_temperature: the route's.
    """
    text, rest = _split(request)
    fields = request.fields
    choices = fields.get("n")
    turn = Turn(
        text=text,
        temperature=_number(fields.get("temperature"), _DEFAULT_TEMPERATURE),
        choices=choices if isinstance(choices, int) else 1 if choices is None else 0,
    )
    reason = unsuitable(turn, max_temperature=max_temperature)
    if reason is not None or text is None:
        return reason or "no_text"
    if len(text) > MAX_CHARS:
        return "length"
    context = Context(
        scope=space.scope,
        route=space.model,
        target_group=space.mark.hex(),
        policy_version="",  # a part of the space's mark
        embedder=embedder,
        request=b"%b\n%d:%b%b" % (request.api.encode(), len(headers), headers, _encode(rest)),
    )
    return Question(text=text, fingerprint=fingerprint(context))


def _split(request: Canonical) -> tuple[str | None, dict[str, Any]]:
    """The last user text, and the fields with `null` in its place; None where the last turn is no text."""
    fields = request.fields
    if request.api == "completions":
        prompt = fields.get("prompt")
        return (prompt, {**fields, "prompt": None}) if isinstance(prompt, str) else (None, fields)
    name = "input" if request.api == "responses" else "messages"
    turns = fields.get(name)
    if isinstance(turns, str):
        # Only a response takes a text in the place of turns.
        return (turns, {**fields, name: None}) if request.api == "responses" else (None, fields)
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return None, fields
    last = turns[-1]
    if last.get("role") != "user" or last.get("type", "message") != "message":
        return None, fields
    text, content = _text(last.get("content"))
    return text, {**fields, name: [*turns[:-1], {**last, "content": content}]}


def _text(content: object) -> tuple[str | None, object]:
    """The text of a message that is nothing else, and the content without it."""
    if isinstance(content, str):
        return content, None
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        part = content[0]
        text = part.get("text")
        if part.get("type") in _TEXTS and isinstance(text, str):
            return text, [{**part, "text": None}]
    return None, content


def _number(value: object, default: float) -> float | None:
    if value is None:
        return default
    return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]  # numbers, by the check
