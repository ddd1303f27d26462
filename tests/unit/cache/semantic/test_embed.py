"""Embedders: unit vectors, and nothing else from far away."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.embed import Hashed, Remote, WrongVectors, cosine, unit


@given(st.text(max_size=100))
def test_hashed_vectors_have_length_one_and_are_the_same_every_time(text: str) -> None:
    vector = Hashed().vector(text)

    assert len(vector) == Hashed.dimensions
    assert math.isclose(cosine(vector, vector), 1.0, abs_tol=1e-5)
    assert vector == asyncio.run(Hashed().embed([text]))[0]


def test_hashed_vectors_find_candidates() -> None:
    one, near, far = map(Hashed().vector, ("how do i reset it", "how can i reset it", "best pizza in town"))

    assert cosine(one, near) > 0.6 > cosine(one, far)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_a_unit_vector_has_length_one(values: list[float]) -> None:
    vector = unit(values)

    assert math.isclose(cosine(vector, vector), 1.0, abs_tol=1e-5)


def remote(answer: Sequence[Sequence[float]], texts: Sequence[str] = ("a",)) -> Sequence[Sequence[float]]:
    async def ask(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return answer

    return asyncio.run(Remote("far/model", 2, ask).embed(texts))


def test_vectors_from_elsewhere_are_scaled() -> None:
    assert [list(vector) for vector in remote([[3.0, 4.0]])] == [pytest.approx([0.6, 0.8])]


@pytest.mark.parametrize(
    "answer",
    [[], [[1.0, 0.0]] * 2, [[1.0]], [[1.0, 2.0, 3.0]], [[math.nan, 1.0]], [[math.inf, 1.0]], [[0.0, 0.0]]],
)
def test_unusable_vectors_are_refused(answer: Sequence[Sequence[float]]) -> None:
    with pytest.raises(WrongVectors):
        remote(answer)


def test_an_embedder_is_named_with_its_size() -> None:
    async def ask(texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return []

    assert Remote("far/model", 2, ask).id == "far/model/2"
    assert Remote("far/model", 3, ask).id != Remote("far/model", 2, ask).id
