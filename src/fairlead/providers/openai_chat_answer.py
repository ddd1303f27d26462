"""Whole answers of the chat dialect: an upstream's body to the neutral `Answer`, and that to a client.

Engines are read tolerantly (missing ids, tool arguments as objects, reasoning
under three names); what is written is exactly what OpenAI's own types declare,
plus `reasoning_content` and `reasoning_details`, which SDKs keep as extra fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import engine_times
from fairlead.providers.chat import (
    Answer,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from fairlead.providers.openai_chat_encode import reasoning_details
from fairlead.providers.openai_chat_parse import read_details
from fairlead.providers.openai_chat_wire import ExtraContent, ReasoningDetail
from fairlead.providers.openai_errors import failure_of, is_error
from fairlead.providers.openai_usage import chat_usage, read_usage
from fairlead.providers.openai_watch import BROKEN_OFF
from fairlead.providers.raw import NOTHING, present

FINISH_REASONS: Final = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
    "eos_token": FinishReason.STOP,  # TGI
    "stop_sequence": FinishReason.STOP_SEQUENCE,  # TGI
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,  # Mistral
    "end_turn": FinishReason.STOP,
    "safety": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.REFUSAL,
}
"""What an engine says, in any case; a word that is not here counts as `stop`."""

SHOWN_REASONS: Final = {
    FinishReason.STOP: "stop",
    FinishReason.STOP_SEQUENCE: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TOOL_CALLS: "tool_calls",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "content_filter",
    FinishReason.PAUSE: "stop",
}

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]")
_SERVICE_TIERS: Final = ("auto", "default", "flex", "scale", "priority")


class WireFunction(msgspec.Struct, frozen=True, kw_only=True):
    name: str | None = None
    arguments: msgspec.Raw = NOTHING


class WireCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call, whole or in pieces."""

    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None
    extra_content: ExtraContent | None = None


class WireContent(msgspec.Struct, frozen=True, kw_only=True):
    """A whole message, or a piece of one."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ReasoningDetail] | None = None
    refusal: str | None = None
    tool_calls: list[WireCall] | None = None


class WireChoice(msgspec.Struct, frozen=True, kw_only=True):
    index: int = 0
    message: WireContent | None = None
    delta: WireContent | None = None
    text: str | None = None
    finish_reason: str | None = None
    stop_reason: str | int | None = None
    """vLLM's and SGLang's: the stop sequence or token that ended the text."""
    logprobs: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING


class GroqExtension(msgspec.Struct, frozen=True, kw_only=True):
    """`x_groq` of Groq's last chunk."""

    usage: msgspec.Raw = NOTHING


class WireAnswer(engine_times.Marks, frozen=True, kw_only=True):
    """A whole answer, or one chunk of a stream."""

    id: str | None = None
    model: str | None = None
    created: float | None = None
    choices: list[WireChoice] | None = None
    usage: msgspec.Raw = NOTHING
    x_groq: GroqExtension | None = None
    error: msgspec.Raw = NOTHING
    object: str | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None


_ANSWER: Final = msgspec.json.Decoder(WireAnswer)


def decode_answer(body: bytes) -> Answer:
    """A whole 200 answer.

    Raises:
        BadUpstreamAnswer: it is none, or the engine broke it off.
    """
    wire = decode_wire(body)
    if is_error(wire.error, wire.object):
        raise BadUpstreamAnswer(f"the upstream reported an error: {failure_of(200, [], body).message}")
    if not wire.choices:
        raise BadUpstreamAnswer("the upstream's answer has no choices")
    stem = stem_of(wire)
    usage = read_usage(wire.usage, wire.service_tier)
    if usage is None and wire.x_groq is not None:
        usage = read_usage(wire.x_groq.usage)
    return Answer(
        id=wire.id or "",
        model=wire.model or "",
        created=int(wire.created or 0),
        choices=tuple(_choice(choice, stem) for choice in wire.choices),
        usage=usage,
        system_fingerprint=wire.system_fingerprint,
        service_tier=wire.service_tier,
        engine=engine_times.read(body),
    )


def decode_wire(data: bytes) -> WireAnswer:
    """A body or chunk. Raises BadUpstreamAnswer."""
    try:
        return _ANSWER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadUpstreamAnswer(f"the upstream's answer is not a chat completion: {error}") from error
    except RecursionError as error:
        raise BadUpstreamAnswer("the upstream's answer is nested too deeply") from error


def finish_of(
    reason: str | None, stop_reason: str | int | None, *, called: bool
) -> tuple[FinishReason, str | None]:
    """The neutral reason and the stop sequence.

    Several engines, and OpenAI for a forced tool, say `stop` after tool calls;
    a client in another dialect would then not run them.

    Raises:
        BadUpstreamAnswer: the engine broke the answer off.
    """
    word = (reason or "stop").lower()
    if word in BROKEN_OFF:
        raise BadUpstreamAnswer(f"the upstream broke its answer off ({word})")
    finish = FINISH_REASONS.get(word, FinishReason.STOP)
    if finish is FinishReason.STOP and called:
        return FinishReason.TOOL_CALLS, None
    if finish is FinishReason.STOP and isinstance(stop_reason, str) and stop_reason:
        return FinishReason.STOP_SEQUENCE, stop_reason
    return finish, None


def arguments_of(value: msgspec.Raw) -> str:
    """Arguments as JSON text; some engines send the object itself."""
    there = present(value)
    if there is None:
        return ""
    data = bytes(there)
    try:
        return msgspec.json.decode(data, type=str) if data.startswith(b'"') else data.decode()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadUpstreamAnswer("a tool call's arguments are not valid text") from error


def call_id_of(given: str | None, stem: str, choice: int, index: int) -> str:
    """The id of a call, or one made up: the same every time, and unlike in every answer.

    TGI numbers the calls of each answer from 0, which no conversation can use.
    """
    if given and not given.isdecimal():
        return given
    return f"call_{_UNFIT.sub('', stem)[-24:]}_{choice}_{index}"


def stem_of(wire: WireAnswer) -> str:
    """What tells this answer from others: its id, or where an engine gives none the time."""
    return wire.id or str(int(wire.created or 0))


def _choice(choice: WireChoice, stem: str) -> Choice:
    message = choice.message or choice.delta or WireContent(content=choice.text)
    parts: list[Part] = list(read_details(message.reasoning_details or ()))
    reasoning = message.reasoning_content or message.reasoning
    if reasoning and not parts:
        parts.append(ReasoningPart(text=reasoning))
    if message.content:
        parts.append(TextPart(text=message.content))
    if message.refusal:
        parts.append(RefusalPart(text=message.refusal))
    calls = message.tool_calls or []
    for index, call in enumerate(calls):
        function = call.function
        if function is None or not function.name:
            raise BadUpstreamAnswer("a tool call of the upstream's answer has no name")
        google = call.extra_content.google if call.extra_content else None
        parts.append(
            ToolCallPart(
                id=call_id_of(call.id, stem, choice.index, index),
                name=function.name,
                arguments=arguments_of(function.arguments) or "{}",
                signature=google.thought_signature if google else None,
            )
        )
    finish, stop_sequence = finish_of(choice.finish_reason, choice.stop_reason, called=bool(calls))
    logprobs = present(choice.logprobs)
    return Choice(
        index=choice.index,
        parts=tuple(parts),
        finish=finish,
        stop_sequence=stop_sequence,
        logprobs=None if logprobs is None else logprobs.copy(),
    )


# --- towards the client -------------------------------------------------------------------------


def render_answer(answer: Answer, model: str, request_id: str) -> bytes:
    """A `chat.completion` object; `model` stands in where the upstream named none."""
    body: dict[str, object] = {
        "id": completion_id("chatcmpl-", answer.id, request_id),
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model or model,
        "choices": [_rendered_choice(choice) for choice in answer.choices],
    }
    if answer.usage is not None:
        body["usage"] = chat_usage(answer.usage)
    if answer.service_tier in _SERVICE_TIERS:
        body["service_tier"] = answer.service_tier
    if answer.system_fingerprint is not None:
        body["system_fingerprint"] = answer.system_fingerprint
    return msgspec.json.encode(body)


def completion_id(prefix: str, answer_id: str, request_id: str) -> str:
    """The upstream's id when it is of this kind, else one made of what there is."""
    return answer_id if answer_id.startswith(prefix) else f"{prefix}{answer_id or request_id}"


def call_fields(part: ToolCallPart) -> dict[str, object]:
    """A `tool_calls` entry."""
    return call_head(part.id, part.name, part.arguments or "{}", part.signature)


def call_head(call_id: str, name: str, arguments: str, signature: str | None) -> dict[str, object]:
    """The fields of a call, whole or as it begins in a stream."""
    fields: dict[str, object] = {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    if signature is not None:
        fields["extra_content"] = {"google": {"thought_signature": signature}}
    return fields


def reasoning_fields(parts: Sequence[ReasoningPart]) -> dict[str, object]:
    """`reasoning_content`, and `reasoning_details` where there is more than text to send back."""
    fields: dict[str, object] = {}
    text = "".join(part.text for part in parts)
    if text:
        fields["reasoning_content"] = text
    if any(part.signature is not None or part.redacted is not None for part in parts):
        fields["reasoning_details"] = reasoning_details(list(parts))
    return fields


def _rendered_choice(choice: Choice) -> dict[str, object]:
    text = [part.text for part in choice.parts if isinstance(part, TextPart)]
    refusals = [part.text for part in choice.parts if isinstance(part, RefusalPart)]
    calls = [part for part in choice.parts if isinstance(part, ToolCallPart)]
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(text) if text or not (calls or refusals) else None,
        "refusal": "".join(refusals) if refusals else None,
    }
    message |= reasoning_fields([part for part in choice.parts if isinstance(part, ReasoningPart)])
    if calls:
        message["tool_calls"] = [call_fields(call) for call in calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": choice.logprobs,
        "finish_reason": SHOWN_REASONS[choice.finish],
    }
