"""Questions and vectors in memory: found in their own partition, evicted and purged together."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cache.semantic.known import known, vector

from fairlead.cache.purge import Purge
from fairlead.cache.semantic.store import Store


def test_the_nearest_come_first_and_only_those_of_the_partition() -> None:
    store = Store(1_000_000)
    store.add(known(1), vector(1, 0, 0))
    store.add(known(2), vector(1, 1, 0))
    store.add(known(3, fingerprint=b"g" * 32), vector(1, 0, 0))
    store.add(known(4, embedder="other"), vector(1, 0))

    found = store.near(b"f" * 32, "e", vector(1, 0.1, 0))

    assert [near.known.text for near in found] == ["question 1", "question 2"]
    assert found[0].cosine > found[1].cosine
    assert store.holds(b"g" * 32, "e")
    assert not store.holds(b"g" * 32, "other")


def test_the_least_recently_used_goes_with_its_vector_when_there_is_no_room() -> None:
    store = Store(8_000)
    for number in range(2):
        assert store.add(known(number), vector(1, number)) == []
    store.near(b"f" * 32, "e", vector(1, 0))
    store.add(known(2, fingerprint=b"g" * 32), vector(1, 0))
    gone = store.add(known(3, fingerprint=b"g" * 32), vector(1, 0))

    assert [one.text for one in gone] == ["question 0"] or [one.text for one in gone] == ["question 1"]
    assert len(store) == 3
    assert store.evicted == 1
    assert store.bytes <= store.max_bytes
    left = store.near(b"f" * 32, "e", vector(1, 0))
    assert len(left) == 1
    assert left[0].known != gone[0]


def test_one_that_is_larger_than_all_the_room_is_not_kept_and_nothing_goes_for_it() -> None:
    store = Store(8_000)
    store.add(known(1), vector(1, 0))
    assert store.add(known(2, text="x" * 4000), vector(1, 0)) == []
    assert len(store) == 1


def test_a_new_answer_to_the_same_request_replaces_the_old() -> None:
    store = Store(1_000_000)
    store.add(known(1), vector(1, 0))
    size = store.bytes
    newer = known(1, created_at=1500.0)
    store.add(newer, vector(0, 1))

    assert (len(store), store.bytes) == (1, size)
    assert store.has(newer)
    assert not store.has(known(1))


def test_a_vector_of_another_size_is_refused_and_leaves_nothing_behind() -> None:
    store = Store(1_000_000)
    store.add(known(1), vector(1, 0))
    with pytest.raises(ValueError, match="dimensions"):
        store.add(known(2), vector(1, 0, 0))
    assert len(store) == 1
    assert store.drop(known(2).key, "e") is None


def test_a_purge_takes_what_is_meant() -> None:
    store = Store(1_000_000)
    store.add(known(1), vector(1, 0))
    store.add(known(2, tenant="globex"), vector(0, 1))
    store.add(known(3, created_at=1900.0), vector(1, 1))
    meant = Purge(before=1500.0, tenant="acme")

    dry, _ = asyncio.run(store.purge(meant, dry_run=True))
    done, gone = asyncio.run(store.purge(meant))

    assert (dry.entries, len(gone)) == (1, 1)
    assert dry == done
    assert sorted(near.known.text for near in store.near(b"f" * 32, "e", vector(1, 1))) == [
        "question 2",
        "question 3",
    ]
    assert [(size.tenant, size.entries) for size in store.sizes()] == [("acme", 1), ("globex", 1)]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["add", "drop", "near"]), st.integers(0, 9), st.sampled_from([b"f", b"g"])),
    max_size=60,
)


@settings(max_examples=50)
@given(OPERATIONS)
def test_bytes_and_index_agree_with_what_is_held_and_nothing_crosses(
    operations: list[tuple[str, int, bytes]],
) -> None:
    store = Store(14_000)
    held: dict[bytes, bytes] = {}
    for what, number, letter in operations:
        one = known(number, fingerprint=letter * 32)
        if what == "add":
            for gone in store.add(one, vector(1, number)):
                del held[gone.key]
            held[one.key] = one.fingerprint
        elif what == "drop":
            store.drop(one.key, "e")
            held.pop(one.key, None)
        found = store.near(letter * 32, "e", vector(1, number))
        assert {near.known.key for near in found} <= {
            key for key, mark in held.items() if mark == letter * 32
        }
        assert len(store) == len(held)
        assert store.bytes <= store.max_bytes
        assert (store.bytes == 0) == (not held)
