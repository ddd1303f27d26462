"""How long an upstream asks us to wait.

Read in this order: `retry-after-ms`, `retry-after` (seconds or an HTTP date),
and for a 429 the `x-ratelimit-reset-*` fields of whatever is used up. No clock
is read: `now` is an argument, and the answer's own `date` field stands in for
it where the caller has none, which also cancels a skew between the clocks.
"""

from __future__ import annotations

import email.utils
import math
import re
from datetime import datetime
from typing import Final

from fairlead.types import Headers

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s|d)")
_UNIT_S: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def retry_after_s(headers: Headers, *, now: float | None = None, rate_limited: bool = False) -> float | None:
    """Seconds until the same call may succeed; None when the upstream does not say.

    Args:
        headers: the answer's fields, names in lower case.
        now: Unix seconds; the answer's `date` field when None.
        rate_limited: read `x-ratelimit-reset-*` too.
    """
    fields = {name: value.decode("latin-1").strip() for name, value in headers}
    if now is None:
        now = _http_date(fields.get(b"date", ""))
    milliseconds = _number(fields.get(b"retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    wanted = fields.get(b"retry-after")
    if wanted is not None:
        seconds = _number(wanted)
        if seconds is not None:
            return seconds
        at = _http_date(wanted)
        if at is not None and now is not None:
            return max(0.0, at - now)
    return _reset(fields, now) if rate_limited else None


def parse_reset(text: str, now: float | None) -> float | None:
    """Seconds until a limit resets: `12`, `1.5`, `6m0s`, `20ms` or an RFC 3339 time."""
    seconds = _number(text)
    if seconds is not None:
        return seconds
    total, end = 0.0, 0
    for match in _DURATION.finditer(text):
        if match.start() != end:
            break
        total += float(match[1]) * _UNIT_S[match[2]]
        end = match.end()
    if text and end == len(text):
        return total
    if now is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now) if at.tzinfo is not None else None


def _reset(fields: dict[bytes, str], now: float | None) -> float | None:
    """The longest reset among what is used up, or the shortest of all when nothing says so."""
    used_up: list[float] = []
    known: list[float] = []
    for name, text in fields.items():
        if not name.startswith(b"x-ratelimit-reset-"):
            continue
        seconds = parse_reset(text, now)
        if seconds is None:
            continue
        known.append(seconds)
        remaining = fields.get(b"x-ratelimit-remaining-" + name.removeprefix(b"x-ratelimit-reset-"))
        if remaining is not None and _number(remaining) == 0.0:
            used_up.append(seconds)
    if used_up:
        return max(used_up)
    return min(known, default=None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _http_date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
