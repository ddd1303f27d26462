"""The demo's table, and its schedule."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli.demo import SCHEDULE, act_at
from fairlead.cli.demo_board import Board, Result, TargetState, percentile
from fairlead.simulate.faults import parse


def test_the_table_tells_counts_shares_and_breakers() -> None:
    board = Board()
    for number in range(8):
        target = "fast/demo" if number < 6 else "slow/demo"
        board.add(Result(ended_at=100.0, ok=True, target=target, first_token_ms=10.0 + number))
    board.add(Result(ended_at=100.5, ok=False, error="status 503"))
    states = (
        TargetState(target="slow/demo", state="open"),
        TargetState(target="fast/demo", state="closed", latency_ms=31.4),
    )
    lines = board.render(101.0, 12.0, "all is well", states).splitlines()
    assert lines[0] == "   12 s  all is well"
    assert "requests 9" in lines[1]
    assert "success 88.9 %" in lines[1]
    assert "p50 14 ms  p95 17 ms" in lines[1]
    assert lines[3].split() == ["fast/demo", "closed", "75", "%", "0", "31", "ms"]
    assert lines[4].split() == ["slow/demo", "open", "25", "%", "0", "-"]
    assert lines[5] == "  last failure: status 503"


def test_what_is_older_than_ten_seconds_counts_in_the_totals_only() -> None:
    board = Board()
    board.add(Result(ended_at=0.0, ok=False, error="x"))
    board.add(Result(ended_at=11.0, ok=True, target="a"))
    line = board.render(12.0, 12.0, "", ()).splitlines()[1]
    assert "requests 2" in line
    assert "success 50.0 % in all, 100.0 % lately" in line


def test_an_empty_board_can_be_shown() -> None:
    text = Board().render(0.0, 0.0, "starting", (TargetState(target="a", state="closed"),))
    assert "success 100.0 % in all, - lately" in text


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_one_of_the_values(values: list[float], share: float) -> None:
    assert percentile(values, share) in values


def test_the_schedule_is_in_order_repeats_and_names_faults_that_exist() -> None:
    assert [act.at_s for act in SCHEDULE] == sorted(act.at_s for act in SCHEDULE)
    assert act_at(0) is act_at(50.0) is SCHEDULE[0]
    assert act_at(21).fault == act_at(71).fault == "refuse"
    assert {act.engine for act in SCHEDULE if act.fault} == {"fast", "medium", "slow"}
    assert [parse(act.fault).name for act in SCHEDULE if act.fault] == ["slow", "refuse", "cut"]
