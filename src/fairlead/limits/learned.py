"""How long the answers of a key and model were: what to reserve when a request does not say.

The 95th percentile of the last answers, so that nineteen of twenty reserve
enough and no request blocks a limit with a model's largest output. Bounded:
the pairs that were not used for longest are forgotten.
"""

from __future__ import annotations

import math
from typing import Final

_LONGEST_MODEL: Final = 256
"""Longer names are invented to fill the memory."""
_RING: Final = 64
"""Answers remembered of each pair."""
_FEWEST: Final = 8
"""Answers before they are believed."""
_EVERY: Final = 8
"""Answers between two computations of the percentile."""
_QUANTILE: Final = 0.95


class _Ring:
    __slots__ = ("age", "expected", "tokens")

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.age = 0
        """Answers since the beginning; the next one's place is this modulo the length."""
        self.expected: int | None = None


class LearnedOutput:
    """Output tokens by key and model."""

    def __init__(self, most_pairs: int = 10_000) -> None:
        """Remember at most that many pairs."""
        self._most_pairs = most_pairs
        self._rings: dict[tuple[str, str], _Ring] = {}

    def __len__(self) -> int:
        return len(self._rings)

    def observe(self, key_id: str, model: str, tokens: int) -> None:
        """Count one whole answer."""
        if len(model) > _LONGEST_MODEL:
            return
        pair = (key_id, model)
        # Taken out and put back, a pair is the youngest: the dict's order is that of use.
        ring = self._rings.pop(pair, None) or _Ring()
        self._rings[pair] = ring
        if len(self._rings) > self._most_pairs:
            del self._rings[next(iter(self._rings))]
        if len(ring.tokens) < _RING:
            ring.tokens.append(tokens)
        else:
            ring.tokens[ring.age % _RING] = tokens
        ring.age += 1
        if ring.age >= _FEWEST and ring.age % _EVERY == 0:
            ring.expected = _quantile(ring.tokens)

    def expected(self, key_id: str, model: str) -> int | None:
        """The 95th percentile, up to seven answers old; None when too few were seen."""
        ring = self._rings.get((key_id, model))
        return None if ring is None else ring.expected


def _quantile(tokens: list[int]) -> int:
    """The nearest rank: a value that did occur."""
    ranked = sorted(tokens)
    return ranked[math.ceil(_QUANTILE * len(ranked)) - 1]
