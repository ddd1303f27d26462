"""What was said in a request, in the form that OpenTelemetry's spans hold it.

Reads bodies and answers of OpenAI's and Anthropic's APIs, whole or streamed, as
far as they can be read, into `gen_ai.input.messages`, `gen_ai.output.messages`,
`gen_ai.system_instructions` and `gen_ai.tool.definitions` (JSON text, as the
conventions allow) and the parameters that a request names. Input is whatever a
client or an upstream sent: nothing here raises, and what is not understood is
left out. Text is redacted before it is cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from fairlead.telemetry.otel.spans import Attributes

Redact = Callable[[str], str]

_NUMBERS: Final = {
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
_COUNTS: Final = {
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "top_k": "gen_ai.request.top_k",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
}
_MOST_PARTS: Final = 1000
_DEEPEST: Final = 6
_SPLIT: Final = 256
"""Characters before a cut that may belong to something that should have been redacted."""


class _Raw:
    """Leaves texts as they are."""

    def fit(self, text: str) -> str:
        return text


class _Texts(_Raw):
    """Redacts and cuts texts, so that all of them together stay within a bound."""

    def __init__(self, redact: Redact, max_bytes: int) -> None:
        self._redact = redact
        self._left = max_bytes
        self.full = False

    def fit(self, text: str) -> str:
        cut = len(text) > 2 * self._left + _SPLIT
        if cut:
            text = text[: 2 * self._left + _SPLIT]
        whole = self._redact(text)
        if cut:
            # What the cut has split is not what it was, and would not be recognised.
            whole = whole[:-_SPLIT]
        kept = whole.encode("utf-8", "replace")[: self._left].decode("utf-8", "ignore")
        self._left -= len(kept.encode())
        if cut or len(kept) < len(whole):
            self.full = True
            return kept + "…"
        return kept


_AS_IT_IS: Final = _Raw()


def request_attributes(body: bytes, redact: Redact, max_bytes: int) -> Attributes:
    """Attributes of a request's body."""
    asked = _object(body)
    found: Attributes = []
    for name, attribute in _NUMBERS.items():
        value = asked.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
            found.append((attribute, float(value)))
    for name, attribute in _COUNTS.items():
        value = asked.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and not (name == "n" and value == 1):
            found.append((attribute, value))
    stops = asked.get("stop") or asked.get("stop_sequences")
    texts = _Texts(redact, max_bytes)
    if isinstance(stops, str | list):
        listed = [stops] if isinstance(stops, str) else stops
        found.append(
            ("gen_ai.request.stop_sequences", tuple(texts.fit(s) for s in listed[:8] if isinstance(s, str)))
        )
    system = _parts(asked.get("system") or asked.get("instructions"), texts)
    if system:
        found.append(("gen_ai.system_instructions", _dump(system)))
    messages = _input(asked, texts)
    if messages:
        found.append(("gen_ai.input.messages", _dump(messages)))
    tools = asked.get("tools")
    if isinstance(tools, list) and tools:
        found.append(("gen_ai.tool.definitions", texts.fit(_dump(tools[:_MOST_PARTS]))))
    if texts.full:
        found.append(("fairlead.content.cut", True))
    return found


def answer_attributes(answer: bytes, redact: Redact, max_bytes: int) -> Attributes:
    """Attributes of an answer, whole or a stream of events, of which the end may be missing."""
    whole = _object(answer)
    pieces = [whole] if whole else list(_events(answer))
    parts: list[dict[str, Any]] = []
    finish = ""
    for piece in pieces:
        said, reason = _said(piece)
        finish = reason or finish
        for part in said:
            _join(parts, part)
    found: Attributes = []
    if parts:
        # Only now: a stream may split what is to be redacted.
        texts = _Texts(redact, max_bytes)
        fitted = [{key: _fitted(key, value, texts) for key, value in part.items()} for part in parts]
        message = {"role": "assistant", "parts": fitted, "finish_reason": finish or "unknown"}
        found.append(("gen_ai.output.messages", _dump([message])))
        if texts.full:
            found.append(("fairlead.content.cut", True))
    for piece in pieces:
        holder = piece.get("message") or piece.get("response") or piece
        if isinstance(holder, dict) and isinstance(holder.get("id"), str):
            found.append(("gen_ai.response.id", redact(holder["id"][:200])))
            if isinstance(holder.get("model"), str):
                found.append(("gen_ai.response.model", redact(holder["model"][:200])))
            break
    return found


def _join(parts: list[dict[str, Any]], part: dict[str, Any]) -> None:
    """Add a part, or the next piece of the last one."""
    last = parts[-1] if parts else {}
    same = last.get("type") == part.get("type")
    if same and part.get("type") in ("text", "reasoning"):
        last["content"] += part["content"]
    elif same and part.get("type") == "tool_call" and "name" not in part:
        last["arguments"] += part["arguments"]
    elif len(parts) < _MOST_PARTS:
        parts.append(part)


def _fitted(key: str, value: object, texts: _Texts) -> object:
    return texts.fit(value) if isinstance(value, str) and key != "type" else value


def _input(asked: dict[str, Any], texts: _Raw) -> list[dict[str, Any]]:
    given = asked.get("messages") or asked.get("input") or asked.get("prompt")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        return []
    messages = []
    for one in given[:_MOST_PARTS]:
        message = {"role": "user", "content": one} if isinstance(one, str) else one
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        parts = _parts(message.get("content"), texts) if "content" in message else _parts([message], texts)
        parts += _calls(message.get("tool_calls"), texts)
        call_id = message.get("tool_call_id")
        if isinstance(call_id, str) and role == "tool":
            response = " ".join(str(part.get("content", "")) for part in parts)
            parts = [{"type": "tool_call_response", "id": call_id[:200], "response": response}]
        messages.append({"role": role[:40] if isinstance(role, str) else "user", "parts": parts})
    return messages


def _parts(content: object, texts: _Raw, depth: int = 0, *, texts_only: bool = False) -> list[dict[str, Any]]:
    """Content in any dialect's form, as parts."""
    if isinstance(content, str):
        return [{"type": "text", "content": texts.fit(content)}] if content else []
    if not isinstance(content, list) or depth > _DEEPEST:
        return []
    found: list[dict[str, Any]] = []
    for part in content[:_MOST_PARTS]:
        if isinstance(part, str):
            part = {"type": "text", "text": part}  # one form for both
        if not isinstance(part, dict):
            continue
        kind = part.get("type")
        text = part.get("text") or part.get("refusal") or part.get("thinking")
        if isinstance(text, str):
            kind = "reasoning" if "thinking" in part else "text"
            found.append({"type": kind, "content": texts.fit(text)})
        elif texts_only:
            continue
        elif kind in ("tool_use", "function_call"):
            found += _calls([part], texts)
        elif kind in ("tool_result", "function_call_output"):
            said = _parts(part.get("content") or part.get("output"), texts, depth + 1)
            call_id = part.get("tool_use_id") or part.get("call_id")
            response = " ".join(str(one.get("content", "")) for one in said)
            found.append({"type": "tool_call_response", "id": str(call_id)[:200], "response": response})
        elif isinstance(kind, str):
            # Pictures, sound and files are named, never exported.
            found.append({"type": kind[:40]})
    return found


def _calls(calls: object, texts: _Raw) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for call in calls[:_MOST_PARTS] if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        function = call.get("function")
        holder = function if isinstance(function, dict) else call
        name, arguments = holder.get("name"), holder.get("arguments", holder.get("input"))
        call_id = call.get("call_id") or call.get("id")
        if isinstance(name, str) or isinstance(arguments, str):
            said = arguments if isinstance(arguments, str) else _dump(arguments)
            part = {"type": "tool_call", "arguments": texts.fit(said)}
            if isinstance(name, str):
                part["name"] = texts.fit(name)
            if isinstance(call_id, str):
                part["id"] = call_id[:200]
            found.append(part)
    return found


def _said(piece: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """Parts and finish reason of a whole answer, or of one event of a stream; nothing is redacted yet."""
    choices = piece.get("choices")
    if isinstance(choices, list):
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        message = choice.get("message") or choice.get("delta") or choice
        message = message if isinstance(message, dict) else {}
        parts = _parts(message.get("content") or message.get("text"), _AS_IT_IS)
        return parts + _calls(message.get("tool_calls"), _AS_IT_IS), _word(choice.get("finish_reason"))
    delta = piece.get("delta")
    if isinstance(delta, str):
        # An event of the Responses API; those of tool calls come again, complete, in `item`.
        return _parts(delta if piece.get("type") == "response.output_text.delta" else "", _AS_IT_IS), ""
    if isinstance(delta, dict):
        arguments = delta.get("partial_json")
        if isinstance(arguments, str):
            return [{"type": "tool_call", "arguments": arguments}], ""
        return _parts([delta], _AS_IT_IS, texts_only=True), _word(delta.get("stop_reason"))
    if isinstance(piece.get("content"), list):
        return _parts(piece["content"], _AS_IT_IS), _word(piece.get("stop_reason"))
    if isinstance(piece.get("output"), list):
        parts = []
        for item in piece["output"][:_MOST_PARTS]:
            if isinstance(item, dict):
                parts += _parts(item.get("content", [item]), _AS_IT_IS)
        return parts, _word(piece.get("status"))
    block, item = piece.get("content_block"), piece.get("item")
    if isinstance(block, dict) and block.get("type") == "tool_use":
        # Its input comes in the deltas that follow.
        return _calls([{**block, "input": ""}], _AS_IT_IS), ""
    if piece.get("type") == "response.output_item.done" and isinstance(item, dict):
        return (_calls([item], _AS_IT_IS) if item.get("type") == "function_call" else []), ""
    return [], ""


def _events(answer: bytes) -> Iterator[dict[str, Any]]:
    for line in answer.split(b"\n"):
        if line.startswith(b"data:"):
            event = _object(line[5:])
            if event:
                yield event


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _word(value: object) -> str:
    return value[:40] if isinstance(value, str) else ""


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
