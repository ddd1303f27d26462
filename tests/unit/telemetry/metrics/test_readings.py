"""Metrics that others keep."""

from __future__ import annotations

import pytest

from fairlead.telemetry.metrics.readings import COUNTERS, GAUGES, Reading, families_of
from fairlead.telemetry.metrics.samples import Series


def test_readings_of_one_name_are_one_family() -> None:
    refused, shadowed = ("acme", "usd", "refused"), ("acme", "usd", "shadowed")
    gauge, counter = families_of(
        [
            Reading(name="fairlead_queue_waiting", value=3, labels=("lab/a",)),
            Reading(name="fairlead_limit_decisions_total", value=7, labels=refused),
            Reading(name="fairlead_queue_waiting", value=0, labels=("lab/b",)),
            Reading(name="fairlead_limit_decisions_total", value=1, labels=shadowed),
        ]
    )

    assert (gauge.kind, gauge.merge, gauge.labels) == ("gauge", "sum", ("target",))
    assert gauge.series == (Series(labels=("lab/a",), value=3), Series(labels=("lab/b",), value=0))
    assert (counter.kind, counter.labels) == ("counter", ("tenant", "what", "outcome"))
    assert counter.series == (Series(labels=refused, value=7), Series(labels=shadowed, value=1))


def test_a_name_that_nobody_has_written_down_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        list(families_of([Reading(name="fairlead_of_nobody", value=1)]))


def test_counters_are_named_as_such_and_gauges_not() -> None:
    assert all(name.endswith("_total") for name in COUNTERS)
    assert not any(name.endswith("_total") for name in GAUGES)
