"""The watch over a route: it qualifies, audits, tightens, recovers, and switches itself off."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.cache.semantic.audit import Change, RouteAudit, Rules, Sample, State

SURE = 0.9999
"""Good enough for any requirement."""
ENOUGH = 0.985
"""Good enough at 2 %, not when tightened."""


class Watched:
    """A route, and what it told."""

    def __init__(self, **rules: float) -> None:
        self.changes: list[Change] = []
        self.route = RouteAudit("route", Rules(**{"audits_per_hour": 1e9, **rules}), self.changes.append)

    def verify(self, times: int, *, right: bool = True, lower: float = ENOUGH) -> None:
        for _ in range(times):
            self.route.verified(lower, right=right, hit=False)

    def serves(self, lower: float = ENOUGH) -> bool:
        return self.route.decide(lower, roll=0.99, now=0.0).serve

    def states(self) -> list[State]:
        return [change.after for change in self.changes]


def test_it_serves_nothing_until_its_bound_is_within_the_limit() -> None:
    watched = Watched()
    seen = 0
    while not watched.serves():
        assert watched.route.status().bound > 0.02
        assert watched.route.decide(ENOUGH, roll=0.0, now=0.0).verify
        watched.verify(1)
        seen += 1

    assert watched.route.status().bound <= 0.02
    assert 149 <= seen <= 250
    assert watched.states() == [State.ACTIVE]


def test_what_the_model_is_not_sure_of_is_never_served() -> None:
    watched = Watched()
    watched.verify(300)

    assert watched.serves(0.98)
    assert not watched.serves(0.9799)
    assert not watched.serves(float("nan"))


def test_hits_are_audited_at_random_and_more_often_near_the_limit() -> None:
    watched = Watched(audit_rate=0.05)
    watched.verify(210)
    assert watched.route.decide(ENOUGH, roll=0.19, now=0.0).verify
    assert not watched.route.decide(ENOUGH, roll=0.21, now=0.0).verify

    watched.verify(400)
    assert watched.route.decide(ENOUGH, roll=0.04, now=0.0).verify
    assert not watched.route.decide(ENOUGH, roll=0.06, now=0.0).verify


def test_a_bound_above_the_limit_tightens_and_a_better_one_leads_back() -> None:
    watched = Watched()
    watched.verify(210)
    watched.verify(2, right=False)

    assert watched.states() == [State.ACTIVE, State.TIGHTENED]
    assert watched.changes[-1].bound > watched.changes[-1].limit == 0.02
    assert not watched.serves()

    watched.verify(300)
    assert watched.states()[-1] is State.ACTIVE
    assert watched.serves()


def test_tightened_it_serves_what_is_surer_and_has_a_bound_of_its_own() -> None:
    watched = Watched()
    watched.verify(300, lower=SURE)
    for _ in range(4):
        # What was less sure turns out wrong now and then: no sudden change, but too much.
        watched.verify(25)
        watched.verify(1, right=False)

    assert watched.route.state is State.TIGHTENED
    assert watched.serves(SURE)
    assert not watched.serves(ENOUGH)


def test_when_it_does_not_get_better_it_switches_itself_off_until_it_is_reset() -> None:
    watched = Watched()
    watched.verify(210)
    for _ in range(400):
        watched.verify(10)
        watched.verify(1, right=False)

    assert watched.states()[-1] is State.OFF
    assert not watched.serves(SURE)
    assert not watched.route.decide(SURE, roll=0.0, now=0.0).verify
    watched.verify(1000)
    assert watched.route.state is State.OFF

    watched.route.reset()
    assert watched.route.state is State.LEARNING
    assert watched.route.status().verified == 0


def test_a_sudden_change_is_noticed_however_long_all_was_well() -> None:
    watched = Watched()
    watched.verify(5_000)
    before = watched.route.status().bound
    watched.verify(6, right=False)

    assert before < 0.002
    assert watched.route.state is State.TIGHTENED
    assert not watched.serves()


def test_without_audits_it_stops_serving() -> None:
    watched = Watched(audits_per_hour=0.0)
    watched.verify(300)
    served = 0
    while watched.serves():
        served += 1

    assert served == 400
    assert watched.route.decide(ENOUGH, roll=0.0, now=0.0).verify
    watched.verify(1)
    assert watched.serves()


def test_audits_keep_to_their_budget() -> None:
    watched = Watched(audits_per_hour=2.0)
    watched.verify(300)

    def audited(now: float) -> bool:
        return watched.route.decide(ENOUGH, roll=0.0, now=now).verify

    assert [audited(0.0) for _ in range(3)] == [True, True, False]
    assert [audited(1800.0) for _ in range(2)] == [True, False]
    assert not audited(0.0), "a clock that goes back earns nothing"
    assert watched.route.status().audits_skipped == 3


def test_a_judge_that_misses_widens_the_bound() -> None:
    sharp, dull = Watched(), Watched()
    for _ in range(210):
        sharp.route.verified(ENOUGH, right=True, hit=False)
        dull.route.verified(ENOUGH, right=True, hit=False, missed=0.5)

    assert sharp.route.state is State.ACTIVE
    assert dull.route.state is State.LEARNING
    assert dull.route.status().bound == pytest.approx(2 * sharp.route.status().bound)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.01, 0.05, 0.3]))
def test_it_never_serves_with_a_bound_above_the_limit(seed: int, rate: float) -> None:
    random_ = random.Random(seed)
    watched = Watched(max_false_hit_rate=0.05)
    for _ in range(400):
        lower = random_.choice((0.5, 0.96, 0.999))
        course = watched.route.decide(lower, roll=random_.random(), now=0.0)
        if course.serve:
            assert watched.route.status().bound <= 0.05
            assert lower >= 0.95
        if course.verify:
            watched.route.verified(lower, right=random_.random() >= rate, hit=course.serve)
    if rate == 0.3:
        assert watched.route.status().hits == 0


@pytest.mark.parametrize("rules", [{"max_false_hit_rate": 0.0}, {"alpha": 1.0}, {"audit_rate": 0.0}])
def test_rates_that_are_none_are_refused(rules: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Watched(**rules)


# --- over a restart -----------------------------------------------------------------------------


def test_a_watch_goes_on_from_what_was_saved() -> None:
    watch = RouteAudit("r", Rules(max_false_hit_rate=0.1), lambda change: None)
    for _ in range(60):
        watch.verified(0.99, right=True, hit=False)
    assert watch.state is State.ACTIVE
    other = RouteAudit("r", watch.rules, lambda change: None)

    assert other.restore(watch.saved())
    assert other.status() == watch.status()
    assert other.saved() == watch.saved()


def test_another_limit_begins_anew_and_a_smaller_error_probability_counts_the_evidence_again() -> None:
    watch = RouteAudit("r", Rules(max_false_hit_rate=0.1), lambda change: None)
    for _ in range(36):
        watch.verified(0.99, right=True, hit=False)
    assert watch.state is State.ACTIVE
    stricter = RouteAudit("r", Rules(max_false_hit_rate=0.05), lambda change: None)
    rarer = RouteAudit("r", Rules(max_false_hit_rate=0.1, alpha=0.001), lambda change: None)

    assert not stricter.restore(watch.saved())
    assert stricter.status().verified == 0
    assert rarer.restore(watch.saved())
    assert rarer.status().bound > 0.1
    assert rarer.state is State.TIGHTENED


def test_what_cannot_be_is_not_restored() -> None:
    watch = RouteAudit("r", Rules(), lambda change: None)
    saved = watch.saved()
    for change in (
        {"main": Sample(count=1, errors=2)},
        {"attempt": 3},
        {"missed": 1.0},
        {"drift": float("nan")},
    ):
        assert not watch.restore(msgspec.structs.replace(saved, **change))


def test_a_tightened_route_whose_model_is_sure_of_nothing_any_more_goes_off() -> None:
    watch = RouteAudit("r", Rules(max_false_hit_rate=0.1), lambda change: None)
    for _ in range(40):
        watch.verified(0.99, right=True, hit=False)
    watch.verified(0.99, right=False, hit=True)
    assert watch.state is State.TIGHTENED
    for _ in range(199):
        watch.verified(0.5, right=False, hit=False)
    assert watch.state is State.TIGHTENED
    watch.verified(0.5, right=False, hit=False)
    assert watch.state is State.OFF
