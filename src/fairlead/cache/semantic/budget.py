"""What finding out may cost: a number an hour, and money a day. Pure: `now` is Unix seconds.

Asked before anybody is: whether a comparison can be afforded must not depend
on what it would say, or what is verified would be no fair sample.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

_DAY_S: Final = 86_400.0


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered over a restart."""

    day: int = 0
    """Days since 1970, UTC."""
    microusd: int = 0


class Budget:
    """Of one route, in one process."""

    def __init__(self, *, per_hour: float, microusd_per_day: int, spent: Spent | None = None) -> None:
        """Allow `per_hour` comparisons that somebody must be asked for, and so much money a day."""
        self._per_hour = max(per_hour, 1.0)
        self._per_day = microusd_per_day
        self.spent = spent or Spent()
        self._credit = self._per_hour
        self._at: float | None = None

    def configure(self, *, per_hour: float, microusd_per_day: int) -> None:
        """Take other limits; what was spent stays spent."""
        self._per_hour = max(per_hour, 1.0)
        self._per_day = microusd_per_day
        self._credit = min(self._credit, self._per_hour)

    def allows(self, expected_microusd: int, now: float, *, spare: bool = False) -> bool:
        """Whether somebody may be asked once more, at about this cost; takes the place if so.

        `spare` is for what only teaches the model: it leaves half of everything for what the bound needs.
        """
        since = 0.0 if self._at is None else max(now - self._at, 0.0)
        self._at = now if self._at is None else max(now, self._at)
        self._credit = min(self._credit + since * self._per_hour / 3600.0, self._per_hour)
        day = math.floor(now / _DAY_S)
        if day > self.spent.day:
            self.spent = Spent(day=day)
        money = self._per_day // 2 if spare else self._per_day
        least = 1.0 + self._per_hour / 2 if spare else 1.0
        if self._credit < least or self.spent.microusd + expected_microusd > money:
            return False
        self._credit -= 1.0
        return True

    def pay(self, microusd: int) -> None:
        """Somebody was asked, and it cost so much."""
        self.spent = Spent(day=self.spent.day, microusd=self.spent.microusd + max(microusd, 0))
