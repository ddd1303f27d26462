"""What comparing may cost: a number an hour, and money a day."""

from __future__ import annotations

from fairlead.cache.semantic.budget import Budget, Spent

DAY = 86_400.0


def test_a_number_an_hour_comes_back_with_time() -> None:
    budget = Budget(per_hour=2, microusd_per_day=1000)
    assert [budget.allows(0, 0.0) for _ in range(3)] == [True, True, False]
    assert not budget.allows(0, 1700.0)
    assert budget.allows(0, 1801.0)


def test_what_is_spent_counts_until_the_next_day() -> None:
    budget = Budget(per_hour=100, microusd_per_day=100)
    assert budget.allows(60, DAY)
    budget.pay(60)
    assert not budget.allows(60, DAY + 10)
    assert budget.allows(40, DAY + 10)
    assert budget.allows(60, 2 * DAY)
    assert budget.spent == Spent(day=2)


def test_a_restart_remembers_and_a_clock_that_goes_back_gives_nothing() -> None:
    budget = Budget(per_hour=100, microusd_per_day=100, spent=Spent(day=3, microusd=100))
    assert not budget.allows(1, 3 * DAY)
    assert not budget.allows(1, 2 * DAY)


def test_what_only_teaches_leaves_half_of_both() -> None:
    budget = Budget(per_hour=4, microusd_per_day=100)
    assert [budget.allows(0, 0.0, spare=True) for _ in range(3)] == [True, True, False]
    assert budget.allows(0, 0.0)
    budget.pay(50)
    assert not budget.allows(1, 3600.0, spare=True)
    assert budget.allows(1, 3600.0)


def test_other_limits_leave_what_was_spent() -> None:
    budget = Budget(per_hour=4, microusd_per_day=100)
    budget.pay(80)
    budget.configure(per_hour=0.25, microusd_per_day=80)
    assert not budget.allows(1, 0.0)
    assert budget.allows(0, 0.0)
    assert not budget.allows(0, 0.0)
