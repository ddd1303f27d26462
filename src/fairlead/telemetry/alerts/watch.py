"""What alerts need to know of limits: crossings of `warn_at`, and how budgets stand.

A sink of the recorder for the one, told by the limiter for the other; both
come out as readings among the gateway's metrics. Bounded, and without a clock:
a crossing is shown until its window ends, by the `now` of whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fairlead.telemetry.alerts.facts import BUDGET_AMOUNT, BUDGET_USED, LIMIT_METRIC
from fairlead.telemetry.labels import clean
from fairlead.telemetry.metrics.readings import Reading
from fairlead.types import RequestRecord

_MOST: Final = 1000
_BUDGET: Final = "/usd:"


class LimitWatch:
    """The limits of one process that are nearly used up, and its budgets."""

    def __init__(self) -> None:
        self._crossed: dict[str, tuple[float, float]] = {}
        self._budgets: dict[str, tuple[int, int]] = {}

    def crossed(self, limit: str, fraction: float, until: float, now: float) -> None:
        """A limit has reached a fraction of its amount, which matters `until` then; Unix seconds."""
        self._crossed = {name: entry for name, entry in self._crossed.items() if now < entry[0]}
        if limit in self._crossed or len(self._crossed) < _MOST:
            self._crossed[limit] = (until, fraction)

    @property
    def backlog(self) -> int:
        """Always 0: what is taken is noted."""
        return 0

    async def commit(self) -> None:
        """Nothing to do: what is taken is noted."""

    def take(self, records: Iterable[RequestRecord]) -> None:
        """Note how the budgets on the way of each request stood."""
        budgets = self._budgets
        for record in records:
            for fact in record.limits:
                if _BUDGET in fact.limit and (fact.limit in budgets or len(budgets) < _MOST):
                    budgets[fact.limit] = (fact.used, fact.amount)

    def readings(self, now: float) -> Iterator[Reading]:
        """What to show; `now` in Unix seconds."""
        for limit, (until, fraction) in self._crossed.items():
            if now < until:
                yield Reading(name=LIMIT_METRIC, value=fraction, labels=(clean(limit),))
        for limit, (used, amount) in self._budgets.items():
            yield Reading(name=BUDGET_USED, value=used / 1e6, labels=(clean(limit),))
            yield Reading(name=BUDGET_AMOUNT, value=amount / 1e6, labels=(clean(limit),))
