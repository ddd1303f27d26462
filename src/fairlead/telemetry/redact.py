"""Takes secrets out of text that is about to be logged.

A net under the rule that nothing logs a secret: it knows the shapes of API
keys and of the headers and URLs that carry them, and errs towards hiding too
much.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[redacted]"

_SECRETS: Final = re.compile(
    # Authorization values, whatever shape the key itself has.
    r"(?P<scheme>(?i:\b(?:Bearer|Basic))\s+)[A-Za-z0-9._~+/=-]{6,}"
    # Headers, parameters and fields named for what they hold.
    r"|(?P<name>(?i:api[-_]?key|access[-_]token|client[-_]secret|secret[-_]access[-_]key|"
    r"session[-_]token|password)[\"']?\s*[:=]\s*[\"']?)[^\s\"'&,;}\[]{4,}"
    # The user and password of a URL.
    r"|(?P<url>\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+(?=@)"
    # Keys by their prefix: ours, OpenAI's and Anthropic's, Google's, Groq's, xAI's, Hugging Face's, AWS'.
    r"|\b(?:(?:sk|fl)-[A-Za-z0-9_-]{8,}|AIza[A-Za-z0-9_-]{20,}|(?:gsk_|xai-|hf_)[A-Za-z0-9_-]{8,}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,})"
)


def redact(text: str) -> str:
    """`text` with `[redacted]` in place of whatever looks like a credential."""
    return _SECRETS.sub(_hidden, text)


def _hidden(match: re.Match[str]) -> str:
    return (match["scheme"] or match["name"] or match["url"] or "") + HIDDEN
