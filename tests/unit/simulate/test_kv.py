"""Blocks of the simulated KV cache."""

from fairlead.simulate.kv import KvCache


def test_a_lease_takes_whole_blocks_and_gives_them_back() -> None:
    kv = KvCache(10, 16, prefix_cache=True)
    lease = kv.lease(17, [])
    assert lease is not None
    assert kv.used == 2
    kv.release(lease)
    assert kv.used == 0


def test_a_lease_that_does_not_fit_takes_nothing() -> None:
    kv = KvCache(2, 16, prefix_cache=True)
    assert kv.lease(33, []) is None
    assert kv.used == 0


def test_growing_inside_the_last_block_is_free() -> None:
    kv = KvCache(2, 16, prefix_cache=True)
    lease = kv.lease(10, [])
    assert lease is not None
    assert kv.grow(lease, 16)
    assert kv.used == 1
    assert kv.grow(lease, 17)
    assert kv.used == 2
    assert not kv.grow(lease, 33)
    assert kv.used == 2


def test_published_blocks_are_shared_and_stay_as_cache() -> None:
    kv = KvCache(4, 16, prefix_cache=True)
    first = kv.lease(32, [])
    assert first is not None
    kv.share(first, [101, 102])
    assert kv.hit([101, 102, 103]) == 2
    second = kv.lease(40, [101, 102])
    assert second is not None
    assert kv.used == 3  # two shared, one private
    kv.release(first)
    kv.release(second)
    assert kv.used == 0
    assert kv.hit([101, 102]) == 2


def test_cached_blocks_are_evicted_from_the_end_of_a_prompt_when_room_is_needed() -> None:
    kv = KvCache(3, 16, prefix_cache=True)
    lease = kv.lease(48, [])
    assert lease is not None
    kv.share(lease, [1, 2, 3])
    kv.release(lease)
    other = kv.lease(16, [])
    assert other is not None
    assert kv.occupied == 3
    assert kv.hit([1, 2, 3]) == 2


def test_without_a_prefix_cache_nothing_is_published() -> None:
    kv = KvCache(3, 16, prefix_cache=False)
    lease = kv.lease(32, [])
    assert lease is not None
    kv.share(lease, [1, 2])
    kv.release(lease)
    assert kv.hit([1, 2]) == 0
    assert kv.occupied == 0
