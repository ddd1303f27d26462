"""Budgets of plaintext: never overshot, whatever is reserved and settled in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.vault_policy_options import VaultAccess, VaultBudget
from fairlead.errors import AboveLimit, BudgetExceeded, InvalidRequest, RateLimited
from fairlead.vault.budgets import MAX_OPEN, Account, budget_of, remaining_bytes, reserve, settle
from fairlead.vault.principal import Principal

DAY = VaultBudget(bytes=100, window_s=1000)
RATED = VaultBudget(bytes=1000, window_s=10_000, rate_bytes_per_s=10, burst_bytes=50)


def test_what_is_reserved_is_taken_and_what_is_not_read_comes_back() -> None:
    account = reserve(Account(), DAY, "a", 60, 0.0)
    assert remaining_bytes(account, DAY, 1.0) == 40
    with pytest.raises(BudgetExceeded) as caught:
        reserve(account, DAY, "b", 41, 400.0)
    assert caught.value.retry_after_s == 600.0

    account = settle(account, DAY, "a", 10, 2.0)
    assert remaining_bytes(account, DAY, 3.0) == 90
    assert settle(account, DAY, "a", 0, 3.0) == account, "settled once"


def test_what_nobody_settles_stays_spent_until_the_window_ends() -> None:
    account = reserve(Account(), DAY, "a", 100, 0.0)

    assert remaining_bytes(account, DAY, 999.9) == 0
    assert remaining_bytes(account, DAY, 1000.0) == 100
    late = reserve(account, DAY, "b", 100, 1000.0)
    assert remaining_bytes(settle(late, DAY, "a", 0, 1001.0), DAY, 1001.0) == 0, "not in this window"


def test_a_clock_that_runs_backwards_opens_no_window() -> None:
    account = reserve(Account(), DAY, "a", 100, 5000.0)

    with pytest.raises(BudgetExceeded):
        reserve(account, DAY, "b", 1, 3000.0)


def test_asking_again_takes_nothing_more() -> None:
    account = reserve(Account(), DAY, "a", 60, 0.0)

    assert reserve(account, DAY, "a", 60, 1.0) == account
    with pytest.raises(InvalidRequest):
        reserve(account, DAY, "a", 61, 1.0)


def test_what_never_fits_is_told_apart() -> None:
    for budget, size in ((DAY, 101), (RATED, 51)):
        with pytest.raises(AboveLimit):
            reserve(Account(), budget, "a", size, 0.0)
    with pytest.raises(InvalidRequest):
        reserve(Account(), DAY, "a", -1, 0.0)
    with pytest.raises(InvalidRequest):
        settle(reserve(Account(), DAY, "a", 5, 0.0), DAY, "a", 6, 0.0)


def test_the_rate_refills_and_says_when() -> None:
    account = reserve(Account(), RATED, "a", 50, 0.0)
    with pytest.raises(RateLimited) as caught:
        reserve(account, RATED, "b", 20, 1.0)
    assert not isinstance(caught.value, BudgetExceeded)
    assert caught.value.retry_after_s == 1.0

    account = reserve(account, RATED, "b", 20, 2.0)
    account = settle(account, RATED, "b", 0, 2.0)
    assert reserve(account, RATED, "c", 20, 2.0)


def test_a_changed_window_forgets_nothing() -> None:
    account = reserve(Account(), DAY, "a", 100, 0.0)

    assert remaining_bytes(account, VaultBudget(bytes=150, window_s=777), 900.0) == 50


def test_a_principals_own_budget_comes_first() -> None:
    access = VaultAccess(budgets={"*": DAY, "key:a": RATED})

    assert budget_of(access, Principal(id="key:a", kind="key")) == RATED
    assert budget_of(access, Principal(id="key:b", kind="key")) == DAY
    assert budget_of(VaultAccess(), Principal(id="key:b", kind="key")) is None


def test_open_reservations_are_bounded_and_forgotten_ones_stay_spent() -> None:
    budget = VaultBudget(bytes=10 * MAX_OPEN, window_s=1000)
    account = Account()
    for number in range(MAX_OPEN + 5):
        account = reserve(account, budget, str(number), 1, 0.0)

    assert len(account.open) == MAX_OPEN
    assert settle(account, budget, "0", 0, 0.0) == account
    assert remaining_bytes(account, budget, 0.0) == 9 * MAX_OPEN - 5


STEPS = st.lists(
    st.tuples(st.sampled_from("rs"), st.integers(0, 6), st.integers(0, 60), st.floats(-20, 400)), max_size=60
)


@given(STEPS, st.sampled_from([DAY, RATED]))
def test_no_order_of_steps_overshoots(steps: list[tuple[str, int, int, float]], budget: VaultBudget) -> None:
    account, now, latest = Account(), 0.0, 0.0
    read: dict[int, int] = {}
    held: dict[str, tuple[int, int]] = {}
    taken: list[tuple[float, int]] = []
    for number, (what, which, size, passes) in enumerate(steps):
        now = max(0.0, now + passes)
        latest = max(latest, now)
        if what == "r":
            try:
                account = reserve(account, budget, str(number), size, now)
            except RateLimited:
                continue
            # The latest window that the account was told of: a clock that goes back begins none anew.
            held[str(number)] = (account.window, size)
            read[account.window] = read.get(account.window, 0) + size
            taken.append((latest, size))
        elif held:
            id = list(held)[which % len(held)]
            begun, reserved = held.pop(id)
            account = settle(account, budget, id, min(size, reserved), now)
            if begun == account.window and now // budget.window_s <= begun:
                read[begun] -= reserved - min(size, reserved)
                taken.append((latest, min(size, reserved) - reserved))
        assert all(spent <= budget.bytes for spent in read.values())
        if account.window >= 0:
            begun_s = account.window * budget.window_s
            assert remaining_bytes(account, budget, begun_s) == budget.bytes - read.get(account.window, 0)
    if budget.rate_bytes_per_s is not None:
        spent = sum(size for _, size in taken)
        assert spent <= RATED.burst_bytes + budget.rate_bytes_per_s * latest + 1  # type: ignore[operator]  # RATED has one
