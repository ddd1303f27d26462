"""The slow and obvious store: every number is added up anew from what happened.

Levels of rates are exact fractions that leak; what is reserved or held is
summed over the open reservations; a window's spending is a sum over
settlements. Hour windows in UTC only.
"""

from __future__ import annotations

from fractions import Fraction

from fairlead.limits.quota import Limit, What

HOUR_US = 3_600_000_000


class Oracle:
    def __init__(self) -> None:
        self.now = 0
        self.levels: dict[str, Fraction] = {}
        self.spent: dict[tuple[str, int], int] = {}
        self.open: dict[str, tuple[int, int, list[tuple[Limit, int]]]] = {}
        """By request: when it expires, when it was made, what it holds."""
        self.expired: dict[str, tuple[int, int, list[tuple[Limit, int]]]] = {}
        self.limits: dict[str, Limit] = {}

    def advance(self, now: int) -> None:
        """Go on to a moment, through every expiry on the way."""
        for expires, name in sorted((entry[0], name) for name, entry in self.open.items()):
            if expires <= now:
                # The store notices an expiry when it is next called, which is now.
                self._leak(now)
                entry = self.open.pop(name)
                for limit, cost in entry[2]:
                    if limit.what is What.TOKENS:
                        self._refund(limit, cost)
                self.expired[name] = entry
        self._leak(now)
        self.expired = {name: entry for name, entry in self.expired.items() if entry[0] + HOUR_US > now}

    def _leak(self, now: int) -> None:
        for name, level in self.levels.items():
            limit = self.limits[name]
            leaked = Fraction(limit.amount * (now - self.now), limit.period_s * 1_000_000)
            self.levels[name] = max(Fraction(0), level - leaked)
        self.now = now

    def _refund(self, limit: Limit, cost: int) -> None:
        self.levels[limit.id] = max(Fraction(0), self.levels[limit.id] - cost)

    def used(self, limit: Limit) -> Fraction | int:
        """As `State.used`, rates not rounded."""
        if limit.what is What.CONCURRENT:
            return sum(c for _, _, held in self.open.values() for one, c in held if one.id == limit.id)
        if limit.what is What.USD:
            return self.spent.get((limit.id, self.now // HOUR_US), 0)
        return self.levels.get(limit.id, Fraction(0))

    def reserved(self, limit: Limit) -> int:
        """As `State.reserved`."""
        if limit.what is not What.USD:
            return 0
        return sum(
            cost
            for _, made, held in self.open.values()
            for one, cost in held
            if one.id == limit.id and made // HOUR_US == self.now // HOUR_US
        )

    def fits(self, limit: Limit, cost: int) -> bool:
        return self.used(limit) + self.reserved(limit) + cost <= limit.ceiling

    def admit(self, request: str, wants: list[tuple[Limit, int]], ttl_us: int) -> bool:
        """Whether it is admitted."""
        for limit, _ in wants:
            self.limits[limit.id] = limit
        if request in self.open:
            return True
        fitting = [(limit, cost) for limit, cost in wants if self.fits(limit, cost)]
        if any(not limit.shadow for limit, cost in wants if (limit, cost) not in fitting):
            return False
        for limit, cost in fitting:
            if limit.what in (What.REQUESTS, What.TOKENS):
                self.levels[limit.id] = self.levels.get(limit.id, Fraction(0)) + cost
        self.open[request] = (self.now + ttl_us, self.now, fitting)
        self.expired.pop(request, None)
        return True

    def settle(self, request: str, costs: dict[str, int]) -> None:
        entry, late = self.open.pop(request, None), False
        if entry is None:
            entry, late = self.expired.pop(request, None), True
        if entry is None:
            return
        _, made, held = entry
        for limit, cost in held:
            reserved = 0 if late and limit.what is not What.REQUESTS else cost
            actual = costs.get(limit.id, reserved)
            if limit.what is What.USD:
                window = (limit.id, made // HOUR_US)
                self.spent[window] = self.spent.get(window, 0) + actual
            elif limit.what is not What.CONCURRENT:
                if actual >= reserved:
                    self.levels[limit.id] += actual - reserved
                else:
                    self._refund(limit, reserved - actual)

    def release(self, request: str) -> None:
        entry, late = self.open.pop(request, None), False
        if entry is None:
            entry, late = self.expired.pop(request, None), True
        for limit, cost in entry[2] if entry else ():
            if limit.what is What.REQUESTS or (limit.what is What.TOKENS and not late):
                self._refund(limit, cost)
