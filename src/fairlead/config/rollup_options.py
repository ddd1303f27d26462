"""The options of `ledger.rollups`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fairlead.config.kinds import Count, Section


class RollupDays(Section, frozen=True, kw_only=True):
    """How long percentiles and sums of past requests can be asked for, and how finely. Counted in days."""

    minutes: Annotated[Count, Meta(description="Days for which windows may begin and end at any minute.")] = 8
    hours: Annotated[Count, Meta(description="Days for which they may begin and end at any hour.")] = 100
    days: Annotated[Count, Meta(description="Days for which there is anything.")] = 1100
