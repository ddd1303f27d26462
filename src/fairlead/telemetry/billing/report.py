"""Usage and cost of a period by group, as of now or as of an earlier revision of the costs.

Groups are models, keys, tenants, targets and days, or the requests themselves:
then the dearest of them, the dearest first.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Literal, get_args

import msgspec

from fairlead.errors import UsageError
from fairlead.telemetry.billing.db import CostHistory
from fairlead.telemetry.ledger.db import By, Ledger, Sum

Group = Literal["model", "key", "tenant", "target", "day", "request"]
"""What usage is reported by."""

MOST_REQUESTS = 1000
"""The longest list of single requests."""


async def report(
    ledger: Ledger,
    by: Group,
    *,
    since: float = 0.0,
    until: float | None = None,
    tenants: Collection[str] | None = None,
    most: int = 50,
    revision: int | None = None,
) -> list[Sum]:
    """What the groups of a period add up to, sorted by name; requests by their cost.

    Args:
        ledger: holds the requests.
        by: the groups.
        since: Unix seconds, inclusive.
        until: Unix seconds, exclusive; everything until now when None.
        tenants: only theirs.
        most: how many single requests.
        revision: the costs as they were after this recomputation, 0 for as they were billed; the present
            ones when None. Groups only.

    Raises:
        UsageError: single requests as of a revision.
        NotFound: there is no such revision.
    """
    history = CostHistory(ledger.database)
    if by == "request":
        if revision is not None:
            raise UsageError(
                "single requests have their present cost", hint="`requests show ID` has the others"
            )
        return await history.dearest(since=since, until=until, tenants=tenants, most=most)
    sums = await ledger.usage(_group(by), since=since, until=until, tenants=tenants)
    if revision is None:
        return sums
    end = time.time() + 1 if until is None else until
    corrections = await history.as_of(revision, _group(by), since=since, until=end, tenants=tenants)
    return [
        one
        if (correction := corrections.get(one.name)) is None
        else msgspec.structs.replace(
            one,
            cost_microusd=one.cost_microusd + correction.cost_microusd,
            unpriced=one.unpriced + correction.unpriced,
        )
        for one in sums
    ]


def _group(by: Group) -> By:
    for group in get_args(By):
        if group == by:
            return group  # type: ignore[no-any-return]  # get_args knows no types
    raise AssertionError(f"no group of the ledger: {by}")
