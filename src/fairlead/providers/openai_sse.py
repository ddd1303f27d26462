"""Server-sent events as the OpenAI family sends them, cut into whole events.

`EventBuffer` keeps what is unfinished, so that nobody relays or decodes half an
event; other line endings (CR, CRLF) become LF on the way, which says the same
in an event stream. It never looks into an event; `data_of` does.
"""

from __future__ import annotations

from fairlead.errors import BadUpstreamAnswer

MAX_EVENT_BYTES = 32 * 1024 * 1024
"""One event may hold a whole Responses object with images; more is no event."""

DONE = b"[DONE]"


class EventBuffer:
    """Bytes in, whole events out."""

    __slots__ = ("_pieces", "_size", "_skip_lf", "idle")

    def __init__(self) -> None:
        self.idle = True
        """Nothing is kept: the next byte starts an event."""
        self._pieces: list[bytes] = []
        self._size = 0
        self._skip_lf = False

    def feed(self, data: bytes) -> bytes:
        """All events that are now whole, each with its blank line; b"" when there is none.

        Raises:
            BadUpstreamAnswer: an event grew beyond `MAX_EVENT_BYTES`.
        """
        if self._skip_lf or data.find(b"\r") >= 0:
            data = self._to_lf(data)
        block = self._cut(data)
        self.idle = not self._pieces and not self._skip_lf
        return block

    def _cut(self, data: bytes) -> bytes:
        pieces = self._pieces
        end = data.rfind(b"\n\n") + 2
        if end == 1:
            if not (data.startswith(b"\n") and pieces and pieces[-1].endswith(b"\n")):
                self._keep(data)
                return b""
            end = 1
        if not pieces:
            if end == len(data):
                return data
            self._keep(data[end:])
            return data[:end]
        pieces.append(data[:end])
        block = b"".join(pieces)
        pieces.clear()
        self._size = 0
        if end < len(data):
            self._keep(data[end:])
        return block

    def rest(self) -> bytes:
        """What is kept of an unfinished event."""
        return b"".join(self._pieces)

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        self._size += len(data)
        if self._size > MAX_EVENT_BYTES:
            raise BadUpstreamAnswer(f"an event of the upstream's stream exceeds {MAX_EVENT_BYTES} bytes")
        self._pieces.append(data)

    def _to_lf(self, data: bytes) -> bytes:
        # A CR ends its line at once; the LF that may follow, perhaps in the next bytes, is skipped.
        if self._skip_lf and data:
            data = data.removeprefix(b"\n")
            self._skip_lf = False
        if data.endswith(b"\r"):
            self._skip_lf = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def events(block: bytes) -> list[bytes]:
    """The events of a block of whole ones, without their blank lines."""
    if block.find(b"\n\n") == len(block) - 2:
        return [block[:-2]]
    return [event for event in block.split(b"\n\n") if event and event != b"\n"]


def data_of(event: bytes) -> bytes:
    """The `data` of one event, its lines joined; b"" for comments and other fields."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines: list[bytes] = []
    for line in event.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)


def named(event: bytes, name: bytes) -> bool:
    """Whether the event has this `event:` field."""
    return any(
        line.partition(b":")[0] == b"event" and line.partition(b":")[2].strip() == name
        for line in event.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    )
