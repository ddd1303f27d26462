"""How fast an error budget burns, and which windows to look at.

The method and its windows are those of Google's "The Site Reliability
Workbook" (Beyer et al., O'Reilly 2018), chapter 5, "Alerting on SLOs", table
5-8: an alert needs the budget of 30 days to burn faster than a factor over a
long window, which says that it matters, and over a short one, which says that
it still does, so that the alert ends soon after the trouble.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from fairlead.config.alert_options import BurnWindow

WORKBOOK: Final = (
    BurnWindow(long_s=3600.0, short_s=300.0, burn=14.4, severity="page"),
    BurnWindow(long_s=21_600.0, short_s=1800.0, burn=6.0, severity="page"),
    BurnWindow(long_s=259_200.0, short_s=21_600.0, burn=1.0, severity="ticket"),
)
"""2 % of a 30-day budget in an hour, 5 % in six hours, 10 % in three days."""


class Burning(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of windows and how fast the budget burns over them."""

    pair: BurnWindow
    long: float
    short: float

    @property
    def holds(self) -> bool:
        """Whether both are above the pair's factor."""
        return self.long > self.pair.burn and self.short > self.pair.burn

    @property
    def excess(self) -> float:
        """How many times the factor the slower of the two is."""
        return min(self.long, self.short) / self.pair.burn


def of_ratio(bad: float, total: float, objective: float) -> float:
    """The burn rate of `bad` of `total` against the share that must be good; 0.0 of nothing."""
    if total <= 0:
        return 0.0
    return min(max(bad / total, 0.0), 1.0) / (1.0 - objective)


def of_spend(spent: float, window_s: float, budget: float, period_s: float) -> float:
    """The burn rate of money against an even spend of `budget` in `period_s`."""
    allowed = budget * window_s / period_s
    if allowed <= 0:
        return 0.0 if spent <= 0 else float("inf")
    return max(spent, 0.0) / allowed


def of_budget(used: float, used_before: float, amount: float, window_s: float, period_s: float) -> float:
    """The burn rate of a budget that begins anew each period: it is used, and was used less before."""
    spent = used - used_before if used >= used_before else used
    return of_spend(spent, window_s, amount, period_s)


def worst(pairs: Iterable[BurnWindow], rate: Callable[[float], float]) -> dict[str, Burning]:
    """For each severity the pair that burns most, relative to its factor. `rate` takes a window."""
    found: dict[str, Burning] = {}
    for pair in pairs:
        burning = Burning(pair=pair, long=rate(pair.long_s), short=rate(pair.short_s))
        before = found.get(pair.severity)
        if before is None or burning.excess > before.excess:
            found[pair.severity] = burning
    return found
