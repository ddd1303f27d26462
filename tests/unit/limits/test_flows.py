"""The tree of counters: who had least is next, and nobody saves up service."""

from __future__ import annotations

import math

from fairlead.limits.flows import Entry, Flow, Tree


def flow(*names: str, weights: tuple[float, ...] | None = None) -> Flow:
    return Flow(names=names, weights=weights or (1.0,) * len(names))


def tree(*, credit: float = 0.0, max_leaves: int = 100) -> Tree:
    return Tree(credit=credit, max_leaves=max_leaves)


def waits(where: Tree, whose: Flow, work: float = 1.0) -> Entry:
    entry = Entry(whose, 1, 1, work, None)
    where.append(where.leaf(whose), entry)
    return entry


def serve(where: Tree, cost: float) -> str:
    """Serve the next one and say whose it was."""
    entry = where.head()
    leaf = entry.leaf
    assert leaf is not None
    where.drop(leaf, entry)
    leaf.charge(cost)
    return "/".join(entry.flow.names)


def test_the_least_served_is_next_and_each_leaf_is_first_come_first_served() -> None:
    one = tree()
    first, second = waits(one, flow("a")), waits(one, flow("a"))
    waits(one, flow("b"))
    assert one.head() is first
    assert serve(one, 10) == "a"
    assert serve(one, 4) == "b"
    assert one.head() is second


def test_weights_divide_service_at_every_level() -> None:
    one = tree()
    big = flow("org", "big", weights=(1.0, 3.0))
    small = flow("org", "small", weights=(1.0, 1.0))
    other = flow("other", "key", weights=(2.0, 1.0))
    for whose in (big, small, other):
        for _ in range(300):
            waits(one, whose)
    served = [serve(one, 1) for _ in range(240)]
    # `other` has two thirds of it; of the rest `big` has three quarters.
    assert abs(served.count("other/key") - 160) <= 2
    assert abs(served.count("org/big") - 60) <= 2
    assert abs(served.count("org/small") - 20) <= 2


def test_who_begins_to_wait_is_lifted_to_the_least_of_those_that_do() -> None:
    one = tree()
    for _ in range(10):
        waits(one, flow("busy"))
    for _ in range(5):
        serve(one, 100)
    waits(one, flow("late"))
    waits(one, flow("late"))
    order = [serve(one, 100) for _ in range(4)]
    assert order.count("late") == 2
    assert order != ["late", "late", "busy", "busy"]


def test_when_nobody_waits_the_lift_is_to_who_left_last() -> None:
    one = tree()
    for _ in range(5):
        waits(one, flow("busy"))
        serve(one, 100)
    waits(one, flow("late"))
    assert one.leaf(flow("late")).counter == 500


def test_who_was_idle_has_a_credit_and_no_more() -> None:
    one = tree(credit=250.0)
    for _ in range(20):
        waits(one, flow("busy"))
    for _ in range(10):
        serve(one, 100)
    for _ in range(6):
        waits(one, flow("late"))
    assert one.leaf(flow("late")).counter == 750
    assert [serve(one, 100) for _ in range(5)] == ["late", "late", "late", "busy", "late"]


def test_who_has_not_been_idle_gets_no_credit() -> None:
    one = tree(credit=250.0)
    for _ in range(5):
        waits(one, flow("busy"))
        serve(one, 100)
    waits(one, flow("busy"))
    assert one.leaf(flow("busy")).counter == 500


def test_with_endless_credit_the_idle_save_up_service() -> None:
    one = tree(credit=math.inf)
    for _ in range(10):
        waits(one, flow("busy"))
    for _ in range(5):
        serve(one, 100)
    for _ in range(5):
        waits(one, flow("late"))
    assert [serve(one, 100) for _ in range(4)] == ["late"] * 4


def test_going_straight_through_is_the_same_as_waiting_for_an_instant() -> None:
    straight, queued = tree(), tree()
    turns = [("a", 5.0), ("a", 7.0), ("b", 1.0), ("a", 2.0), ("c", 9.0), ("b", 3.0)]
    for name, cost in turns:
        straight.enter(straight.leaf(flow("org", name)), cost)
        waits(queued, flow("org", name))
        serve(queued, cost)
    for name in "abc":
        assert straight.leaf(flow("org", name)).counter == queued.leaf(flow("org", name)).counter


def test_a_refund_counts_at_once_for_who_waits() -> None:
    one = tree()
    for name in "ab":
        waits(one, flow(name))
        waits(one, flow(name))
    assert serve(one, 50) == "a"
    assert serve(one, 20) == "b"
    one.refund(one.leaf(flow("a")), 40)
    assert serve(one, 1) == "a"
    assert one.leaf(flow("a")).counter == 11


def test_a_leaf_and_a_tenant_of_one_name_are_two() -> None:
    one = tree()
    waits(one, flow("x"))
    waits(one, flow("x", "key"))
    assert {serve(one, 1), serve(one, 1)} == {"x", "x/key"}


def test_other_weights_are_taken_over_while_requests_wait() -> None:
    one = tree()
    for _ in range(100):
        waits(one, flow("a"))
        waits(one, flow("b"))
    heavier = flow("a", weights=(4.0,))
    assert one.leaf(heavier) is one.leaf(flow("a", weights=(4.0,)))
    assert len(one.leaves) == 2
    served = [serve(one, 1) for _ in range(100)]
    assert abs(served.count("a") - 80) <= 2


def test_idle_leaves_are_forgotten_and_the_busy_are_not() -> None:
    one = tree(max_leaves=50)
    waits(one, flow("org", "waiting"))
    running = one.leaf(flow("org", "running"))
    running.running = 1
    for number in range(1000):
        one.enter(one.leaf(flow(f"org{number}", "key")), 1.0)
    assert len(one.leaves) <= 50
    assert len(one.root.children) <= 51
    assert flow("org", "waiting") in one.leaves
    assert one.leaf(flow("org", "running")) is running
    # Who comes back is where the others are, not ahead of them.
    one.enter(one.leaf(flow("org0", "key")), 1.0)
    assert one.root.children["org0"].counter >= 1000


def test_the_newest_of_the_longest_line_is_found_level_by_level() -> None:
    one = tree()
    many = [waits(one, flow("org", "many")) for _ in range(5)]
    for number in range(4):
        waits(one, flow("org", f"few{number}"))
    for _ in range(7):
        waits(one, flow("other", "key"))
    assert one.newest_of_longest(None) is many[-1]
    # With two more for its weight `other` would be longer than half of `org`.
    heavy = flow("third", "key", weights=(0.1, 1.0))
    assert one.newest_of_longest(one.leaf(heavy)) is None
    assert one.newest_of_longest(one.leaf(flow("org", "many"))) is None
    assert one.newest_of_longest(one.leaf(flow("other", "key"))) is many[-1]


def test_the_share_is_over_those_that_wait() -> None:
    one = tree()
    mine = flow("org", "mine", weights=(1.0, 3.0))
    assert one.share(mine) == (1.0, 0.0)
    waits(one, flow("org", "yours"))
    waits(one, flow("other", "key"), work=5.0)
    waits(one, mine, work=7.0)
    assert one.share(mine) == (0.5 * 0.75, 7.0)
    for _ in range(3):
        serve(one, 1)
    assert one.share(mine) == (1.0, 0.0)
