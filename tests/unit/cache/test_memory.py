"""The store in memory: least recently used first out, within its bytes."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.made import blob, space

from fairlead.cache.memory import MemoryTier
from fairlead.cache.purge import Purge, Purged

MANY = Purge(before=2000.0)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def entry(size: int = 100) -> bytes:
    return blob(key(0), b"x" * size)


def cost(size: int = 100) -> int:
    tier = MemoryTier(10_000)
    tier.put(key(0), entry(size))
    return tier.bytes


def test_what_was_not_used_for_longest_goes_first() -> None:
    tier = MemoryTier(3 * cost())
    for number in range(3):
        tier.put(key(number), entry())
    tier.get(key(0))

    tier.put(key(3), entry())

    assert [number for number in range(4) if tier.get(key(number)) is not None] == [0, 2, 3]
    assert tier.evicted == 1


def test_a_large_entry_makes_many_small_ones_go() -> None:
    tier = MemoryTier(4 * cost())
    for number in range(4):
        tier.put(key(number), entry())

    tier.put(key(9), entry(100 + 2 * cost()))

    assert [number for number in (0, 1, 2, 3, 9) if tier.get(key(number)) is not None] == [3, 9]


def test_what_can_never_fit_is_not_kept_and_costs_nobody_a_place() -> None:
    tier = MemoryTier(2 * cost())
    tier.put(key(0), entry())

    tier.put(key(1), entry(10_000))

    assert tier.get(key(0)) is not None
    assert tier.get(key(1)) is None


def test_a_large_entry_in_place_of_a_small_one_leaves_neither() -> None:
    """The old answer must not be given when a newer one could not be kept."""
    tier = MemoryTier(2 * cost())
    tier.put(key(0), entry())

    tier.put(key(0), entry(10_000))

    assert tier.get(key(0)) is None
    assert tier.bytes == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "get", "drop"]), st.integers(0, 9), st.integers(0, 900)),
        max_size=60,
    )
)
def test_the_bound_holds_after_any_calls(calls: list[tuple[str, int, int]]) -> None:
    tier = MemoryTier(3000)
    for what, number, size in calls:
        if what == "put":
            tier.put(key(number), entry(size))
        elif what == "get":
            tier.get(key(number))
        else:
            tier.drop(key(number))
        assert 0 <= tier.bytes <= 3000
    held = [found for number in range(10) if (found := tier.get(key(number))) is not None]
    assert tier.bytes == sum(cost(len(found) - len(entry(0))) for found in held)
    assert len(tier) == len(held)


def test_requests_go_on_during_a_purge() -> None:
    tier = MemoryTier(10_000_000)
    for number in range(2000):
        tier.put(key(number), blob(key(number), b"", space("acme" if number % 2 else "globex")))

    async def scenario() -> Purged:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1
                tier.put(key(5000 + turns), blob(key(5000 + turns), b"", space("acme"), created_at=3000.0))
                tier.drop(key(1999))

        task = asyncio.create_task(others())
        purged = await tier.purge(Purge(before=2000.0, tenant="acme"))
        task.cancel()
        assert turns >= 3
        return purged

    purged = asyncio.run(scenario())

    assert purged.entries == 999
    assert tier.get(key(5001)) is not None
    assert tier.get(key(0)) is not None
