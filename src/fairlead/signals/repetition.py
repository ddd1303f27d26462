"""Whether an answer repeats itself: in places, or until it was stopped.

Three measures that miss different things. zlib sees any repetition in long
texts; the share of the most frequent run of words sees a phrase that comes
again and again; the period of the tail sees a loop that the model did not
leave. Tokens are words and signs, which is near enough to a model's.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from typing import Final

import msgspec

MAX_TOKENS: Final = 6000
"""Of a longer answer the end is looked at, where loops are."""
_RUN: Final = 4
_LONGEST_PERIOD: Final = 128
_LEAST_COPIES: Final = 3
_LEAST_COVERED: Final = 48
_ZLIB_FROM_BYTES: Final = 512
"""Shorter texts compress by chance."""
_SHARE_FROM_TOKENS: Final = 60
_DEGENERATE_RATIO: Final = 0.12
_DEGENERATE_SHARE: Final = 0.35
_TOKEN: Final = re.compile(r"\w+|[^\w\s]")


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a text is a repetition."""

    zlib_ratio: float
    """Compressed to plain size; 1.0 of texts too short to tell."""
    run_share: float
    """Part of the text that the most frequent run of four tokens makes up."""
    tail_period: int
    """Tokens after which the end repeats, at least three times over 48 tokens; 0 when it does not."""

    @property
    def degenerate(self) -> bool:
        """It repeats as hardly any meant text does. Tables of equal cells may."""
        return (
            self.tail_period > 0 or self.zlib_ratio < _DEGENERATE_RATIO or self.run_share > _DEGENERATE_SHARE
        )


def repetition(text: str) -> Repetition:
    """Measure a text."""
    tokens = _TOKEN.findall(text[-MAX_TOKENS * 8 :])[-MAX_TOKENS:]
    return Repetition(
        zlib_ratio=_zlib_ratio(text), run_share=_run_share(tokens), tail_period=_tail_period(tokens)
    )


def _zlib_ratio(text: str) -> float:
    data = text[-MAX_TOKENS * 8 :].encode("utf-8", "surrogatepass")
    if len(data) < _ZLIB_FROM_BYTES:
        return 1.0
    return len(zlib.compress(data, 6)) / len(data)


def _run_share(tokens: list[str]) -> float:
    if len(tokens) < _SHARE_FROM_TOKENS:
        return 0.0
    runs = Counter(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    most = max(runs.values())
    # A run that occurs once says nothing; overlapping ones cover fewer tokens than they count.
    return 0.0 if most < _LEAST_COPIES else min(most * _RUN / len(tokens), 1.0)


def _tail_period(tokens: list[str]) -> int:
    for period in range(1, min(_LONGEST_PERIOD, len(tokens) // _LEAST_COPIES) + 1):
        covered = period
        while covered < len(tokens) and tokens[-covered - 1] == tokens[-covered - 1 + period]:
            covered += 1
        if covered >= _LEAST_COVERED and covered >= _LEAST_COPIES * period:
            return period
    return 0
