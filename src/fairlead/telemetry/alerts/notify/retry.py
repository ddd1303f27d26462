"""What to do when a notification was not taken: again later, or never. Pure."""

from __future__ import annotations

import email.utils
import enum
from typing import Final

import msgspec

_FIRST_S: Final = 2.0
_LONGEST_S: Final = 600.0
_LONGEST_ASKED_S: Final = 3600.0
"""Longest pause that a receiver may ask for."""
_AGAIN: Final = frozenset({408, 425, 429})
"""Refusals that may be over later; any other 4xx needs somebody to mend something."""


class Result(enum.StrEnum):
    """How a sending ended."""

    SENT = "sent"
    RETRY = "retry"
    REFUSED = "refused"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a sending."""

    result: Result
    status: int | None = None
    detail: str = ""
    """In words, without secrets."""
    retry_after_s: float | None = None


def of_status(status: int, detail: str, retry_after: bytes | None, now: float) -> Answer:
    """What an HTTP status means; `now` in Unix seconds."""
    if 200 <= status < 300:
        return Answer(result=Result.SENT, status=status)
    again = status >= 500 or status in _AGAIN
    return Answer(
        result=Result.RETRY if again else Result.REFUSED,
        status=status,
        detail=detail,
        retry_after_s=asked_s(retry_after, now) if again else None,
    )


def asked_s(value: bytes | None, now: float) -> float | None:
    """The pause that a `retry-after` header asks for: seconds or a date; None when it is neither."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_ASKED_S)
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(at - now, 0.0), _LONGEST_ASKED_S)


def pause_s(attempts: int, answer: Answer, roll: float) -> float:
    """The wait before the next attempt after `attempts` failed ones; `roll` is in [0, 1).

    Doubles up to ten minutes, with half of it left to chance, so that gateways
    do not come back all at once. What the receiver asks for is the least.
    """
    pause = min(_FIRST_S * float(1 << min(max(attempts, 1) - 1, 16)), _LONGEST_S)
    pause *= 0.5 + roll / 2
    return max(pause, answer.retry_after_s or 0.0)
