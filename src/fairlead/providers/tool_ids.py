"""Tool call ids that fit the target.

Anthropic accepts `[a-zA-Z0-9_-]+`, Bedrock at most 64 characters, while
engines emit ids like `functions.search:0`. An id that does not fit is replaced
by one derived from it, so that a call and its result keep matching without
anything being remembered.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

ANTHROPIC: Final = re.compile(r"[a-zA-Z0-9_-]+")
BEDROCK: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9_-]")


def fit(call_id: str, allowed: re.Pattern[str]) -> str:
    """`call_id` itself when it is allowed, else a readable stem and a digest of it, 49 characters at most."""
    if allowed.fullmatch(call_id):
        return call_id
    stem = _UNFIT.sub("_", call_id)[:32]
    return f"{stem}_{hashlib.sha256(call_id.encode()).hexdigest()[:16]}"
