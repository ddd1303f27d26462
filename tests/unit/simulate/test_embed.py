"""Hashed embeddings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.simulate.embed import embed, similarity


@given(st.text(max_size=60), st.integers(1, 64))
def test_a_vector_has_length_one(text: str, dimensions: int) -> None:
    vector = embed(text, dimensions)
    assert len(vector) == dimensions
    assert similarity(vector, vector) == pytest.approx(1.0)


def test_similar_texts_are_nearer_than_different_ones() -> None:
    question = embed("How do I reset my password?", 384)
    same = similarity(question, embed("how can I reset my password", 384))
    other = similarity(question, embed("The weather in Lisbon is sunny today", 384))
    assert same > 0.6
    assert other < 0.3


def test_the_same_text_gives_the_same_vector() -> None:
    assert embed("harbour", 32) == embed("harbour", 32)
