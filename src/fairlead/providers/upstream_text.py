"""What an upstream says about a failure, made fit to be shown.

Error texts of providers go into answers, logs and records, and some echo the
credential they refused. Texts are cut to a bound, freed of control characters
and of everything that looks like a credential.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MAX_CHARS: Final = 600

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CREDENTIAL: Final = re.compile(
    r"""
      \bsk-[\w*.-]{6,}                             # OpenAI, Anthropic
    | \bAIza[\w*-]{10,}                            # Google
    | \b(?:AKIA|ASIA)[A-Z0-9*]{8,}                 # AWS access key ids
    | (?i:\bbearer\s+)[^\s"',]{6,}
    | (?i:\b(?:x-)?api[-_ ]?key["'\s:=]+)(?=[\w-]*\d)[\w*.-]{8,}
    | (?i:\bsignature=)[0-9a-f]{16,}
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*               # JSON web tokens
    """,
    re.VERBOSE,
)


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    error: dict[str, msgspec.Raw]


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)


def is_error_envelope(body: bytes) -> bool:
    """Whether a body is an error as the SDKs of OpenAI and Anthropic read it: `{"error": {...}}`.

    Engines that are built on FastAPI answer `{"detail": ...}` for some mistakes, older ones a bare
    `{"message": ...}`; an SDK shows its user nothing of those but the status.
    """
    try:
        return bool(_ENVELOPE.decode(body).error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def presentable(text: str) -> str:
    """`text` on one line, bounded, without credentials."""
    # Cut first: the patterns never see more than a bounded text.
    line = _CONTROL.sub(" ", text[: MAX_CHARS * 4]).strip()
    line = _CREDENTIAL.sub("[redacted]", line)
    return line if len(line) <= MAX_CHARS else line[: MAX_CHARS - 3] + "..."


def body_excerpt(body: bytes) -> str:
    """What can be told of a body that is not the dialect: its start, or what it seems to be."""
    if not body.strip():
        return "the body is empty"
    start = body.lstrip()[:256].lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<body")):
        title = re.search(rb"<title[^>]*>([^<]{1,200})", body[:8192], re.IGNORECASE)
        suffix = f": {presentable(title[1].decode('utf-8', 'replace'))}" if title else ""
        return f"an HTML page{suffix}"
    return presentable(body[: MAX_CHARS * 4].decode("utf-8", "replace"))
