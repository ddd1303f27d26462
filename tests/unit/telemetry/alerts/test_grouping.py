"""When a receiver is told."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.alerts.grouping import Due, Pace, Told, group_key, plan

PACE = Pace(wait_s=10, repeat_s=100)


def test_a_new_group_waits_and_is_then_told_once() -> None:
    told, due = plan(None, ["a"], [], 0.0, PACE)
    assert (told, due) == (Told(), None)

    told, due = plan(told, ["b", "a"], [], 10.0, PACE)
    assert due == Due(firing=("a", "b"), resolved=())

    told, due = plan(told, ["a", "b"], [], 15.0, PACE)
    assert due is None


def test_a_group_that_was_over_before_it_was_told_is_never_told() -> None:
    told, _ = plan(None, ["a"], [], 0.0, PACE)

    assert plan(told, [], [], 5.0, PACE) == (None, None)


def test_changes_are_told_at_once() -> None:
    told = Told(firing=("a",))

    assert plan(told, ["a", "b"], [], 1.0, PACE)[1] == Due(firing=("a", "b"), resolved=())
    assert plan(told, [], [], 1.0, PACE) == (None, Due(firing=(), resolved=("a",)))


def test_what_goes_on_is_repeated_after_a_while() -> None:
    told, due = plan(Told(firing=("a",)), ["a"], [], 60.0, PACE)
    assert due is None

    told, due = plan(told, ["a"], [], 60.0, PACE)
    assert due == Due(firing=("a",), resolved=())
    assert told == Told(firing=("a",))


def test_a_silence_asks_for_quiet_and_not_for_an_open_incident() -> None:
    told, due = plan(Told(firing=("a",)), [], ["a"], 1000.0, PACE)
    assert due is None
    assert told is not None

    assert plan(told, [], [], 1.0, PACE)[1] == Due(firing=(), resolved=("a",))


def test_what_is_silent_from_the_start_is_not_told() -> None:
    assert plan(None, [], ["a"], 0.0, PACE) == (None, None)


def test_groups_are_named_by_their_labels() -> None:
    assert group_key(["rule", "model"], {"rule": "errors", "severity": "page"}) == "rule=errors,model="


NAMES = st.sets(st.sampled_from("abc"))


@given(st.lists(st.tuples(NAMES, NAMES, st.floats(0, 50)), max_size=30))
def test_every_alert_that_was_told_is_told_to_be_over_and_only_those(
    turns: list[tuple[set[str], set[str], float]],
) -> None:
    told, open_ones = None, set()
    for firing, hushed, elapsed_s in [*turns, (set(), set(), 0.0)]:
        told, due = plan(told, firing - hushed, hushed, elapsed_s, PACE)
        if due is not None:
            assert set(due.resolved) <= open_ones
            assert not set(due.firing) & hushed
            open_ones = (open_ones - set(due.resolved)) | set(due.firing)
    assert open_ones == set()
    assert told is None
