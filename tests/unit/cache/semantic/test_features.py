"""Features: bounded numbers, and names for what differs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.features import MAX_EFFECTS, SHAPE, Features, features_of
from fairlead.cache.semantic.text import difference, taken_apart


def compare(one: str, other: str, cosine: float | None = None, runner_up: float | None = None) -> Features:
    ours, theirs = taken_apart(one), taken_apart(other)
    return features_of(ours, theirs, difference(ours, theirs), cosine=cosine, runner_up=runner_up)


@given(
    st.text(max_size=80),
    st.text(max_size=80),
    st.none() | st.floats(),
    st.none() | st.floats(-1, 1),
)
def test_every_number_is_finite_and_small(
    one: str, other: str, cosine: float | None, runner_up: float | None
) -> None:
    found = compare(one, other, cosine, runner_up)

    assert len(found.shape) == len(SHAPE)
    assert all(math.isfinite(value) and -1.0 <= value <= 1.0 + 1e-9 for value in found.shape)


def test_the_direction_of_a_comparison_does_not_matter() -> None:
    assert compare("how do i sort it", "sort it please", 0.9) == compare(
        "sort it please", "how do i sort it", 0.9
    )


def test_each_difference_has_a_name_of_its_own() -> None:
    replaced = compare("how do i sort it", "how can i sort it")
    other = compare("why do you sort it", "why can you sort it")

    assert (len(replaced.words), len(replaced.spans)) == (2, 1)
    assert (other.words, other.spans) == (replaced.words, replaced.spans)
    assert compare("a b", "b a").words != compare("a b", "b").words


def test_equal_texts_have_nothing_to_learn_of() -> None:
    assert compare("sort it", "Sort it!").words == ()


def test_a_vector_that_understands_nothing_is_no_evidence() -> None:
    assert compare("sort it", "sort them").shape[SHAPE.index("cosine")] == 0.0
    assert compare("sort it", "sort them").shape[SHAPE.index("nearness")] == pytest.approx(0.0)


def test_the_margin_to_the_next_candidate_counts() -> None:
    margin = SHAPE.index("margin")

    assert compare("a", "b", 0.9, 0.8).shape[margin] == pytest.approx(0.5)
    assert compare("a", "b", 0.9, 0.95).shape[margin] == 0.0


def test_texts_that_differ_in_too_much_are_told() -> None:
    many = " ".join(f"w{number}" for number in range(MAX_EFFECTS))

    assert compare(many, "something else").too_different
    assert not compare("this one", "that one").too_different
