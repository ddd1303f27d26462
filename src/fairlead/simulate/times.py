"""When an engine got a request and when it sent each token: the truth that measurements are held against.

Times are `time.monotonic()`, taken when the event loop has sent what was
written, so that a step that was late counts as late. Only the latest answers
are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

import msgspec


class Times(msgspec.Struct, kw_only=True):
    """One answer's."""

    id: str
    """The request's `x-request-id`."""
    received_at: float
    sent_at: list[float]
    """Of each token, in order."""

    def sent(self) -> None:
        """A token was given to the event loop, which sends all that it was given at the end of its turn."""
        asyncio.get_running_loop().call_soon(self._left)

    def _left(self) -> None:
        self.sent_at.append(time.monotonic())


class TimesBook:
    """The latest answers' times; keeps none when `most` is 0."""

    def __init__(self, most: int) -> None:
        self._kept: deque[Times] | None = deque(maxlen=most) if most else None

    def begin(self, request_id: str) -> Times | None:
        """A request is here. None when nothing is kept."""
        if self._kept is None:
            return None
        times = Times(id=request_id, received_at=time.monotonic(), sent_at=[])
        self._kept.append(times)
        return times

    def listed(self) -> list[Times]:
        """What is kept, oldest first."""
        return list(self._kept or ())
