"""What all connections of one server share: configuration, clock, parser, prebuilt heads, counts.

It exists so that a connection and the server that owns it need not know each
other. Time is handed in as a `Clock`; the server's ticker calls `refresh`, so
the `date` field is one bytes object a second and deadlines, which need no more
than the ticker's precision, are set from `now` without reading a clock.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable
from typing import Any, Protocol

from fairlead import config
from fairlead.net.framing import status_line
from fairlead.net.head import HeadParser
from fairlead.net.outbox import Outbox


class Clock(Protocol):
    """Time as the server sees it: seconds on a monotonic clock, and two ways to be called later."""

    def time(self) -> float: ...

    def call_soon(self, callback: Callable[[], object]) -> object: ...

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Any: ...


class LoopClock:
    """The running event loop's clock, but finer: uvloop's own `time()` moves in whole milliseconds."""

    __slots__ = ()

    time = staticmethod(time.monotonic)

    def call_soon(self, callback: Callable[[], object]) -> object:
        return asyncio.get_running_loop().call_soon(callback)

    def call_later(self, delay_s: float, callback: Callable[[], object]) -> Any:
        return asyncio.get_running_loop().call_later(delay_s, callback)


class Swept(Protocol):
    """Something with a deadline that the ticker looks after."""

    deadline: float

    def expire(self, now: float) -> None: ...

    def retire(self) -> None: ...

    def cut(self) -> None: ...


class Beating(Protocol):
    """A call that shows the client a sign of life from time to time."""

    def pulse(self, now: float) -> None: ...


class Hub:
    """The shared state of one server's connections."""

    __slots__ = (
        "_heads",
        "_second",
        "_wall",
        "beating",
        "config",
        "connections",
        "draining",
        "now",
        "outbox",
        "parser",
        "soon",
        "time",
    )

    def __init__(self, settings: config.Server, clock: Clock, wall: Callable[[], float] = time.time) -> None:
        self.config = settings
        self.time = clock.time
        self.soon = clock.call_soon
        self.parser = HeadParser()
        self.connections: set[Swept] = set()
        self.beating: set[Beating] = set()
        self.outbox = Outbox(clock.call_soon)
        self.draining = False
        self._wall = wall
        self._second = 0
        self._heads: dict[int, bytes] = {}
        self.now = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Read the clocks."""
        self.now = self.time()
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._heads.clear()

    def opening(self, status: int) -> bytes:
        """Return the status line and the `date` field of an answer."""
        known = self._heads.get(status)
        if known is None:
            date = email.utils.formatdate(self._second, usegmt=True)
            known = self._heads[status] = status_line(status) + b"date: " + date.encode() + b"\r\n"
        return known
