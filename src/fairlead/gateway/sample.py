"""What is held of an answer that semantic metrics will look at, while it is sent."""

from __future__ import annotations

from collections.abc import Callable

Tap = Callable[[bytes], None]


class Sample:
    """What is held of one request under way. Mutable."""

    __slots__ = ("_after", "_room", "pieces")

    def __init__(self, room: int, after: Tap | None) -> None:
        """Hold at most `room` bytes of the answer; `after` sees its pieces too."""
        self.pieces: list[bytes] | None = []
        """Of the answer; None when it is too large."""
        self._room = room
        self._after = after

    def take(self, piece: bytes) -> None:
        """One piece of the answer is sent."""
        if self.pieces is not None:
            self._room -= len(piece)
            if self._room < 0:
                self.pieces = None
            else:
                self.pieces.append(piece)
        if self._after is not None:
            self._after(piece)
