"""Whole answers and usage, between Anthropic's shapes and the neutral ones.

Anthropic's `input_tokens` leaves out what was read from or written to the
cache; the neutral count includes both. Its `output_tokens` includes thinking,
as the neutral count does.
"""

from __future__ import annotations

import email.utils
import re
from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import anthropic_wire as wire
from fairlead.providers.chat import (
    Answer,
    ChatRequest,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from fairlead.providers.raw import object_of, text_of
from fairlead.providers.tier import tier_of
from fairlead.providers.tool_ids import ANTHROPIC, fit
from fairlead.types import Headers, Usage

FINISH: Final = {
    "end_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "tool_use": FinishReason.TOOL_CALLS,
    "pause_turn": FinishReason.PAUSE,
    "refusal": FinishReason.REFUSAL,
    "model_context_window_exceeded": FinishReason.LENGTH,
}
STOP_REASONS: Final = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.PAUSE: "pause_turn",
    FinishReason.REFUSAL: "refusal",
    FinishReason.CONTENT_FILTER: "refusal",
}

_answer_decoder: Final = msgspec.json.Decoder(wire.Answer)
_block_decoder: Final = msgspec.json.Decoder(wire.StartedBlock)
_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]")


def finish_of(stop_reason: str) -> FinishReason:
    """The neutral reason. One that is not known yet is taken for a normal end."""
    return FINISH.get(stop_reason, FinishReason.STOP)


def usage_of(*reports: wire.Usage | None) -> Usage | None:
    """Neutral usage of successive reports; counts are cumulative, so a later one replaces an earlier."""
    said = False
    plain = output = read = write = write_1h = thinking = 0
    tier = ""
    for report in reports:
        if report is None:
            continue
        said = True
        tier = _tier(report) or tier
        if report.input_tokens is not None:
            plain = report.input_tokens
        if report.output_tokens is not None:
            output = report.output_tokens
        if report.cache_read_input_tokens is not None:
            read = report.cache_read_input_tokens
        if report.cache_creation_input_tokens is not None:
            write = report.cache_creation_input_tokens
        if report.cache_creation is not None:
            write_1h = report.cache_creation.ephemeral_1h_input_tokens
        if report.output_tokens_details is not None:
            thinking = report.output_tokens_details.thinking_tokens
    if not said:
        return None
    return Usage(
        input_tokens=plain + read + write,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=write_1h,
        reasoning_tokens=thinking,
        service_tier=tier,
    )


def _tier(report: wire.Usage) -> str:
    """What decides the price: the tier, fast mode, and where the model ran."""
    tier = tier_of(report.service_tier)
    fast = "fast" if report.speed == "fast" else ""
    place = "us" if report.inference_geo == "us" else ""
    return "+".join(filter(None, (tier, fast, place)))


class _Reported(msgspec.Struct, frozen=True, kw_only=True):
    usage: wire.Usage | None = None


_reported_decoder: Final = msgspec.json.Decoder(_Reported)


def reported(body: bytes) -> Usage | None:
    """The usage of a message that holds what cannot be used."""
    try:
        return usage_of(_reported_decoder.decode(body).usage)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def usage_fields(usage: Usage | None) -> dict[str, object]:
    """Anthropic's `usage` object; unknown counts are zero, because its SDKs require them."""
    usage = usage or Usage()
    read, write = usage.cache_read_tokens, usage.cache_write_tokens
    fields: dict[str, object] = {
        # A report whose parts exceed its total must not become a negative count.
        "input_tokens": max(0, usage.input_tokens - read - write),
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "output_tokens": usage.output_tokens,
    }
    if write:
        hour = min(write, usage.cache_write_1h_tokens)
        fields["cache_creation"] = {
            "ephemeral_5m_input_tokens": write - hour,
            "ephemeral_1h_input_tokens": hour,
        }
    if usage.reasoning_tokens:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return fields


def decode(body: bytes, headers: Headers) -> Answer:
    """A whole 200 answer.

    Raises:
        BadUpstreamAnswer: it is no message, or holds a block that nobody asked for.
    """
    try:
        answer = _answer_decoder.decode(body)
        parts = tuple(_part(_block_decoder.decode(raw)) for raw in answer.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpstreamAnswer(f"the answer is not an Anthropic message: {error}") from error
    if answer.stop_reason is None:
        raise BadUpstreamAnswer("the answer has no stop_reason")
    choice = Choice(
        index=0, parts=parts, finish=finish_of(answer.stop_reason), stop_sequence=answer.stop_sequence
    )
    return Answer(
        id=answer.id,
        model=answer.model,
        created=date_of(headers),
        choices=(choice,),
        usage=usage_of(answer.usage),
        service_tier=answer.usage.service_tier if answer.usage else None,
    )


def date_of(headers: Headers) -> int:
    """The answer's `date` field as Unix seconds, 0 without one: a codec has no clock."""
    for name, value in headers:
        if name == b"date":
            try:
                return int(email.utils.parsedate_to_datetime(value.decode("latin-1")).timestamp())
            except (TypeError, ValueError, OverflowError):
                return 0
    return 0


def _part(block: wire.StartedBlock) -> Part:
    match block.type:
        case "text":
            return TextPart(text=block.text)
        case "thinking":
            return ReasoningPart(text=block.thinking, signature=block.signature or None)
        case "redacted_thinking":
            return ReasoningPart(redacted=block.data)
        case "tool_use":
            return ToolCallPart(id=block.id, name=block.name, arguments=text_of(block.input))
        case other:
            raise BadUpstreamAnswer(f"the answer holds a `{other[:64]}` block, which cannot be translated")


# --- rendering for clients ----------------------------------------------------------------------


def message_id(answer_id: str, request_id: str) -> str:
    """An id that begins with `msg_`, made of the upstream's own, or else of ours."""
    if answer_id.startswith("msg_"):
        return answer_id
    return "msg_" + _UNFIT.sub("", answer_id or request_id)[:64]


def render(answer: Answer, request: ChatRequest, request_id: str) -> bytes:
    """A message object.

    Raises:
        BadUpstreamAnswer: a tool call's arguments are not a JSON object.
    """
    choice = answer.choices[0] if answer.choices else None
    if choice is None:
        raise BadUpstreamAnswer("the answer has no choice")
    content: list[dict[str, object]] = []
    for part in choice.parts:
        content += _blocks(part, choice.finish)
    message = {
        "id": message_id(answer.id, request_id),
        "type": "message",
        "role": "assistant",
        "model": answer.model or request.model,
        "content": content,
        "stop_reason": STOP_REASONS[choice.finish],
        "stop_sequence": choice.stop_sequence,
        "usage": usage_fields(answer.usage),
    }
    return msgspec.json.encode(message)


def _blocks(part: Part, finish: FinishReason) -> list[dict[str, object]]:
    match part:
        case TextPart(text=text) | RefusalPart(text=text):
            return [{"type": "text", "text": text}] if text else []
        case ReasoningPart(redacted=str(data)):
            return [{"type": "redacted_thinking", "data": data}]
        case ReasoningPart(text=text, signature=signature):
            return [{"type": "thinking", "thinking": text, "signature": signature or ""}]
        case ToolCallPart():
            return _tool_use(part, finish)
        case _:
            raise BadUpstreamAnswer(f"the answer holds a {type(part).__name__}, which has no Anthropic block")


def _tool_use(part: ToolCallPart, finish: FinishReason) -> list[dict[str, object]]:
    arguments = object_of(part.arguments)
    if arguments is None:
        if finish is not FinishReason.LENGTH:
            raise BadUpstreamAnswer(
                f"the arguments of the tool call `{part.name[:64]}` are not a JSON object"
            )
        # Cut by the token limit: the call cannot be run, and `stop_reason` says why.
        arguments = msgspec.Raw(b"{}")
    block: dict[str, object] = {
        "type": "tool_use",
        "id": fit(part.id, ANTHROPIC),
        "name": part.name,
        "input": arguments,
    }
    if part.signature is None:
        return [block]
    # A tool_use block has no room for another provider's signature, but clients return every
    # block of a turn: it travels in a redacted block in front of the call.
    return [{"type": "redacted_thinking", "data": part.signature}, block]
