"""The life of an alert."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.alerts.state import Phase, State, Timing, step

TIMING = Timing(for_s=30, keep_s=60, shown_s=100)


def walk(*turns: tuple[bool | None, float], timing: Timing = TIMING) -> list[Phase]:
    state, phases = State(), []
    for holds, elapsed_s in turns:
        state = step(state, holds, elapsed_s, timing)
        phases.append(state.phase)
    return phases


def test_an_alert_waits_fires_and_resolves() -> None:
    phases = walk((True, 15), (True, 15), (True, 15), (True, 15), (False, 59), (False, 1), (False, 100))

    assert phases == [
        Phase.PENDING, Phase.PENDING, Phase.FIRING, Phase.FIRING, Phase.FIRING, Phase.RESOLVED,
        Phase.INACTIVE,
    ]  # fmt: skip


def test_what_is_short_never_fires() -> None:
    assert walk((True, 15), (True, 15), (False, 15), (True, 15), (True, 15)) == [
        Phase.PENDING, Phase.PENDING, Phase.INACTIVE, Phase.PENDING, Phase.PENDING,
    ]  # fmt: skip


def test_without_a_wait_it_fires_at_once() -> None:
    assert walk((True, 0), timing=Timing()) == [Phase.FIRING]


def test_what_flaps_goes_on_firing() -> None:
    turns = [(True, 31), (True, 31), *[(False, 20), (True, 20)] * 20]

    assert set(walk(*turns)[1:]) == {Phase.FIRING}


def test_without_data_nothing_changes() -> None:
    assert walk((True, 0), (None, 1e6), (None, 1e6)) == [Phase.PENDING] * 3
    assert walk((True, 0), (True, 30), (None, 1e6)) == [Phase.PENDING, Phase.FIRING, Phase.FIRING]


def test_a_resolved_alert_may_fire_again() -> None:
    timing = Timing(for_s=0, keep_s=0)

    assert walk((True, 1), (False, 1), (True, 1), timing=timing) == [
        Phase.FIRING, Phase.RESOLVED, Phase.FIRING,
    ]  # fmt: skip


TURNS = st.lists(st.tuples(st.sampled_from([True, False, None]), st.floats(-1e6, 1e3)), max_size=40)
TIMINGS = st.builds(Timing, for_s=st.floats(0, 100), keep_s=st.floats(0, 100), shown_s=st.floats(1, 100))
ALLOWED = {
    Phase.INACTIVE: {Phase.INACTIVE, Phase.PENDING, Phase.FIRING},
    Phase.PENDING: {Phase.PENDING, Phase.FIRING, Phase.INACTIVE},
    Phase.FIRING: {Phase.FIRING, Phase.RESOLVED},
    Phase.RESOLVED: {Phase.RESOLVED, Phase.PENDING, Phase.FIRING, Phase.INACTIVE},
}


@given(TURNS, TIMINGS)
def test_only_known_steps_are_taken(turns: list[tuple[bool | None, float]], timing: Timing) -> None:
    state = State()
    for holds, elapsed_s in turns:
        after = step(state, holds, elapsed_s, timing)
        assert after.phase in ALLOWED[state.phase]
        assert after.held_s >= 0
        assert after.calm_s >= 0
        state = after


@given(TURNS, TIMINGS)
def test_it_fires_only_after_holding_without_a_break_for_long_enough(
    turns: list[tuple[bool | None, float]], timing: Timing
) -> None:
    state, held_s, began = State(), 0.0, False
    for holds, elapsed_s in turns:
        after = step(state, holds, elapsed_s, timing)
        if holds is True:
            held_s = held_s + max(elapsed_s, 0.0) if began else 0.0
            began = True
        elif holds is False:
            held_s, began = 0.0, False
        if after.phase is Phase.FIRING and state.phase is not Phase.FIRING:
            assert holds is True
            assert held_s >= timing.for_s
        state = after


@given(TURNS, TIMINGS)
def test_time_that_runs_backwards_is_no_time(turns: list[tuple[bool | None, float]], timing: Timing) -> None:
    there = here = State()
    for holds, elapsed_s in turns:
        there = step(there, holds, elapsed_s, timing)
        here = step(here, holds, max(elapsed_s, 0.0), timing)
    assert there == here
