"""The verifier: guards first, then the model, then the audits; and what is learned."""

from __future__ import annotations

import random

import pytest

from fairlead.cache.semantic.audit import Change, RouteAudit, Rules, State
from fairlead.cache.semantic.verifier import Candidate, Decision, Verifier, read

WAYS = (
    "how do i {}",
    "how can i {}",
    "tell me how to {}",
    "what is the way to {}",
    "please explain how to {}",
)
ACTS = ("paint it", "wash it", "fold it", "ship it", "tune it")


def decide(verifier: Verifier, watch: RouteAudit, cached: str, asked: str, roll: float = 0.99) -> Decision:
    candidate = Candidate(entry=cached, reading=read(cached), cosine=None)
    return verifier.decide(watch, read(asked), candidate, roll=roll, now=0.0)


@pytest.fixture(scope="module")
def trained() -> tuple[Verifier, RouteAudit]:
    """A verifier that has seen what phrasings and acts do to the answer."""
    verifier = Verifier(lambda change: None)
    watch = verifier.watch("route", Rules(max_false_hit_rate=0.05, audits_per_hour=1e9))
    random_ = random.Random(3)
    for _ in range(1200):
        cached, asked = random_.sample(WAYS, 2)
        one, other = random_.choice(ACTS), random_.choice(ACTS)
        if random_.random() < 0.5:
            other = one
        decision = decide(verifier, watch, cached.format(one), asked.format(other), random_.random())
        if decision.verify:
            verifier.learn(watch, decision, right=one == other)
    return verifier, watch


def test_guards_come_first_whatever_the_vectors_say() -> None:
    verifier = Verifier(lambda change: None)
    watch = verifier.watch("route", Rules())
    candidate = Candidate(entry="e", reading=read("add 5 to it"), cosine=1.0)
    decision = verifier.decide(watch, read("add 6 to it"), candidate, roll=0.0, now=0.0)

    assert (decision.serve, decision.verify, decision.guards) == (False, False, ("numbers",))
    verifier.learn(watch, decision, right=True)
    assert verifier.model.saved().effects == {}


def test_a_verifier_that_knows_nothing_serves_nothing_and_compares() -> None:
    verifier = Verifier(lambda change: None)
    decision = decide(verifier, verifier.watch("route", Rules()), "how do i paint it", "how can i paint it")

    assert (decision.serve, decision.verify) == (False, True)


def test_it_learns_which_differences_matter(trained: tuple[Verifier, RouteAudit]) -> None:
    verifier, watch = trained

    assert watch.state is State.ACTIVE
    assert decide(verifier, watch, "how do i paint it", "how can i paint it").serve
    assert decide(verifier, watch, "tell me how to fold it", "how can i fold it").serve
    assert not decide(verifier, watch, "how do i paint it", "how do i wash it").serve
    assert not decide(verifier, watch, "how do i paint it", "how can i wash it").serve


def test_a_word_that_nobody_verified_is_not_served(trained: tuple[Verifier, RouteAudit]) -> None:
    verifier, watch = trained

    assert not decide(verifier, watch, "how do i paint it", "how do i glaze it").serve
    assert not decide(verifier, watch, "how do i paint it", "how do i paint them").serve


def test_another_route_has_to_qualify_itself(trained: tuple[Verifier, RouteAudit]) -> None:
    verifier, _ = trained
    other = verifier.watch("other", Rules(max_false_hit_rate=0.05))

    assert not decide(verifier, other, "how do i paint it", "how can i paint it").serve
    assert verifier.status()["other"].state is State.LEARNING


def test_new_rules_begin_a_new_watch() -> None:
    verifier = Verifier(lambda change: None)
    first = verifier.watch("route", Rules())

    assert verifier.watch("route", Rules()) is first
    assert verifier.watch("route", Rules(max_false_hit_rate=0.01)) is not first


def test_a_route_that_is_off_decides_nothing() -> None:
    changes: list[Change] = []
    verifier = Verifier(changes.append)
    watch = verifier.watch("route", Rules())
    for _ in range(300):
        watch.verified(1.0, right=True, hit=False)
    while watch.state is not State.OFF:
        watch.verified(1.0, right=False, hit=True)
    decision = decide(verifier, watch, "same words", "same words", 0.0)

    assert (decision.serve, decision.verify, decision.prediction) == (False, False, None)
    assert changes[-1].after is State.OFF


def test_texts_without_an_end_are_no_candidates() -> None:
    verifier = Verifier(lambda change: None)

    assert decide(verifier, verifier.watch("r", Rules()), "a " * 999, "a " * 999).guards == ("length",)


def test_what_was_learned_survives_and_a_route_may_begin_anew(trained: tuple[Verifier, RouteAudit]) -> None:
    verifier, watch = trained
    other = Verifier(lambda change: None)
    assert other.restore(verifier.saved())
    restored = other.watch("route", watch.rules)

    assert restored.status() == watch.status()
    assert other.saved() == verifier.saved()
    other.forget("route")
    assert (restored.state, restored.status().verified) == (State.LEARNING, 0)
    other.forget(None)
    assert other.model.saved().effects == {}
