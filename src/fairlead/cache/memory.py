"""Answers in memory: least recently used first out, within a number of bytes.

An entry is one bytes object under its key, so that Python's bookkeeping is
known: `_OVERHEAD` a key, and the object itself as the allocator rounds it.
`bench/cache/memory.py` compares the sum with what the process really grows by.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from fairlead.cache.entry import LINK, Entry
from fairlead.cache.purge import Purge, Purged, Size

_OVERHEAD: Final = 224
"""Bytes of an entry besides its own: the key (65, in 80), the node of the order (32, in 48), its place in
the tables of dict and order (50 to 90, by how full they are)."""
_OBJECT: Final = 33 + 15
"""What a bytes object adds to its content, the allocator's rounding included."""
_SLICE: Final = 500
"""Entries looked at between two turns of the event loop: about 0.5 ms."""


class MemoryTier:
    """The first store that is asked. Synchronous: the way of a request does not wait for it."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most `max_bytes`, bookkeeping included."""
        self.max_bytes = max_bytes
        self.bytes = 0
        """Held now."""
        self.evicted = 0
        """Entries that made room for others."""
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()
        self._links = 0

    def __len__(self) -> int:
        """Answers held; what only names another one is none."""
        return len(self._entries) - self._links

    def get(self, key: bytes) -> bytes | None:
        """An entry's bytes, which were used just now."""
        blob = self._entries.get(key)
        if blob is not None:
            self._entries.move_to_end(key)
        return blob

    def put(self, key: bytes, blob: bytes) -> None:
        """Keep an entry, and drop what was not used for longest until there is room."""
        entries = self._entries
        old = entries.pop(key, None)
        if old is not None:
            self._gone(old)
        cost = _cost(blob)
        if cost > self.max_bytes:
            return
        entries[key] = blob
        self.bytes += cost
        self._links += blob[1] == LINK
        while self.bytes > self.max_bytes:
            _, dropped = entries.popitem(last=False)
            self._gone(dropped)
            self.evicted += 1

    def drop(self, key: bytes) -> None:
        """Forget an entry, if it is there."""
        blob = self._entries.pop(key, None)
        if blob is not None:
            self._gone(blob)

    def _gone(self, blob: bytes) -> None:
        self.bytes -= _cost(blob)
        self._links -= blob[1] == LINK  # the second byte of an entry is its form

    async def purge(self, purge: Purge, *, dry_run: bool = False) -> Purged:
        """Drop what `purge` is about, in slices between which requests go on."""
        count = size = 0
        for index, key in enumerate(list(self._entries)):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            blob = self._entries.get(key)
            if blob is None or not purge.meets(entry := Entry(blob)):
                continue
            if entry.form != LINK:
                count += 1
                size += len(blob)
            if not dry_run:
                self.drop(key)
        return Purged(entries=count, bytes=size)

    async def sizes(self) -> list[Size]:
        """What is held, by tenant and model, counted in slices."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for index, key in enumerate(list(self._entries)):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            blob = self._entries.get(key)
            if blob is None:
                continue
            entry = Entry(blob)
            if entry.form == LINK:
                continue
            facts = entry.facts
            entries, size = sums.get((facts.tenant, facts.model), (0, 0))
            sums[facts.tenant, facts.model] = (entries + 1, size + len(blob))
        return [
            Size(tenant=tenant, model=model, entries=entries, bytes=size)
            for (tenant, model), (entries, size) in sorted(sums.items())
        ]


def _cost(blob: bytes) -> int:
    return len(blob) + _OBJECT + _OVERHEAD
