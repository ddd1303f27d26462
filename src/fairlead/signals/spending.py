"""From "two false alarms a month" to the level of one test.

Every series earns significance with time, an equal part of the whole, and
spends what it has earned at its next test. By the union bound the expected number of
false alarms is at most what was stated, however many tests there are and however
they depend on each other. What is not spent within a day is lost.
"""

from __future__ import annotations

import math
from typing import Final

from fairlead.signals.permute import MOST

MONTH_S: Final = 30 * 86_400.0
_LONGEST_S: Final = 86_400.0
_SETTLED: Final = 6
"""Tests in one comparison."""
LEAST: Final = 5 * _SETTLED / MOST
"""Below this level no number of permutations would tell: a comparison waits until it has been earned."""


def level(per_month: float, series: int, since_s: float) -> float:
    """The level that one of `series` has earned in so many seconds since its last test; at most 0.05."""
    earned = per_month / MONTH_S / max(series, 1) * min(max(since_s, 0.0), _LONGEST_S)
    return min(earned, 0.05)


def permutations(alpha: float) -> int:
    """How many are enough to tell at a level: four may reach what was observed, and it is still an alarm."""
    return min(math.ceil(5 * _SETTLED / alpha), MOST)


def score(p: float, alpha: float) -> float:
    """How strong the evidence is, in terms of what the level asks for: an alarm from 1.0."""
    return max(math.log(max(p, 1e-12)) / math.log(alpha), 0.0)
