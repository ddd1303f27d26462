"""Groups of answers to one question."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.signals.dispersion import dispersion


def test_texts_that_differ_in_case_space_and_punctuation_are_one() -> None:
    found = dispersion(["Paris.", " paris", "PARIS!", "Lyon"])

    assert (found.groups, found.agreement, found.by) == (2, 0.75, "text")
    assert found.entropy == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))


def test_json_is_compared_by_value() -> None:
    found = dispersion(['{"a": 1, "b": [2]}', '{"b":[2],"a":1}', '{"a": 2}'])

    assert (found.groups, found.by) == (2, "json")


def test_vectors_join_what_is_near_and_say_so() -> None:
    cosines = {(0, 1): 0.95, (0, 2): 0.2, (1, 2): 0.2}
    found = dispersion(["It is Paris", "Paris it is", "Rome"], lambda one, other: cosines[one, other])

    assert (found.groups, found.by) == (2, "vectors")


def test_agreement_is_whole_when_all_say_the_same() -> None:
    found = dispersion(["yes"] * 4)

    assert (found.agreement, found.entropy) == (1.0, 0.0)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=8))
def test_bounds(answers: list[str]) -> None:
    found = dispersion(answers)

    assert 1 <= found.groups <= len(answers)
    assert 1 / len(answers) <= found.agreement <= 1
    assert 0 <= found.entropy <= math.log(len(answers)) + 1e-9
