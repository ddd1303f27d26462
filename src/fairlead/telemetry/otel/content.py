"""What was said in a request, held until its span is made.

Only for requests whose trace is exported, and only where the configuration
asks for content: a `RequestRecord` never holds any, so that no other sink can
write it anywhere. Everything here is bounded; what has no room is not held,
which costs a span its content and a request nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

_RAW: Final = 16
"""How much longer the raw bytes may be than the text in them: JSON, and the frames of events."""


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """One request's body and the beginning of its answer, as they were on the wire."""

    request: bytes
    answer: bytes = b""


class _Held:
    __slots__ = ("pieces", "request", "room")

    def __init__(self, request: bytes, room: int) -> None:
        self.request = request
        self.pieces: list[bytes] = []
        self.room = room


class Contents:
    """Content of requests that are under way or whose record is on its way."""

    def __init__(self, *, max_content_bytes: int, max_bytes: int = 67_108_864) -> None:
        """Start empty.

        Args:
            max_content_bytes: the text that a span may hold of a prompt or an answer.
            max_bytes: held of all requests together.
        """
        self._room = _RAW * max_content_bytes
        self._left = max_bytes
        self._held: dict[str, _Held] = {}
        self.left_out = 0
        """Requests or pieces that there was no room for."""

    def hold(self, request_id: str, body: bytes) -> Callable[[bytes], None] | None:
        """Hold a request's body. Returns what takes the pieces of its answer; None when there is no room."""
        if len(body) > min(self._room, self._left):
            self.left_out += 1
            return None
        self._left -= len(body)
        held = self._held[request_id] = _Held(body, self._room)

        def take(piece: bytes) -> None:
            room = min(held.room, self._left)
            if len(piece) > room:
                if held.room:
                    self.left_out += 1
                # What comes later would not follow on what is there.
                piece, held.room = piece[:room], room
            held.room -= len(piece)
            self._left -= len(piece)
            held.pieces.append(piece)

        return take

    def release(self, request_id: str) -> Content | None:
        """What was held of a request, which is not held any longer."""
        held = self._held.pop(request_id, None)
        if held is None:
            return None
        answer = b"".join(held.pieces)
        self._left += len(held.request) + len(answer)
        # The client's connection may still have its tap.
        held.room = 0
        held.pieces.clear()
        return Content(request=held.request, answer=answer)
