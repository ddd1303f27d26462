"""The pool's state: what is handed out, what counts, what has to be closed."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fairlead.errors import Overloaded
from fairlead.net.pool import Counts, Pool


class Item:
    def __init__(self) -> None:
        self.deadline = math.inf


def opened(pool: Pool[Item]) -> Item:
    pool.reserve()
    pool.unreserve()
    item = Item()
    pool.admit(item)
    return item


def test_the_newest_idle_connection_is_handed_out_first() -> None:
    pool: Pool[Item] = Pool("a:1", 10, 60.0)
    old, new = opened(pool), opened(pool)
    pool.put(old, 1.0)
    pool.put(new, 2.0)
    assert pool.take() == (new, 2.0)
    assert pool.take() == (old, 1.0)
    assert pool.take() is None


def test_idle_connections_expire_oldest_first() -> None:
    pool: Pool[Item] = Pool("a:1", 10, 60.0)
    items = [opened(pool) for _ in range(3)]
    for at, item in enumerate(items):
        pool.put(item, float(at))
    assert pool.expire(59.9) == []
    assert pool.expire(61.0) == items[:2]
    assert pool.counts == Counts(idle=1)


def test_overdue_are_the_active_ones_whose_deadline_has_passed() -> None:
    pool: Pool[Item] = Pool("a:1", 10, 60.0)
    late, early, idle = opened(pool), opened(pool), opened(pool)
    late.deadline, early.deadline, idle.deadline = 5.0, 6.0, 1.0
    pool.put(idle, 0.0)
    assert pool.overdue(5.0) == [late]


def test_the_limit_counts_all_three_states() -> None:
    pool: Pool[Item] = Pool("a:1", 2, 60.0)
    opened(pool)
    pool.reserve()
    with pytest.raises(Overloaded, match="all 2 connections to a:1"):
        pool.reserve()
    pool.unreserve()
    assert pool.reserve() == []


def test_at_the_limit_the_oldest_idle_connection_makes_room() -> None:
    pool: Pool[Item] = Pool("a:1", 2, 60.0)
    old, new = opened(pool), opened(pool)
    pool.put(old, 1.0)
    pool.put(new, 2.0)
    assert pool.reserve() == [old]
    assert pool.counts == Counts(idle=1, opening=1)


def test_drain_returns_everything() -> None:
    pool: Pool[Item] = Pool("a:1", 5, 60.0)
    active, idle = opened(pool), opened(pool)
    pool.put(idle, 0.0)
    assert set(pool.drain()) == {active, idle}
    assert pool.empty


class PoolMachine(RuleBasedStateMachine):
    """Any sequence of calls keeps each connection in one state and the total under the limit."""

    def __init__(self) -> None:
        super().__init__()
        self.pool: Pool[Item] = Pool("a:1", 4, 10.0)
        self.now = 0.0
        self.opening = 0
        self.active: list[Item] = []
        self.idle: list[Item] = []

    @rule()
    def reserve(self) -> None:
        try:
            for evicted in self.pool.reserve():
                self.idle.remove(evicted)
        except Overloaded:
            assert not self.idle
            assert self.opening + len(self.active) == 4
        else:
            self.opening += 1

    @precondition(lambda self: self.opening)
    @rule()
    def succeed(self) -> None:
        self.fail()
        self.active.append(Item())
        self.pool.admit(self.active[-1])

    @precondition(lambda self: self.opening)
    @rule()
    def fail(self) -> None:
        self.opening -= 1
        self.pool.unreserve()

    @precondition(lambda self: self.active)
    @rule()
    def put(self) -> None:
        self.idle.append(self.active.pop(0))
        self.pool.put(self.idle[-1], self.now)

    @rule()
    def take(self) -> None:
        taken = self.pool.take()
        assert (taken[0] if taken else None) is (self.idle[-1] if self.idle else None)
        if taken:
            self.active.append(self.idle.pop())

    @precondition(lambda self: self.active or self.idle)
    @rule()
    def lose(self) -> None:
        lost = (self.idle or self.active).pop(0)
        self.pool.discard(lost)
        self.pool.discard(lost)

    @rule()
    def pass_time(self) -> None:
        self.now += 4.0
        for expired in self.pool.expire(self.now):
            self.idle.remove(expired)

    @invariant()
    def agrees(self) -> None:
        counts = self.pool.counts
        assert counts == Counts(idle=len(self.idle), active=len(self.active), opening=self.opening)
        assert counts.idle + counts.active + counts.opening <= 4
        assert self.pool.empty == (counts == Counts())


PoolMachine.TestCase.settings = settings(max_examples=40, deadline=None)
TestPoolMachine = PoolMachine.TestCase
