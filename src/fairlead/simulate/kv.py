"""The KV cache of the simulated engine: blocks, and prompt blocks shared by their hash.

A sequence owns private blocks and references shared ones. A shared block that
nobody references stays as cache until its room is needed, oldest first.
Rule kept: private + shared blocks never exceed the capacity.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class Lease:
    """The blocks of one sequence."""

    __slots__ = ("private", "shared")

    def __init__(self) -> None:
        self.private = 0
        self.shared: list[int] = []

    @property
    def blocks(self) -> int:
        return self.private + len(self.shared)


class KvCache:
    """A pool of `capacity` blocks of `block_tokens` tokens each."""

    def __init__(self, capacity: int, block_tokens: int, *, prefix_cache: bool) -> None:
        self.capacity = capacity
        self.block_tokens = block_tokens
        self._prefix_cache = prefix_cache
        self._private = 0
        self._references: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def used(self) -> int:
        """Blocks that some sequence holds; cached ones that nobody references are free."""
        return self._private + len(self._references)

    @property
    def occupied(self) -> int:
        """Blocks that hold anything, idle cached ones included."""
        return self.used + len(self._idle)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

    def hit(self, hashes: Sequence[int]) -> int:
        """How many leading blocks of a prompt are cached."""
        count = 0
        for digest in hashes:
            if digest not in self._references and digest not in self._idle:
                break
            count += 1
        return count

    def lease(self, tokens: int, cached: Sequence[int]) -> Lease | None:
        """Blocks for `tokens` tokens of which the leading `cached` hashes are shared; None when full."""
        idle = sum(1 for digest in cached if digest in self._idle)
        fresh = self.blocks_for(tokens) - len(cached)
        if self.used + idle + fresh > self.capacity:
            return None
        lease = Lease()
        for digest in cached:
            self._idle.pop(digest, None)
            self._references[digest] = self._references.get(digest, 0) + 1
            lease.shared.append(digest)
        self._take(lease, fresh)
        return lease

    def grow(self, lease: Lease, tokens: int) -> bool:
        """Make room for `tokens` tokens in all; False, and nothing changes, when the cache is full."""
        fresh = self.blocks_for(tokens) - lease.blocks
        if fresh <= 0:
            return True
        if self.used + fresh > self.capacity:
            return False
        self._take(lease, fresh)
        return True

    def share(self, lease: Lease, hashes: Sequence[int]) -> None:
        """Publish the prompt's full blocks once they are computed, so that others can use them.

        A block that another sequence published meanwhile stays a private copy.
        """
        if not self._prefix_cache:
            return
        for digest in hashes[len(lease.shared) :]:
            if digest in self._references or digest in self._idle:
                break
            self._references[digest] = 1
            lease.shared.append(digest)
            lease.private -= 1
            self._private -= 1

    def release(self, lease: Lease) -> None:
        """Give everything back; shared blocks stay as cache."""
        self._private -= lease.private
        # The end of a prompt is less likely to be shared than its beginning: it is evicted first.
        for digest in reversed(lease.shared):
            left = self._references[digest] - 1
            if left:
                self._references[digest] = left
            else:
                del self._references[digest]
                self._idle[digest] = None
        lease.private = 0
        lease.shared = []

    def _take(self, lease: Lease, count: int) -> None:
        while self.occupied + count > self.capacity:
            self._idle.popitem(last=False)
        lease.private += count
        self._private += count
