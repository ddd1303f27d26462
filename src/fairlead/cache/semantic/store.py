"""Questions whose answers are kept, and their vectors, in memory: least recently used first out, in bytes.

An answer itself is in the exact tier, under `Known.key`; here is only what is
needed to find it by another question. A question and its vector come and go
together. Partitions (fingerprint and embedder) are the index's: what is asked
in one is never answered from another.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from typing import Final

import msgspec

from fairlead.cache.purge import Purge, Purged, Size
from fairlead.cache.semantic.embed import Vector
from fairlead.cache.semantic.index import Index

_OVERHEAD: Final = 2600
"""Bytes of an entry besides its text, names and vector: the struct, its strings and digests, three tables,
the vector's object, and a partition of its own, as most conversations have."""
_SLICE: Final = 500
_CANDIDATES: Final = 4


class Known(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A question whose answer is kept. Fields are only ever added, at the end."""

    key: bytes
    """Of the answer, in the exact tier."""
    fingerprint: bytes
    embedder: str
    scope: str
    tenant: str
    """Whose request it was."""
    model: str
    created_at: float
    expires_at: float
    text: str


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate."""

    known: Known
    cosine: float


_Id = tuple[bytes, str]


class Store:
    """Of one process."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most so many bytes. Raises UsageError when the index's library is not installed."""
        self.max_bytes = max_bytes
        self.bytes = 0
        self.evicted = 0
        # Bytes run out first: the index would drop a whole partition.
        self._index = Index(most_vectors=max_bytes // _OVERHEAD + 2)
        self._numbers = itertools.count(1)
        self._entries: OrderedDict[int, tuple[Known, int]] = OrderedDict()
        """What is known, and how much room it takes; in the order of use."""
        self._by_id: dict[_Id, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def holds(self, fingerprint: bytes, embedder: str) -> bool:
        """Whether a search there could find anything."""
        return self._index.holds(fingerprint, embedder)

    def has(self, known: Known) -> bool:
        """Whether this very entry is here, as old as it is."""
        number = self._by_id.get((known.key, known.embedder))
        return number is not None and self._entries[number][0].created_at == known.created_at

    def add(self, known: Known, vector: Vector) -> list[Known]:
        """Insert an entry, or replace that of the same answer. Returns what had to go for it.

        Raises:
            ValueError: the vector has other dimensions than the others of its embedder.
        """
        self.drop(known.key, known.embedder)
        size = _OVERHEAD + len(known.text) * 2 + 8 * len(vector)
        if size > self.max_bytes:
            return []
        number = next(self._numbers)
        gone = self._index.add(known.fingerprint, known.embedder, number, vector)
        self._entries[number] = (known, size)
        self._by_id[known.key, known.embedder] = number
        self.bytes += size
        dropped = [self._forget(other) for other in gone]
        while self.bytes > self.max_bytes:
            other = next(iter(self._entries))
            dropped.append(self._take(other))
        self.evicted += len(dropped)
        return dropped

    def near(self, fingerprint: bytes, embedder: str, vector: Vector) -> list[Near]:
        """The nearest few of a partition, the nearest first. Expired ones too."""
        found = []
        for near in self._index.nearest(fingerprint, embedder, vector, _CANDIDATES):
            self._entries.move_to_end(near.key)
            found.append(Near(known=self._entries[near.key][0], cosine=near.cosine))
        return found

    def drop(self, key: bytes, embedder: str) -> Known | None:
        """Forget an entry, if it is there."""
        number = self._by_id.get((key, embedder))
        return None if number is None else self._take(number)

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> tuple[Purged, list[Known]]:
        """Drop what is meant, in slices between which requests go on. Returns also what that was."""
        meant: list[Known] = []
        size = 0
        for index, number in enumerate(list(self._entries)):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            entry = self._entries.get(number)
            if entry is None or not meets(purge, entry[0]):
                continue
            meant.append(entry[0])
            size += entry[1]
            if not dry_run:
                self._take(number)
        return Purged(entries=len(meant), bytes=size), meant

    def sizes(self) -> list[Size]:
        """What is held, by tenant and model."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for known, size in self._entries.values():
            entries, total = sums.get((known.tenant, known.model), (0, 0))
            sums[known.tenant, known.model] = (entries + 1, total + size)
        return [
            Size(tenant=tenant, model=model, entries=entries, bytes=size)
            for (tenant, model), (entries, size) in sorted(sums.items())
        ]

    def _take(self, number: int) -> Known:
        known = self._entries[number][0]
        self._index.remove(known.fingerprint, known.embedder, number)
        return self._forget(number)

    def _forget(self, number: int) -> Known:
        """The index has let it go."""
        known, size = self._entries.pop(number)
        del self._by_id[known.key, known.embedder]
        self.bytes -= size
        return known


def meets(purge: Purge, known: Known) -> bool:
    """Whether a purge is about this entry."""
    return (
        known.created_at < purge.before
        and (purge.tenant is None or known.tenant == purge.tenant)
        and (purge.model is None or known.model == purge.model)
    )
