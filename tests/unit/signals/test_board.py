"""When windows are compared, and with what."""

from __future__ import annotations

from fairlead.signals.board import Outcome, Policy, Stored, filled, hours_of, plan
from fairlead.signals.compare import Comparison

HOUR = 3600.0
WEEK = 7 * 24 * HOUR
MONDAY = 4 * 24 * HOUR
POLICY = Policy(window=50, least_reference=100)


def stored(name: str, at: float, **more: object) -> Stored:
    return Stored(id=name, at=at, user="", session=name, digest=b"d" + name.encode(), **more)  # type: ignore[arg-type]


def _traffic() -> tuple[list[Stored], list[Stored]]:
    window = [stored(f"w{n}", MONDAY + 5 * WEEK + 9 * HOUR + n, vector=b"w", marks=n % 2) for n in range(60)]
    reference = [
        stored(f"r{week}-{n}", MONDAY + week * WEEK + 9 * HOUR + n) for week in range(4) for n in range(50)
    ]
    return window, reference


def test_a_plan_has_the_same_hours_on_both_sides() -> None:
    window, reference = _traffic()

    found = plan(POLICY, "prompt", window, reference, alpha=0.01, seed=7)

    assert found is not None
    assert (found.level, found.job.kind, found.job.seed) == ("hour of week", "vectors", 7)
    assert (len(found.job.window), len(found.job.reference)) == (60, 200)
    assert found.job.most == 3000  # enough to tell at the level, for six tests
    assert {item.stratum for item in (*found.job.window, *found.job.reference)} == {9}


def test_behaviour_is_compared_by_marks() -> None:
    window, reference = _traffic()

    found = plan(POLICY, "behaviour", window, reference, alpha=0.01, seed=1)

    assert found is not None
    assert found.job.kind == "marks"
    assert sum(item.marks for item in found.job.window) == 30


def test_the_reference_gets_its_vectors_and_loses_what_has_none() -> None:
    window, reference = _traffic()
    found = plan(POLICY, "prompt", window, reference, alpha=0.01, seed=1)
    assert found is not None

    job = filled(found.job, {item.id: b"v" for item in found.job.reference[:150]})

    assert len(job.reference) == 150
    assert {item.vector for item in job.reference} == {b"v"}
    assert {item.vector for item in job.window} == {b"w"}


def test_the_reference_ends_before_the_window() -> None:
    since, until = Policy(reference_days=7, gap_hours=24).reference_span(1_000_000.0)

    assert (since, until) == (1_000_000.0 - 8 * 86_400, 1_000_000.0 - 86_400)


def test_a_level_has_to_be_earned() -> None:
    policy = Policy(false_alarms_per_month=2)

    assert policy.level(3, 60) is None
    earned = policy.level(3, 3 * HOUR)
    assert earned is not None
    assert abs(earned - 2 / 720) < 1e-9


def test_hours_of_a_window_are_whole_parts_of_the_day() -> None:
    assert hours_of([stored("a", 5 * HOUR), stored("b", 23 * HOUR)]) == {4, 5, 6, 7, 20, 21, 22, 23}


def test_an_alarm_is_a_p_value_within_the_level() -> None:
    def outcome(p: float) -> Outcome:
        return Outcome(
            model="m", signal="prompt", number=1, began_at=0, ended_at=1, compared_at=2, requests=50,
            reference=100, level="hour of week", alpha=0.01,
            result=Comparison(p_value=p, tests={}, topic=None),
        )  # fmt: skip

    assert (outcome(0.01).alarm, outcome(0.011).alarm) == (True, False)
    assert outcome(0.001).score > 1 > outcome(0.1).score
