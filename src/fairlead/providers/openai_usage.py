"""Token counts of the OpenAI family, to and from the one meaning of `types.Usage`.

The same numbers have many spellings. Read here: OpenAI's chat, completions and
embeddings (`prompt_tokens`, with details), the Responses API (`input_tokens`),
images and transcriptions (which may count seconds),
DeepSeek's `prompt_cache_hit_tokens`, Moonshot's `cached_tokens`, SGLang's
`reasoning_tokens` beside the counts, and xAI, whose `completion_tokens` leave
reasoning out while `total_tokens` has it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.providers.raw import NOTHING, present
from fairlead.providers.tier import tier_of
from fairlead.types import Usage


class InputDetails(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What input tokens consist of."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class OutputDetails(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What output tokens consist of."""

    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None


class WireUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The union of what the family reports."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    reasoning_tokens: int | None = None
    prompt_tokens_details: InputDetails | None = None
    input_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    output_tokens_details: OutputDetails | None = None
    input_token_details: InputDetails | None = None
    seconds: float | None = None


class _Reported(msgspec.Struct, frozen=True, kw_only=True):
    usage: msgspec.Raw = NOTHING
    service_tier: msgspec.Raw = NOTHING


_DECODER: Final = msgspec.json.Decoder(WireUsage, strict=False)
_MOST_S: Final = 1e9
_NO_INPUT: Final = InputDetails()
_NO_OUTPUT: Final = OutputDetails()


def reported(body: bytes) -> Usage | None:
    """The usage of an answer that holds what cannot be used."""
    try:
        answer = msgspec.json.decode(body, type=_Reported)
        tier = msgspec.json.decode(answer.service_tier) if present(answer.service_tier) is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return read_usage(answer.usage, tier if isinstance(tier, str) else None)


def read_usage(value: msgspec.Raw, service_tier: str | None = None) -> Usage | None:
    """A usage object; None when it is absent, null, or holds no count we know.

    `service_tier` stands beside it in an answer.

    Usage is told beside an answer that is otherwise whole, so one that cannot
    be read is no reason to fail the answer.
    """
    there = present(value)
    if there is None:
        return None
    try:
        wire = _DECODER.decode(there)
    except msgspec.DecodeError:
        return None
    if wire.prompt_tokens is None and wire.input_tokens is None and wire.total_tokens is None:
        seconds = wire.seconds
        return Usage(audio_s=seconds) if seconds is not None and 0 <= seconds < _MOST_S else None
    return normalised(wire, tier_of(service_tier) if service_tier else "")


def normalised(wire: WireUsage, tier: str = "") -> Usage:
    """The counts with our meaning: input includes cached, output includes reasoning."""
    into = wire.prompt_tokens_details or wire.input_tokens_details or wire.input_token_details or _NO_INPUT
    out = wire.completion_tokens_details or wire.output_tokens_details or _NO_OUTPUT
    output_tokens = _count(wire.completion_tokens, wire.output_tokens)
    total_tokens = _count(wire.total_tokens)
    input_tokens = (
        total_tokens - output_tokens
        if wire.prompt_tokens is None and wire.input_tokens is None
        else _count(wire.prompt_tokens, wire.input_tokens)
    )
    reasoning_tokens = _count(out.reasoning_tokens, wire.reasoning_tokens)
    if reasoning_tokens and total_tokens == input_tokens + output_tokens + reasoning_tokens:
        output_tokens += reasoning_tokens
    return Usage(
        input_tokens=max(0, input_tokens),
        output_tokens=output_tokens,
        cache_read_tokens=_count(into.cached_tokens, wire.cached_tokens, wire.prompt_cache_hit_tokens),
        cache_write_tokens=_count(into.cache_write_tokens),
        reasoning_tokens=reasoning_tokens,
        audio_input_tokens=_count(into.audio_tokens),
        audio_output_tokens=_count(out.audio_tokens),
        image_input_tokens=_count(into.image_tokens),
        image_output_tokens=_count(out.image_tokens),
        service_tier=tier,
    )


def detailed(
    input_tokens: int,
    output_tokens: int,
    into: InputDetails | None,
    out: OutputDetails | None,
    service_tier: str | None,
) -> Usage:
    """The counts of a plain report with OpenAI's details."""
    into, out = into or _NO_INPUT, out or _NO_OUTPUT
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=_count(into.cached_tokens),
        cache_write_tokens=_count(into.cache_write_tokens),
        reasoning_tokens=_count(out.reasoning_tokens),
        audio_input_tokens=_count(into.audio_tokens),
        audio_output_tokens=_count(out.audio_tokens),
        image_input_tokens=_count(into.image_tokens),
        image_output_tokens=_count(out.image_tokens),
        service_tier=tier_of(service_tier) if service_tier else "",
    )


def _count(*candidates: int | None) -> int:
    for candidate in candidates:
        if candidate is not None:
            return max(0, candidate)
    return 0


class _ShownInput(msgspec.Struct, frozen=True, kw_only=True):
    cached_tokens: int
    cache_write_tokens: int
    audio_tokens: int


class _ShownOutput(msgspec.Struct, frozen=True, kw_only=True):
    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class ChatUsage(msgspec.Struct, frozen=True, kw_only=True):
    """`usage` of chat and text completions."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _ShownInput
    completion_tokens_details: _ShownOutput


def chat_usage(usage: Usage) -> ChatUsage:
    """Usage in the words of chat and text completions."""
    return ChatUsage(
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
        prompt_tokens_details=_ShownInput(
            cached_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            audio_tokens=usage.audio_input_tokens,
        ),
        completion_tokens_details=_ShownOutput(
            reasoning_tokens=usage.reasoning_tokens, audio_tokens=usage.audio_output_tokens
        ),
    )


class _ResponsesInput(msgspec.Struct, frozen=True, kw_only=True):
    cached_tokens: int
    cache_write_tokens: int


class _ResponsesOutput(msgspec.Struct, frozen=True, kw_only=True):
    reasoning_tokens: int


class ResponsesUsage(msgspec.Struct, frozen=True, kw_only=True):
    """`usage` of the Responses API."""

    input_tokens: int
    input_tokens_details: _ResponsesInput
    output_tokens: int
    output_tokens_details: _ResponsesOutput
    total_tokens: int


def responses_usage(usage: Usage) -> ResponsesUsage:
    """Usage in the words of the Responses API."""
    return ResponsesUsage(
        input_tokens=usage.input_tokens,
        input_tokens_details=_ResponsesInput(
            cached_tokens=usage.cache_read_tokens, cache_write_tokens=usage.cache_write_tokens
        ),
        output_tokens=usage.output_tokens,
        output_tokens_details=_ResponsesOutput(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.input_tokens + usage.output_tokens,
    )
