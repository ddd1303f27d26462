"""What alerts see of limits."""

from __future__ import annotations

from tests.unit.telemetry.records import record

from fairlead.telemetry.alerts.watch import LimitWatch
from fairlead.types import LimitFact

NOW = 1_700_000_000.0


def shown(watch: LimitWatch, now: float = NOW) -> dict[tuple[str, tuple[str, ...]], float]:
    return {(one.name, one.labels): one.value for one in watch.readings(now)}


def test_a_crossing_is_shown_until_its_window_ends() -> None:
    watch = LimitWatch()
    watch.crossed("acme/usd:day", 0.8, NOW + 60, NOW)

    assert shown(watch) == {("fairlead_limit_warning", ("acme/usd:day",)): 0.8}
    assert shown(watch, NOW + 60) == {}


def test_budgets_are_as_the_last_request_saw_them() -> None:
    watch = LimitWatch()
    facts = [LimitFact(limit="acme/usd:day", amount=10_000_000, used=used) for used in (1_000_000, 2_500_000)]
    watch.take([record(1, limits=(facts[0], LimitFact(limit="acme/requests", used=3)))])
    watch.take([record(2, limits=(facts[1],))])

    assert shown(watch) == {
        ("fairlead_budget_used_usd", ("acme/usd:day",)): 2.5,
        ("fairlead_budget_usd", ("acme/usd:day",)): 10.0,
    }


def test_memory_is_bounded() -> None:
    watch = LimitWatch()
    for number in range(3000):
        watch.crossed(f"t{number}/tokens", 0.9, NOW + 60, NOW)
        watch.take([record(number, limits=(LimitFact(limit=f"t{number}/usd:day", amount=1),))])

    assert len(shown(watch)) == 3000  # a thousand crossings, and two readings of each of a thousand budgets
