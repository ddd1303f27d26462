"""Reads answers that are no conversation (embeddings, rankings, moderations) in passing."""

from __future__ import annotations

import msgspec

from fairlead.providers.dialect import Glimpse
from fairlead.providers.raw import NOTHING, present
from fairlead.types import Failure, FailureKind, Usage


class _Usage(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: int = 0
    input_tokens: int = 0
    total_tokens: int = 0


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    model: str = ""
    usage: _Usage | None = None
    error: msgspec.Raw = NOTHING


_DECODER = msgspec.json.Decoder(_Answer)


def glance_any(body: bytes) -> Glimpse:
    """Model and usage of any JSON answer; a failure when it is an error or no JSON object."""
    glimpse = Glimpse()
    try:
        answer = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "the answer is not a JSON object of this API"
        glimpse.failure = Failure(kind=FailureKind.BAD_ANSWER, message=message)
        return glimpse
    if present(answer.error) not in (None, b"{}", b'""'):
        message = "the upstream reported an error in a 200 answer"
        glimpse.failure = Failure(kind=FailureKind.BAD_ANSWER, message=message)
        return glimpse
    usage = answer.usage
    if usage is not None:
        tokens = usage.prompt_tokens or usage.input_tokens or usage.total_tokens
        glimpse.usage = Usage(input_tokens=tokens)
    glimpse.model = answer.model
    glimpse.finish_reason = "stop"
    glimpse.ended = True
    return glimpse
