"""What a provider's answer tells of its rate limits, for `limits.provider_rate`.

Two families of header fields: `x-ratelimit-limit-tokens` (OpenAI, Azure, Groq
and most compatible ones) and `anthropic-ratelimit-tokens-limit`.
"""

from __future__ import annotations

import math
from typing import Final

from fairlead.limits.provider_rate import RateFacts
from fairlead.providers.retry_after import parse_reset
from fairlead.types import Headers

_MARK: Final = b"ratelimit-"


def rate_facts(headers: Headers, now: float) -> tuple[RateFacts | None, RateFacts | None]:
    """Facts of tokens and of requests; None where the answer says nothing.

    Args:
        headers: the answer's fields, names in lower case.
        now: Unix seconds, for resets told as a time.
    """
    fields = {name: value for name, value in headers if _MARK in name}
    if not fields:
        return None, None
    return _facts(fields, b"tokens", now), _facts(fields, b"requests", now)


def _facts(fields: dict[bytes, bytes], what: bytes, now: float) -> RateFacts | None:
    limit = _number(_field(fields, b"limit", what))
    if limit is None:
        return None
    reset = _field(fields, b"reset", what)
    return RateFacts(
        limit=limit,
        remaining=_number(_field(fields, b"remaining", what)),
        reset_s=parse_reset(reset.decode("latin-1").strip(), now) if reset is not None else None,
    )


def _field(fields: dict[bytes, bytes], which: bytes, what: bytes) -> bytes | None:
    found = fields.get(b"x-ratelimit-%b-%b" % (which, what))
    return found if found is not None else fields.get(b"anthropic-ratelimit-%b-%b" % (what, which))


def _number(text: bytes | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0.0 else None
