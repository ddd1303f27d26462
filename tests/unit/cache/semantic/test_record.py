"""What is stored of the tier: sealed, and nothing when it was touched."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.semantic.known import known, vector

from fairlead.cache.semantic.audit import Rules
from fairlead.cache.semantic.budget import Spent
from fairlead.cache.semantic.record import (
    Learned,
    name_of,
    packed,
    packed_learned,
    unpacked,
    unpacked_learned,
)
from fairlead.cache.semantic.verifier import Verifier

ONE = known(1)
NAME = name_of(ONE.key, ONE.embedder)


def test_an_entry_comes_back_as_it_was() -> None:
    assert unpacked(NAME, packed(ONE, vector(1, 2, 3))) == (ONE, vector(1, 2, 3))


@given(st.integers(0), st.integers(1, 255))
def test_any_changed_byte_makes_it_nothing(at: int, change: int) -> None:
    blob = bytearray(packed(ONE, vector(1, 2, 3)))
    blob[at % len(blob)] ^= change
    assert unpacked(NAME, bytes(blob)) is None


def test_under_another_name_or_with_a_vector_without_direction_it_is_nothing() -> None:
    assert unpacked(name_of(ONE.key, "other"), packed(ONE, vector(1, 2))) is None
    assert unpacked(NAME, packed(ONE, array("f", [0.0, 0.0]))) is None
    assert unpacked(NAME, packed(ONE, array("f", [float("nan"), 1.0]))) is None
    assert unpacked(NAME, b"") is None


def test_what_was_learned_comes_back_for_its_embedder_alone() -> None:
    verifier = Verifier(lambda change: None)
    verifier.watch("gpt", Rules())
    learned = Learned(verifier=verifier.saved(), spent={"gpt": Spent(day=3, microusd=7)})
    blob = packed_learned(learned, "e")

    assert unpacked_learned(blob, "e") == learned
    assert unpacked_learned(blob, "f") is None
    assert unpacked_learned(blob[:-1], "e") is None
