"""The index: nearest vectors of one partition, exact when small, bounded, and what is removed is gone."""

from __future__ import annotations

import random
import sys
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.cache.semantic.embed import Vector, cosine, unit
from fairlead.cache.semantic.index import Index
from fairlead.errors import UsageError

SIZE = 16


def vector(seed: int) -> Vector:
    random_ = random.Random(seed)
    return unit([random_.gauss(0, 1) for _ in range(SIZE)])


def filled(count: int, most: int = 10_000) -> Index:
    index = Index(most_vectors=most)
    for key in range(count):
        index.add(b"f", "e", key, vector(key))
    return index


@pytest.mark.parametrize("count", [1, 40, 255, 256, 257, 600])
def test_the_nearest_come_first(count: int) -> None:
    index = filled(count)
    asked = vector(10_001)
    found = index.nearest(b"f", "e", asked, 3)
    exact = sorted(range(count), key=lambda key: -cosine(asked, vector(key)))[:3]

    assert [one.key for one in found] == exact
    assert [one.cosine for one in found] == pytest.approx(
        [cosine(asked, vector(key)) for key in exact], abs=2e-3
    )


def test_partitions_never_meet() -> None:
    index = filled(3)
    index.add(b"g", "e", 77, vector(0))
    index.add(b"f", "other", 78, vector(0))

    assert {one.key for one in index.nearest(b"f", "e", vector(0), 10)} == {0, 1, 2}
    assert [one.key for one in index.nearest(b"g", "e", vector(0), 10)] == [77]
    assert index.nearest(b"g", "other", vector(0), 10) == []


@pytest.mark.parametrize("count", [10, 400])
def test_what_is_removed_is_not_found(count: int) -> None:
    index = filled(count)

    assert index.remove(b"f", "e", 5)
    assert not index.remove(b"f", "e", 5)
    assert not index.remove(b"g", "e", 1)
    assert 5 not in {one.key for one in index.nearest(b"f", "e", vector(5), count)}
    assert len(index) == count - 1


@pytest.mark.parametrize("count", [10, 400])
def test_a_key_holds_one_vector(count: int) -> None:
    index = filled(count)
    index.add(b"f", "e", 5, vector(999))

    assert len(index) == count
    assert index.nearest(b"f", "e", vector(999), 1)[0].key == 5
    assert index.nearest(b"f", "e", vector(5), 1)[0].cosine < 0.99


def test_the_least_recently_used_partition_gives_way() -> None:
    index = Index(most_vectors=4)
    for key, name in enumerate((b"a", b"a", b"b", b"c")):
        assert index.add(name, "e", key, vector(key)) == []
    index.nearest(b"a", "e", vector(0), 1)

    assert index.add(b"d", "e", 9, vector(9)) == [2]
    assert index.nearest(b"b", "e", vector(2), 1) == []
    assert len(index) == 4


def test_a_single_partition_loses_its_oldest() -> None:
    index = filled(3, most=3)

    assert index.add(b"f", "e", 3, vector(3)) == [0]
    assert {one.key for one in index.nearest(b"f", "e", vector(0), 9)} == {1, 2, 3}


def test_a_vector_of_another_size_is_refused_and_finds_nothing() -> None:
    index = filled(2)

    with pytest.raises(ValueError, match="3 dimensions among 16"):
        index.add(b"f", "e", 9, array("f", [1.0, 0.0, 0.0]))
    assert index.nearest(b"f", "e", array("f", [1.0, 0.0, 0.0]), 1) == []
    assert len(index) == 2


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 8)), max_size=40))
def test_size_and_content_agree_after_anything(steps: list[tuple[bool, int, int]]) -> None:
    index, there = Index(most_vectors=6), {}
    for adds, name, number in steps:
        fingerprint, key = bytes([name]), name * 100 + number
        if adds:
            there[key] = fingerprint
            for gone in index.add(fingerprint, "e", key, vector(key)):
                del there[gone]
        else:
            assert index.remove(fingerprint, "e", key) == (there.pop(key, None) is not None)
        assert len(index) == len(there) <= 6
    for key, fingerprint in there.items():
        assert index.nearest(fingerprint, "e", vector(key), 1)[0].key == key


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)

    with pytest.raises(UsageError) as caught:
        Index(most_vectors=1)
    assert caught.value.hint == "pip install 'fairlead[semantic]'"


def test_an_index_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Index(most_vectors=0)
