"""When things happened in one attempt."""

from __future__ import annotations


class Timing:
    """Times are `time.monotonic()`; 0.0 when they did not."""

    __slots__ = ("connect_s", "first_token", "headers", "started")

    def __init__(self, started: float) -> None:
        self.started = started
        self.connect_s = 0.0
        self.headers = 0.0
        self.first_token = 0.0
