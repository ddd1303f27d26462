"""An alert budget, "2 false pages a month", as levels of significance.

Tests that are made again and again raise false alarms at any fixed level. The
budget of a 30-day month is spent evenly: `daily_alpha` a day, so that the
expected number of days with a false alarm is at most the budget, and the
expected time to the first one, from any day on, at least 1/alpha days.

Within a day each hypothesis (a rule and a group) may be looked at a fixed
number of times, equally spaced; its p-value of the day is the smallest seen,
times that number (Bonferroni), so it only falls while the day goes on. Over
all hypotheses Holm's procedure controls the chance of any false alarm that
day, whatever their dependence. As the p-values of the day only fall, what Holm
rejects at noon it would reject at midnight: looking early costs nothing.

`detector_threshold` is for evidence that adds up over days: a Shiryaev-Roberts
e-detector (Shin, Ramdas, Rinaldo, "E-detectors: a nonparametric framework for
sequential change detection", New England Journal of Statistics in Data Science
2, 2024), whose mean number of looks to a false alarm is at least its threshold.
P-values become e-values by p -> 1 / (2 sqrt p).

Both hold where a p-value, given what was seen before, is no smaller than
uniform when nothing has changed. Whether it is, is up to the test that gives it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

MONTH_DAYS: Final = 30.0
DAY_S: Final = 86_400.0
_SMALLEST: Final = 1e-15
_LARGEST: Final = 1e12
STILL: Final = 0.05
"""An alarm is over when its latest look shows no more than what one in twenty does by accident."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one hypothesis. Persisted."""

    day: int = -1
    p: float = 1.0
    """Of the day, all looks considered."""
    latest: float = 1.0
    """Of the last look, alone."""
    looked_at: float = -math.inf
    seen: float | None = None
    """What the p-value was known by: one comparison is looked at once."""
    detector: float = 0.0


def daily_alpha(false_per_month: float) -> float:
    """The level of one day."""
    return min(false_per_month / MONTH_DAYS, 0.5)


def may_look(evidence: Evidence, looks_per_day: int, now: float) -> bool:
    """Whether another look is due at `now`, in seconds of watched time."""
    return now - evidence.looked_at >= DAY_S / looks_per_day - 1e-6


def look(
    evidence: Evidence, p: float, looks_per_day: int, now: float, *, seen: float | None = None
) -> Evidence:
    """Take a look's p-value into account; the caller has asked `may_look`."""
    p = p if p == p else 1.0  # not a number: nothing was seen
    p = min(max(p, 0.0), 1.0)
    day = int(now // DAY_S)
    before = evidence.p if day == evidence.day else 1.0
    return Evidence(
        day=day,
        p=min(before, p * looks_per_day, 1.0),
        latest=p,
        looked_at=now,
        seen=seen,
        detector=min((evidence.detector + 1.0) * e_value(p), _LARGEST),
    )


def e_value(p: float) -> float:
    """An e-value of a p-value: its mean is 1 where the p-value is uniform."""
    return 0.5 / math.sqrt(max(p, _SMALLEST))


def detector_threshold(false_per_month: float, looks_per_day: int) -> float:
    """Where an e-detector raises its alarm, to raise at most so many false ones in a month."""
    return MONTH_DAYS * looks_per_day / false_per_month


def holm(p_values: Mapping[str, float], alpha: float, *, count: int = 0) -> frozenset[str]:
    """The hypotheses that Holm's procedure rejects.

    Args:
        p_values: by hypothesis.
        alpha: the chance of rejecting any true one.
        count: hypotheses there are, when some have no p-value yet (which counts as 1).
    """
    count = max(count, len(p_values))
    rejected = set()
    for index, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        if p_values[name] > alpha / (count - index):
            break
        rejected.add(name)
    return frozenset(rejected)


def alarms(
    daily: Mapping[str, Evidence],
    detectors: Mapping[str, tuple[Evidence, int]],
    false_per_month: float,
    now: float,
) -> frozenset[str]:
    """The hypotheses that raise an alarm, within the budget that all of them share.

    Args:
        daily: hypotheses tested day by day, all of them.
        detectors: those whose evidence adds up, with their looks a day.
        false_per_month: the budget.
        now: in seconds of watched time.
    """
    count = len(daily) + len(detectors)
    if not count:
        return frozenset()
    day = int(now // DAY_S)
    today = {name: one.p for name, one in daily.items() if one.day == day}
    alpha = daily_alpha(false_per_month * len(daily) / count)
    raised = {name for name in holm(today, alpha, count=len(daily)) if daily[name].latest <= STILL}
    for name, (one, looks) in detectors.items():
        if one.detector >= detector_threshold(false_per_month / count, looks) and one.latest <= 0.5:
            raised.add(name)
    return frozenset(raised)
