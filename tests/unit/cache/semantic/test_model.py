"""The model: unknown differences keep it unsure, verified ones make it sure, harmful ones outweigh."""

from __future__ import annotations

import math
import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.cache.semantic.features import SHAPE, Features
from fairlead.cache.semantic.model import Model, Priors, Saved


def features(*words: int, spans: tuple[int, ...] = (), near: float = 0.9) -> Features:
    shape = [1.0] + [near] * (len(SHAPE) - 1)
    return Features(shape=tuple(shape), words=words, spans=spans)


def taught(times: int = 60, *, words: tuple[int, ...] = (1, 2), right: bool = True) -> Model:
    model = Model()
    for number in range(times):
        model.learn("route", f"entry {number}", features(*words), right=right)
    return model


def test_before_anything_is_learned_nothing_is_sure() -> None:
    assert Model().predict("route", "entry", features()).lower < 0.5
    assert Model().predict("route", "entry", features(1, 2)).lower < 0.05


def test_what_was_verified_often_is_sure() -> None:
    assert taught(150).predict("route", "new", features(1, 2)).lower > 0.97


def test_one_unknown_difference_makes_it_unsure_again() -> None:
    model = taught(150)

    assert model.predict("route", "new", features(1, 2, 3)).lower < 0.9
    assert not model.knows(3)


def test_harmless_differences_do_not_outweigh_a_harmful_one() -> None:
    model = taught(150, words=(1, 2, 3, 4, 5, 6))
    for number in range(30):
        model.learn("route", f"bad {number}", features(7), right=False)
        model.learn("route", f"good {number}", features(1, 2), right=True)

    assert model.predict("route", "new", features(1, 2, 3, 4, 5, 6, 7)).lower < 0.5


def test_a_route_leans_on_the_embedder_until_it_knows_better() -> None:
    model = taught(150)
    fresh = model.predict("other", "new", features(1, 2))

    assert 0.5 < fresh.lower < model.predict("route", "new", features(1, 2)).lower

    for number in range(40):
        model.learn("other", f"entry {number}", features(9), right=False)
    assert model.predict("other", "new", features(9)).lower < model.predict("route", "new", features(9)).lower


def test_an_entry_has_an_opinion_of_its_own() -> None:
    model = taught(60)
    for _ in range(8):
        model.learn("route", "odd", features(1, 2), right=False)
        model.learn("route", "even", features(1, 2), right=True)

    odd = model.predict("route", "odd", features(1, 2)).probability
    assert odd < model.predict("route", "even", features(1, 2)).probability

    model.forget_entry("odd")
    assert model.predict("route", "odd", features(1, 2)).probability > odd


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_whatever_comes_it_stays_a_model(seed: int) -> None:
    random_ = random.Random(seed)
    model = Model(Priors(most_effects=20, most_entries=5))
    for _ in range(80):
        pair = Features(
            shape=(1.0, *(random_.uniform(-1, 1) for _ in SHAPE[1:])),
            words=tuple(random_.sample(range(40), random_.randrange(6))),
            spans=tuple(random_.sample(range(100, 140), random_.randrange(3))),
        )
        model.learn(
            f"r{random_.randrange(3)}", f"e{random_.randrange(9)}", pair, right=random_.random() < 0.5
        )
        found = model.predict(f"r{random_.randrange(4)}", "e0", pair)
        # The mean shrinks towards one half, so it may lie outside of narrow bounds.
        assert 0.0 <= found.lower <= found.upper <= 1.0
        assert 0.0 <= found.probability <= 1.0
    saved = model.saved()
    assert len(saved.effects) <= 20
    assert len(saved.entries) <= 5
    assert all(mean <= 0.0 < variance for mean, variance in saved.effects.values())
    # No variance goes below zero, whatever was learned.
    for _, covariance in (("", saved.covariance), *saved.routes.values()):
        assert all(covariance[index][index] >= 0.0 for index in range(len(covariance)))


def test_what_is_forgotten_is_unknown_again() -> None:
    model = Model(Priors(most_effects=2))
    for effect in (1, 2, 3):
        model.learn("route", "entry", features(effect), right=True)

    assert [model.knows(effect) for effect in (1, 2, 3)] == [False, True, True]


def test_it_goes_on_from_what_was_saved() -> None:
    model = taught(40)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(model.saved()), type=Saved)
    other = Model()

    assert other.restore(stored)
    assert other.predict("route", "new", features(1, 2)) == model.predict("route", "new", features(1, 2))
    other.learn("route", "new", features(1, 2), right=False)
    assert other.predict("route", "new", features(1, 2)) != model.predict("route", "new", features(1, 2))


def test_what_was_saved_in_another_shape_is_refused() -> None:
    stored = taught(5).saved()
    model = Model()
    before = model.predict("route", "new", features(1))

    for odd in (
        msgspec.structs.replace(stored, mean=stored.mean[:-1]),
        msgspec.structs.replace(stored, mean=[math.nan, *stored.mean[1:]]),
        msgspec.structs.replace(stored, effects={1: (0.0, -1.0)}),
    ):
        assert not model.restore(odd)
    assert model.predict("route", "new", features(1)) == before
