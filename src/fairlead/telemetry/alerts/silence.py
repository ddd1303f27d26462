"""Silences: who has asked not to be told of which alerts, until when, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.telemetry.alerts.facts import matches


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts that all of `matchers` fit are not told before `until`."""

    id: str
    matchers: Annotated[dict[str, str], Meta(min_length=1)]
    """Label to value; a `*` matches the rest. The rule's name is the label `rule`."""
    until: float
    """Unix seconds."""
    comment: str
    author: str
    created_at: float

    def covers(self, labels: Mapping[str, str], now: float) -> bool:
        """Whether an alert with these labels is silenced at `now`, Unix seconds."""
        return now < self.until and all(
            name in labels and matches(labels[name], pattern) for name, pattern in self.matchers.items()
        )


def covering(silences: Iterable[Silence], labels: Mapping[str, str], now: float) -> Silence | None:
    """The silence that covers an alert and lasts longest; None when none does."""
    found = [silence for silence in silences if silence.covers(labels, now)]
    return max(found, key=lambda silence: silence.until, default=None)
