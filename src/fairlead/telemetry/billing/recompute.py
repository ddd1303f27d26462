"""What past requests would have cost under another price table.

Each attempt of a request is priced again, from the usage that the ledger kept
of it: the prices that the configuration sets win, as they do when a request
is made, then the table's. An attempt whose model the table does not know keeps
the cost it has, and is counted: nothing is invented, and nothing forgotten.
Cost and usage of answers from the cache are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.config import Config, Target
from fairlead.telemetry.billing.cost import Prices, cost_microusd, priced_by, prices_of
from fairlead.telemetry.billing.db import Change, CostHistory
from fairlead.telemetry.billing.pricebook import PriceBook
from fairlead.telemetry.billing.prices import Table
from fairlead.telemetry.ledger.db import Ledger
from fairlead.types import Attempt, RequestRecord

BATCH: Final = 500
"""Requests read, and at most written, in one go."""


class Recost(msgspec.Struct, frozen=True, kw_only=True):
    """One request under other prices."""

    cost_microusd: int | None
    """None when nobody knows, as before."""
    kept: bool
    """Some attempt has no price in the table and keeps its cost."""


class Difference(msgspec.Struct, kw_only=True):
    """What the requests for one model cost before and after. Mutable: summed up as they are read."""

    name: str
    requests: int = 0
    changed: int = 0
    """Requests with another cost."""
    kept: int = 0
    """Requests that keep a cost, whole or in part, because the table does not know a model."""
    before_microusd: int = 0
    after_microusd: int = 0

    @property
    def difference_microusd(self) -> int:
        """By how much more they cost."""
        return self.after_microusd - self.before_microusd


class Repricer:
    """Prices attempts of the ledger by a table, under the configuration in force."""

    def __init__(self, config: Config, table: Table) -> None:
        self.version = table.version
        self._table = table
        self._book = PriceBook(config, lambda: table)
        self._own = _configured(config)
        self._known = frozenset(config.providers)

    def recost(self, record: RequestRecord) -> Recost:
        """What a request costs by these prices."""
        cost = 0
        priced = kept = False
        for attempt in record.attempts:
            usage = attempt.usage
            if usage is None:
                continue
            prices = self._prices(record, attempt)
            if prices is not None:
                priced = True
                cost += cost_microusd(usage, prices)
            else:
                kept = True
                cost += attempt.cost_microusd or 0
        # What this table knows nothing of costs what it does now, which may be an earlier revision's.
        return Recost(cost_microusd=cost if priced else record.cost_microusd, kept=kept)

    def _prices(self, record: RequestRecord, attempt: Attempt) -> Prices | None:
        provider, _, model = attempt.target.partition("/")
        if model == "*":
            model = attempt.model
        own = self._own.get((record.fallback or record.model, attempt.target)) or self._own.get(
            ("", attempt.target)
        )
        if own is not None:
            return own
        if not model:
            return None
        if provider not in self._known:
            # It has left the configuration; a list of its name is what it was billed by.
            listed = self._table.find(provider, model)
            return listed.prices if listed is not None else None
        return self._book.upstream_prices(provider, model)


async def recompute(
    ledger: Ledger,
    repricer: Repricer,
    *,
    since: float,
    until: float,
    history: CostHistory | None = None,
    now: Callable[[], float],
) -> tuple[list[Difference], int | None]:
    """Price a period again, in batches, so that memory and transactions stay small.

    Args:
        ledger: holds the requests.
        repricer: prices them.
        since: Unix seconds, inclusive.
        until: Unix seconds, exclusive.
        history: where to write the costs as a new revision; nothing is written when None.
        now: Unix seconds.

    Returns:
        The differences by model, sorted by name, and the revision that was written.
    """
    revision = await history.begin(repricer.version, since, until, now()) if history is not None else None
    found: dict[str, Difference] = {}
    after: tuple[float, str] | None = None
    while True:
        records = await ledger.stretch(since, until, after=after, limit=BATCH)
        changes = [change for record in records if (change := _compare(record, repricer, found)) is not None]
        if changes and history is not None and revision is not None:
            await history.change(revision, repricer.version, changes)
        if len(records) < BATCH:
            break
        after = records[-1].started_at, records[-1].id
    if history is not None and revision is not None:
        await history.end(revision, now())
    return [found[name] for name in sorted(found)], revision


def _compare(record: RequestRecord, repricer: Repricer, found: dict[str, Difference]) -> Change | None:
    if not record.attempts:
        return None
    sums = found.get(record.model)
    if sums is None:
        sums = found[record.model] = Difference(name=record.model)
    again = repricer.recost(record)
    before, after = record.cost_microusd, again.cost_microusd
    sums.requests += 1
    sums.kept += again.kept
    sums.before_microusd += before or 0
    if after is None or after == before:
        sums.after_microusd += before or 0
        return None
    sums.after_microusd += after
    sums.changed += 1
    return Change(
        request_id=record.id,
        started_at=record.started_at,
        before_microusd=before,
        before_prices=priced_by(record),
        after_microusd=after,
    )


def _configured(config: Config) -> dict[tuple[str, str], Prices]:
    """Targets' own prices, by route and target; by "" and target where every route agrees."""
    found: dict[tuple[str, str], Prices] = {}
    by_target: dict[str, list[Prices | None]] = {}
    for name, model in config.models.items():
        for target in model.targets:
            own = prices_of(target)
            label = _label(target)
            by_target.setdefault(label, []).append(own)
            if own is not None:
                found[name, label] = own
    for label, all_of_it in by_target.items():
        first = all_of_it[0]
        if first is not None and all(one == first for one in all_of_it):
            found["", label] = first
    return found


def _label(target: Target) -> str:
    """As `gateway.router.target_name`, which telemetry cannot ask."""
    return f"{target.provider}/{target.model or '*'}"
