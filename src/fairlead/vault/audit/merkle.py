"""The Merkle tree of RFC 6962: roots, and proofs that an entry is in it and that it only grew.

Leaves and nodes are hashed with different prefixes, so that no entry can pass
for a node. `Frontier` knows the root of what was added and nothing else, in a
few hundred bytes; `Tree` also keeps every hash of a complete subtree (64 bytes
an entry), from which proofs are made. The two `verify_` functions need neither:
they are what a client runs. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree without entries (RFC 6962, section 2.1)."""
MAX_PROOF: Final = 64
"""Hashes of the longest inclusion proof of any tree whose size fits 64 bits; of consistency, one more."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that is only added to, as the roots of its complete subtrees."""

    __slots__ = ("_peaks", "size")

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        """Roots of the complete subtrees, largest first: one for each bit that is set in `size`."""

    def add(self, leaf: bytes) -> None:
        """Add the hash of one more entry."""
        rest = self.size
        while rest & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            rest >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of everything added so far."""
        return _folded(self._peaks)


class Tree:
    """A tree that can prove. Every hash of a complete subtree is kept, level by level."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """How many entries it has."""
        return len(self._levels[0]) // HASH_BYTES

    def add(self, leaf: bytes) -> None:
        """Add the hash of one more entry."""
        index, level = self.size, 0
        while True:
            self._levels[level] += leaf
            if not index & 1:
                return
            leaf = node_hash(self._at(level, index - 1), leaf)
            index >>= 1
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())

    def cut(self, size: int) -> None:
        """Forget every entry from `size` on, as if it had not been added."""
        for level, hashes in enumerate(self._levels):
            del hashes[(size >> level) * HASH_BYTES :]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` entries; of all when left out."""
        size = self.size if size is None else self._known(size)
        return self._range(0, size) if size else EMPTY_ROOT

    def leaf(self, index: int) -> bytes:
        """The hash of entry `index`."""
        if not 0 <= index < self.size:
            raise ValueError(f"the tree has no entry {index}")
        return self._at(0, index)

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The proof that entry `index` is among the first `size` (RFC 6962, 2.1.1)."""
        size = self.size if size is None else self._known(size)
        if not 0 <= index < size:
            raise ValueError(f"a tree of {size} has no entry {index}")
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """The proof that the first `old` entries are how the first `new` begin (RFC 6962, 2.1.2)."""
        new = self.size if new is None else self._known(new)
        if not 0 <= old <= new:
            raise ValueError(f"a tree of {new} did not grow from one of {old}")
        if old in (0, new):
            return []
        path: list[bytes] = []
        start, end, whole = 0, new, True
        while end != old:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._range(middle, end))
                end = middle
            else:
                path.append(self._range(start, middle))
                start, whole = middle, False
        if not whole:
            path.append(self._range(start, end))
        return path[::-1]

    def _known(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise ValueError(f"the tree has {self.size} entries, not {size}")
        return size

    def _at(self, level: int, index: int) -> bytes:
        return bytes(self._levels[level][index * HASH_BYTES : (index + 1) * HASH_BYTES])

    def _range(self, start: int, end: int) -> bytes:
        """The root of entries from `start`, a multiple of the power of two that covers them, to `end`."""
        peaks: list[bytes] = []
        while start < end:
            level = (end - start).bit_length() - 1
            peaks.append(self._at(level, start >> level))
            start += 1 << level
        return _folded(peaks)


def verify_inclusion(leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the entry with hash `leaf` is number `index` of the `size` entries under `root`.

    RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size or not _sound(proof, MAX_PROOF):
        return False
    number, last = index, size - 1
    for step in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            leaf = node_hash(step, leaf)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            leaf = node_hash(leaf, step)
        number, last = number >> 1, last >> 1
    return last == 0 and leaf == root


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the `old` entries under one root are the first of the `new` under the other.

    RFC 9162, section 2.1.4.2.
    """
    if not 0 <= old <= new or not _sound(proof, MAX_PROOF + 1):
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    # The root of a complete old tree is a node of the new one, and the proof leaves it out.
    steps = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not steps:
        return False
    number, last = old - 1, new - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    was = now = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            was, now = node_hash(step, was), node_hash(step, now)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            now = node_hash(now, step)
        number, last = number >> 1, last >> 1
    return last == 0 and was == old_root and now == new_root


def _sound(proof: Sequence[bytes], longest: int) -> bool:
    return len(proof) <= longest and all(len(step) == HASH_BYTES for step in proof)


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _folded(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root
