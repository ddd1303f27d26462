"""What each kind of rule says of a history."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tests.unit.telemetry.alerts.facts_of import counter, gauge, histogram, requests

from fairlead.config.alert_options import AlertRule, Alerts, BurnWindow
from fairlead.telemetry.alerts.budget import DAY_S, Evidence
from fairlead.telemetry.alerts.facts import by_name, fold
from fairlead.telemetry.alerts.rules import DEFAULT_RULES, Finding, compiled, duration, evaluate, looked
from fairlead.telemetry.alerts.source import History
from fairlead.telemetry.metrics.samples import Family

PAIR = BurnWindow(long_s=60, short_s=10, burn=4)


class Watch:
    """One rule over time, as the engine drives it."""

    def __init__(self, rule: AlertRule, *, start: float = 0.0, false_per_month: float = 2.0) -> None:
        self.rules = compiled(Alerts(rules={"r": rule}))
        self.history = History({"r": self.rules["r"].keep_s})
        self.evidence: dict[str, Evidence] = {}
        self.now = start
        self.false_per_month = false_per_month

    def see(self, *families: Family, after_s: float = 5.0) -> list[Finding]:
        self.now += after_s
        folded = {"r": fold(self.rules["r"].options, by_name(families))}
        self.history.ingest(self.now, {"a": folded})
        rules = list(self.rules.values())
        self.evidence = looked(rules, self.history, self.evidence, self.now)
        return evaluate(
            rules, self.history, self.evidence, false_per_month=self.false_per_month, now=self.now
        )


def test_errors_burn_and_stop_burning() -> None:
    watch = Watch(AlertRule(kind="burn", signal="errors", objective=0.9, windows=[PAIR]))
    watch.see(requests(100, 0))
    (calm,) = watch.see(requests(120, 0))
    assert calm.holds is False

    (found,) = watch.see(requests(120, 20))
    assert found.holds is True
    assert found.labels == {"model": "small"}
    assert found.severity == "page"
    assert "50.0% of 40 requests failed in 1 min (objective 10.00%)" in found.effect
    assert found.value == pytest.approx(5.0)

    watch.see(requests(140, 20))
    (over,) = watch.see(requests(160, 20), after_s=10.0)
    assert over.holds is False


def test_a_handful_of_requests_is_no_evidence() -> None:
    watch = Watch(AlertRule(kind="burn", signal="errors", objective=0.9, windows=[PAIR]))
    watch.see(requests(0, 0))

    (found,) = watch.see(requests(0, 9))

    assert found.holds is False
    assert watch.see(requests(0, 10))[0].holds is True


def test_slow_first_tokens_burn() -> None:
    def seen(fast: int, slow: int) -> Family:
        return histogram(
            "fairlead_ttft_seconds", ("model", "target"), (0.5, 1.0), {("m", "t"): (0.0, (fast, 0, slow))}
        )

    watch = Watch(AlertRule(kind="burn", signal="ttft", over_s=1.0, objective=0.9, windows=[PAIR]))
    watch.see(seen(0, 0))

    (found,) = watch.see(seen(4, 16))

    assert found.holds is True
    assert "80.0% of 20 requests waited more than 1 s" in found.effect


def test_money_burns_against_an_even_spend() -> None:
    rule = AlertRule(
        kind="burn", signal="cost", budget_usd=60.0, budget_period_s=3600.0, windows=[PAIR]
    )  # a dollar a minute
    watch = Watch(rule)
    cost = ("model", "target")
    watch.see(counter("fairlead_cost_usd_total", cost, {("m", "t"): 0.0}))

    (calm,) = watch.see(counter("fairlead_cost_usd_total", cost, {("m", "t"): 1.0}))
    assert calm.holds is False

    (found,) = watch.see(counter("fairlead_cost_usd_total", cost, {("m", "t"): 6.0}))
    assert found.holds is True
    assert found.value == pytest.approx(6.0)


def test_a_daily_budget_has_windows_of_a_day() -> None:
    def seen(used: float) -> tuple[Family, Family]:
        limit = ("acme/usd:day",)
        return (
            gauge("fairlead_budget_used_usd", ("limit",), {limit: used}),
            gauge("fairlead_budget_usd", ("limit",), {limit: 100.0}),
        )

    watch = Watch(AlertRule(kind="burn", signal="budget"))
    for turn in range(20):
        calm = watch.see(*seen(turn * 0.01), after_s=15.0)
    assert not any(found.holds for found in calm)

    for turn in range(20):
        found = watch.see(*seen(0.2 + turn * 1.0), after_s=15.0)
    assert {one.severity for one in found if one.holds} == {"page", "ticket"}
    assert "of 100.00 USD are used" in found[0].effect


@pytest.mark.parametrize(
    ("options", "value", "holds"),
    [
        ({"above": 5.0}, 6.0, True),
        ({"above": 5.0}, 5.0, False),
        ({"below": 5.0}, 4.0, True),
        ({"below": 5.0}, 6.0, False),
    ],
)
def test_a_gauge_against_a_bound(options: dict[str, Any], value: float, holds: bool) -> None:
    watch = Watch(AlertRule(kind="threshold", metric="g", **options))

    (found,) = watch.see(gauge("g", (), {(): value}))

    assert found.holds is holds


def test_rates_means_and_quantiles_against_a_bound() -> None:
    def seen(scale: int) -> Family:
        return histogram("h", (), (1.0, 2.0), {(): (30.0 * scale, (0, 10 * scale, 10 * scale))})

    for stat, value in (("rate", 20 / 300), ("mean", 1.5), ("p50", 2.0)):
        rule = AlertRule(kind="threshold", metric="h", stat=stat, above=0.0)  # type: ignore[arg-type]  # each of them
        watch = Watch(rule)
        watch.see(seen(0))
        (found,) = watch.see(seen(1))
        assert found.value == pytest.approx(value)
        assert found.holds is True


def test_an_open_breaker_is_an_outage() -> None:
    watch = Watch(AlertRule(kind="outage"))
    calls = counter("fairlead_attempts_total", ("target", "reason"), {("t", "ok"): 0.0})

    (calm,) = watch.see(calls, gauge("fairlead_breaker_state", ("target",), {("t",): 1.0}))
    (found,) = watch.see(calls, gauge("fairlead_breaker_state", ("target",), {("t",): 2.0}))

    assert (calm.holds, found.holds) == (False, True)
    assert found.effect == "its circuit breaker is open"


def test_failing_calls_are_an_outage_and_refused_ones_are_not() -> None:
    watch = Watch(AlertRule(kind="outage", error_share=0.5))
    labels = ("target", "reason")
    watch.see(counter("fairlead_attempts_total", labels, {("t", "ok"): 0.0, ("t", "rate_limited"): 0.0}))

    (calm,) = watch.see(
        counter("fairlead_attempts_total", labels, {("t", "ok"): 0.0, ("t", "rate_limited"): 50.0})
    )
    assert calm.holds is False

    (found,) = watch.see(
        counter(
            "fairlead_attempts_total",
            labels,
            {("t", "ok"): 10.0, ("t", "rate_limited"): 50.0, ("t", "server_error"): 90.0},
        )
    )
    assert found.holds is True
    assert "60% of 150 calls failed" in found.effect


def test_a_bound_of_one_says_that_nothing_is_known() -> None:
    watch = Watch(AlertRule(kind="cache_bound", above=0.02))
    name = "fairlead_cache_false_hit_upper95"

    assert watch.see(gauge(name, ("model",), {("m",): 1.0}))[0].holds is None
    assert watch.see(gauge(name, ("model",), {("m",): 0.01}))[0].holds is False
    assert watch.see(gauge(name, ("model",), {("m",): 0.05}))[0].holds is True


def test_a_warning_of_a_limit_holds_while_it_is_shown() -> None:
    watch = Watch(AlertRule(kind="limit"))

    (found,) = watch.see(gauge("fairlead_limit_warning", ("limit",), {("acme/usd:day",): 0.8}))
    assert found.holds is True
    assert found.effect == "80% of the limit are reached"
    assert watch.see() == []


def test_drift_is_an_alarm_within_the_budget_only() -> None:
    watch = Watch(AlertRule(kind="drift"), start=DAY_S * 10)

    def seen(p: float) -> list[Finding]:
        labels = ("signal", "model")
        return watch.see(gauge("fairlead_drift_p_value", labels, {("prompts", "m"): p}), after_s=4 * 3600.0)

    assert seen(0.04)[0].holds is False  # 1 in 25 by accident, and 6 looks a day
    assert seen(1e-6)[0].holds is True
    assert seen(0.5)[0].holds is False


def test_one_comparison_is_looked_at_once() -> None:
    """A p-value stands until the next comparison; evidence that adds up must not add it again and again."""
    watch = Watch(AlertRule(kind="drift", method="e-detector"), start=DAY_S * 10)

    def seen(p: float, compared_at: float) -> list[Finding]:
        labels, series = ("signal", "model"), ("prompt", "m")
        return watch.see(
            gauge("fairlead_drift_p_value", labels, {series: p}),
            gauge("fairlead_drift_compared_at_seconds", labels, {series: compared_at}),
            after_s=3600.0,
        )

    assert not any(seen(0.01, 1.0)[0].holds for _ in range(100))
    assert any(seen(0.01, float(at))[0].holds for at in range(2, 30))


def itl(total_s: float, count: int) -> Family:
    return histogram("fairlead_itl_seconds", ("model", "target"), (1.0,), {("m", "t"): (total_s, (count, 0))})


def creeping(slope: float, *, seed: int) -> list[bool | None]:
    """Whether the trend alarms, block by block, of a time per token that begins at 20 ms."""
    chance = random.Random(seed)
    watch = Watch(AlertRule(kind="trend", over_s=0.05, window_s=240.0, blocks=24, horizon_s=300.0))
    total, said = 0.0, []
    for block in range(60):
        mean = (0.02 + slope * max(0, block - 20)) * (1 + chance.gauss(0, 0.02))
        total += 1000 * mean
        found = watch.see(itl(total, 1000 * (block + 1)), after_s=10.0)
        said.append(found[0].holds)
    return said


def test_a_slow_rise_alarms_before_the_objective_is_broken() -> None:
    said = creeping(0.0006, seed=2)

    # 50 ms are reached at block 70, after the end.
    assert True in said
    assert said.index(True) > 20


def test_a_level_series_does_not_alarm() -> None:
    for seed in range(5):
        assert True not in creeping(0.0, seed=seed)


def test_a_rise_that_never_gets_there_does_not_alarm() -> None:
    assert True not in creeping(0.000002, seed=4)


def test_the_default_rules_apply_where_there_are_none() -> None:
    own = AlertRule(kind="outage", for_s=1.0)

    assert set(compiled(Alerts())) == set(DEFAULT_RULES)
    assert set(compiled(Alerts(rules={"mine": own}))) == {"mine"}
    both = compiled(Alerts(rules={"outage": own}, default_rules=True))
    assert set(both) == set(DEFAULT_RULES)
    assert both["outage"].options.for_s == 1.0


def test_a_fingerprint_does_not_depend_on_the_order_of_labels() -> None:
    one = Finding(rule="r", severity="page", labels={"a": "1", "b": "2"}, holds=True)
    other = Finding(rule="r", severity="page", labels={"b": "2", "a": "1"}, holds=False)

    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize(("seconds", "text"), [(60, "1 min"), (90, "90 s"), (3600, "1 h"), (259_200, "3 d")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
