"""What waits for the collector: bounded, the oldest goes first.

One lane for each signal that is sent as it comes. A collector that is slow or
gone costs the oldest spans, which are counted, never a request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import msgspec


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is encoded when it is sent, off the event loop, because that takes time."""

    size_bytes: int
    """About how much memory it takes until then."""
    encode: Callable[[], bytes]


Item = bytes | Deferred


class Lane:
    """One signal's queue, and what became of what was in it."""

    def __init__(self, signal: str, *, max_items: int, max_bytes: int) -> None:
        """Start empty.

        Args:
            signal: `traces` or `logs`; the end of the collector's path.
            max_items: that may wait.
            max_bytes: that they may take.
        """
        self.signal = signal
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items: deque[Item] = deque()
        self._bytes = 0
        self.exported = 0
        self.dropped = 0
        """Items that made room for newer ones, or that could not be sent."""
        self.rejected = 0
        """Items that the collector did not take, of requests that it did."""
        self.failures = 0
        """Requests that were not answered, or refused."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add the newest."""
        self._items.append(item)
        self._bytes += _size(item)
        self._fit()

    def take(self, max_items: int, max_bytes: int) -> list[Item]:
        """Take the oldest: at least one, if there is any, and no more than these bounds allow."""
        taken: list[Item] = []
        room = max_bytes
        while self._items and len(taken) < max_items:
            size = _size(self._items[0])
            if taken and size > room:
                break
            room -= size
            self._bytes -= size
            taken.append(self._items.popleft())
        return taken

    def restore(self, items: Sequence[Item]) -> None:
        """Put back what was taken and not sent. It is the oldest, and dropped first when there is no room."""
        self._items.extendleft(reversed(items))
        self._bytes += sum(map(_size, items))
        self._fit()

    def clear(self) -> int:
        """Drop everything; returns how much that was."""
        count = len(self._items)
        self.dropped += count
        self._items.clear()
        self._bytes = 0
        return count

    def _fit(self) -> None:
        while self._items and (len(self._items) > self._max_items or self._bytes > self._max_bytes):
            self._bytes -= _size(self._items.popleft())
            self.dropped += 1


def _size(item: Item) -> int:
    return len(item) if isinstance(item, bytes) else item.size_bytes
