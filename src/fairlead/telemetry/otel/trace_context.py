"""W3C Trace Context: what a client's `traceparent` says, and what upstreams are told.

Pure, but for the bits of new ids, which the caller passes a source of. This is
all that the path of a request knows of tracing: ids, a flag and two header
lines. Spans are made of the record, when the request is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_PARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?", re.DOTALL
)
_PARENT_LENGTH: Final = 55
_STATE: Final = re.compile(rb"[\x20-\x7e]{1,512}")
_HALF: Final = 2**64


def valid_parent(value: bytes | None) -> str:
    """A `traceparent` as it may be recorded; "" for none or one that is not valid.

    Of a version that is not known yet, only what version 00 has is taken.
    """
    found = _PARENT.fullmatch(value) if value is not None else None
    if value is None or found is None or (found["more"] is not None and value.startswith(b"00")):
        return ""
    return value[:_PARENT_LENGTH].decode()


def valid_state(value: bytes | None) -> str:
    """A `tracestate` as it may be passed on; "" for none, an overlong one or one with odd characters."""
    return value.decode() if value is not None and _STATE.fullmatch(value) else ""


class Trace:
    """One request's place in a trace."""

    __slots__ = ("_bits", "_flags", "_state_line", "sampled", "span_id", "state", "trace_id")

    def __init__(self, trace_id: str, sampled: bool, state: str, bits: Callable[[int], int]) -> None:
        self._bits = bits
        self._flags = "01" if sampled else "00"
        self._state_line = f"tracestate: {state}\r\n" if state else ""
        self.trace_id = trace_id
        self.sampled = sampled
        self.state = state
        self.span_id = self.new_id()
        """Of the gateway's own span of the request."""

    def new_id(self) -> str:
        """An id for one more span."""
        # `%` takes half the time of an f-string.
        return "%016x" % (self._bits(64) or 1)

    def lines(self, span_id: str) -> bytes:
        """The header lines for a call whose span has this id."""
        return f"traceparent: 00-{self.trace_id}-{span_id}-{self._flags}\r\n{self._state_line}".encode()

    def parent(self) -> str:
        """The gateway's own span as a `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self._flags}"


class Sampler:
    """Gives each request its place in a trace, and decides which traces are exported."""

    __slots__ = ("_below", "_bits", "_parent_based")

    def __init__(self, ratio: float, *, parent_based: bool, bits: Callable[[int], int]) -> None:
        """Keep the rules.

        Args:
            ratio: share of traces to export. It is decided by the trace id, so that whoever else has the
                same share decides alike.
            parent_based: a client's `sampled` flag decides where there is one.
            bits: that many random bits at each call, as `random.getrandbits` gives them.
        """
        self._below = round(ratio * _HALF)
        self._parent_based = parent_based
        self._bits = bits

    def begin(self, parent: str, state: str) -> Trace:
        """The place of a request whose client sent this (valid) `traceparent`, or "" for none."""
        if not parent:
            number = self._bits(128) or 1
            return Trace(f"{number:032x}", number % _HALF < self._below, "", self._bits)
        trace_id = parent[3:35]
        if self._parent_based:
            sampled = int(parent[53:55], 16) & 1 == 1
        else:
            sampled = int(trace_id[16:], 16) < self._below
        return Trace(trace_id, sampled, state, self._bits)
