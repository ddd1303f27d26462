"""Patterns of names and versions in rules: `fraud/scorer`, `fraud/*`, `fraud/v2-*`, `fraud/**`.

`*` stands for any part of one segment, at most one in each; `**`, alone and
last, for one or more whole segments. A pattern is checked by the rules of
names themselves, so one that no name could ever match is an error and not a
rule that silently says nothing. Matched are the parts of a parsed `Ref` only:
text from a request never comes here, so nothing is decoded, folded or
normalised. Pure.
"""

from __future__ import annotations

from fairlead.config import vault_policy_rules
from fairlead.errors import InvalidRequest

Segments = tuple[tuple[str, str] | str, ...]
"""Each a literal, or what stands before and behind the star."""


class Pattern:
    """A pattern, taken apart once."""

    __slots__ = ("_rest", "_segments", "text")

    def __init__(self, text: str) -> None:
        """Raises InvalidRequest when no name could match, or stars stand where they may not."""
        if not vault_policy_rules.is_pattern(text):
            raise InvalidRequest(
                f"{text[:80]!a} is no pattern of names", hint=vault_policy_rules.PATTERN_HINT
            )
        self.text = text
        segments = text.split("/")
        self._rest = segments[-1] == "**"
        if self._rest:
            segments.pop()
        self._segments: Segments = tuple(_parted(segment) for segment in segments)

    @property
    def is_everything(self) -> bool:
        """Whether it matches every name there can be."""
        return self._rest and not self._segments

    def matches(self, name: str) -> bool:
        """Whether a name, from a parsed reference, is one of those."""
        parts = name.split("/")
        count = len(self._segments)
        if len(parts) <= count if self._rest else len(parts) != count:
            return False
        return all(_fits(segment, part) for segment, part in zip(self._segments, parts, strict=False))


def _parted(segment: str) -> tuple[str, str] | str:
    before, star, behind = segment.partition("*")
    return (before, behind) if star else segment


def _fits(segment: tuple[str, str] | str, part: str) -> bool:
    if isinstance(segment, str):
        return part == segment
    before, behind = segment
    return len(part) >= len(before) + len(behind) and part.startswith(before) and part.endswith(behind)
