"""The `/v1/rerank` API of Jina, Cohere and vLLM.

The three take the same request and differ little in the answer, so calls are
passed through; read here is only what a record needs. Usage comes as
`usage.total_tokens` (Jina, vLLM) or `meta.tokens` (Cohere).
"""

from __future__ import annotations

import msgspec

from fairlead.providers.dialect import Glimpse
from fairlead.providers.openai_errors import failure_of, is_error
from fairlead.providers.openai_usage import read_usage
from fairlead.providers.raw import NOTHING
from fairlead.types import Failure, FailureKind, Usage


class _Tokens(msgspec.Struct, frozen=True, kw_only=True):
    input_tokens: float = 0
    output_tokens: float = 0


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    tokens: _Tokens | None = None


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    results: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING
    meta: _Meta | None = None
    model: str | None = None
    error: msgspec.Raw = NOTHING
    object: str | None = None


def glance(body: bytes) -> Glimpse:
    """Usage, model and failure of a whole native answer."""
    glimpse = Glimpse()
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = _Answer()
    if is_error(answer.error, answer.object):
        glimpse.failure = failure_of(200, [], body)
        return glimpse
    if not bytes(answer.results).startswith(b"["):
        glimpse.failure = Failure(
            kind=FailureKind.BAD_ANSWER, message="the upstream's answer holds no `results`"
        )
        return glimpse
    glimpse.model = answer.model or ""
    glimpse.usage = read_usage(answer.usage)
    tokens = answer.meta.tokens if answer.meta else None
    if glimpse.usage is None and tokens is not None:
        glimpse.usage = Usage(input_tokens=int(tokens.input_tokens), output_tokens=int(tokens.output_tokens))
    glimpse.finish_reason = "stop"
    glimpse.ended = True
    return glimpse
