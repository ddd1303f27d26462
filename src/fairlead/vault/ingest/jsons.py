"""JSON as an untrusted format: bounded, strict, and with keys that occur once."""

from __future__ import annotations

import json
from typing import Final

from fairlead.vault.ingest.verdict import Stopped, shown

MAX_BYTES: Final = 256 << 20
MAX_DEPTH: Final = 64


class _Again(ValueError):
    """A key occurs twice."""


def parse(raw: bytes, rule: str, *, unique: bool) -> object:
    """The value of a JSON text.

    Args:
        raw: UTF-8.
        rule: the rule that a finding belongs to.
        unique: whether a key that occurs twice in one object is a finding; readers differ in which counts.

    Raises:
        Stopped: it is not JSON, too large, too deep, or has a key twice.
    """
    if len(raw) > MAX_BYTES:
        raise Stopped("limits", "", f"JSON of more than {MAX_BYTES} bytes")

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        values = dict(found)
        if unique and len(values) != len(found):
            raise _Again(next(key for key, _ in found if sum(key == other for other, _ in found) > 1))
        return values

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=pairs)
    except _Again as again:
        raise Stopped(
            rule, shown(str(again)), "the key occurs twice, and readers differ in which one counts"
        ) from None
    except (ValueError, RecursionError):
        raise Stopped(rule, "", "it is not valid JSON, or nested too deep") from None
