"""Views of what was counted; `test_prometheus` checks what each of them shows."""

from __future__ import annotations

from fairlead.telemetry.metrics.cells import ITL_BUCKETS
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.views import SHOWN_ITL_BOUNDS_S
from fairlead.types import ITL_BOUNDS_S


def test_gaps_are_shown_with_some_of_the_bounds_they_are_counted_with() -> None:
    assert set(SHOWN_ITL_BOUNDS_S) <= set(ITL_BOUNDS_S)
    assert len(ITL_BOUNDS_S) + 1 == ITL_BUCKETS


def test_names_are_unique_and_units_are_the_last_word() -> None:
    families = Metrics().families()

    names = [family.name for family in families]
    assert len(names) == len(set(names))
    counters = [family.name for family in families if family.kind == "counter"]
    assert all(name.endswith("_total") for name in counters)
