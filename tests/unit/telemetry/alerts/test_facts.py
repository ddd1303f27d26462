"""What rules take from the metrics."""

from __future__ import annotations

import pytest
from tests.unit.telemetry.alerts.facts_of import counter, gauge, histogram, requests

from fairlead.config.alert_options import AlertRule
from fairlead.telemetry.alerts.facts import MOST_GROUPS, Cell, by_name, fold, matches, snapped

BOUNDS = (0.1, 0.5, 1.0)


def groups(rule: AlertRule, *families: object) -> dict[tuple[str, ...], Cell]:
    return fold(rule, by_name(families)).groups  # type: ignore[arg-type]  # families of any kind


def test_errors_are_those_of_the_service() -> None:
    rule = AlertRule(kind="burn", signal="errors")

    assert groups(rule, requests(90.0, 10.0)) == {("small",): Cell(counts=(10.0, 100.0))}


def test_slow_is_what_is_above_the_next_bound() -> None:
    family = histogram(
        "fairlead_ttft_seconds", ("model", "target"), BOUNDS, {("m", "t"): (5.0, (1, 2, 3, 4))}
    )
    rule = AlertRule(kind="burn", signal="ttft", over_s=0.4)

    assert groups(rule, family) == {("m",): Cell(counts=(7.0, 10.0))}
    assert groups(AlertRule(kind="burn", signal="ttft", over_s=0.5), family)[("m",)].counts == (7.0, 10.0)
    assert groups(AlertRule(kind="burn", signal="ttft", over_s=9.0), family) == {}


def test_a_threshold_stands_for_the_next_bound_up() -> None:
    assert snapped(BOUNDS, 0.2) == 0.5
    assert snapped(BOUNDS, 0.5) == 0.5
    assert snapped(BOUNDS, 1.1) is None


def test_series_are_chosen_by_their_labels_and_added_by_group() -> None:
    family = counter(
        "fairlead_cost_usd_total",
        ("model", "target"),
        {("gpt-5", "a"): 1.0, ("gpt-4", "b"): 2.0, ("other", "a"): 4.0},
    )
    rule = AlertRule(kind="burn", signal="cost", budget_usd=1.0, match={"model": "gpt-*"}, by=["target"])

    assert groups(rule, family) == {("a",): Cell(counts=(1.0,)), ("b",): Cell(counts=(2.0,))}


@pytest.mark.parametrize(
    ("value", "pattern", "fits"),
    [("a", "a", True), ("a", "b", False), ("gpt-5", "gpt-*", True), ("aba", "ab*ba", False), ("", "*", True)],
)
def test_patterns(value: str, pattern: str, fits: bool) -> None:
    assert matches(value, pattern) is fits


def test_gauges_are_added_or_the_largest_taken() -> None:
    rule = AlertRule(kind="threshold", metric="g", above=1.0)
    values = {("a",): 1.0, ("b",): 2.0}

    assert groups(rule, gauge("g", ("x",), values)) == {(): Cell(gauges=(2.0,))}
    assert groups(rule, gauge("g", ("x",), values, added=True)) == {(): Cell(gauges=(3.0,))}


def test_an_outage_knows_calls_and_the_breaker() -> None:
    calls = counter(
        "fairlead_attempts_total",
        ("target", "reason"),
        {("t", "ok"): 5.0, ("t", "timeout"): 3.0, ("t", "rate_limited"): 2.0},
    )
    breaker = gauge("fairlead_breaker_state", ("target",), {("t",): 2.0, ("u",): 0.0})

    assert groups(AlertRule(kind="outage"), calls, breaker) == {
        ("t",): Cell(counts=(3.0, 10.0), gauges=(2.0,)),
        ("u",): Cell(counts=(0.0, 0.0), gauges=(0.0,)),
    }


def test_a_budget_has_two_gauges() -> None:
    used = gauge("fairlead_budget_used_usd", ("limit",), {("acme/usd:day",): 3.0})
    amount = gauge("fairlead_budget_usd", ("limit",), {("acme/usd:day",): 10.0})

    assert groups(AlertRule(kind="burn", signal="budget"), used, amount) == {
        ("acme/usd:day",): Cell(gauges=(3.0, 10.0))
    }


def test_a_histogram_for_a_quantile_brings_its_bounds() -> None:
    family = histogram("h", ("model",), BOUNDS, {("m",): (2.0, (1, 0, 0, 1)), ("n",): (1.0, (1, 0, 0, 0))})
    found = fold(AlertRule(kind="threshold", metric="h", stat="p95", above=1.0), {"h": family})

    assert found.bounds == BOUNDS
    assert found.groups == {(): Cell(counts=(3.0, 2.0, 0.0, 0.0, 1.0))}


def test_groups_are_bounded() -> None:
    values = {(f"m{number}",): 1.0 for number in range(MOST_GROUPS + 50)}
    family = counter("c", ("model",), values)
    rule = AlertRule(kind="threshold", metric="c", stat="rate", above=1.0, by=["model"])

    found = groups(rule, family)

    assert len(found) == MOST_GROUPS + 1
    assert found[("other",)].counts == (50.0,)


def test_what_is_not_there_has_no_groups() -> None:
    for kind in ("outage", "drift", "limit", "cache_bound", "trend"):
        assert groups(AlertRule(kind=kind)) == {}  # type: ignore[arg-type]  # each of the kinds
