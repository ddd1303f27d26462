"""Protocol buffer messages, field by field against a table of what may occur.

A message is described by `Message`: which field numbers it has and what they
are. A field that is not described is a finding, as are a wrong wire type, a
length that leaves the message, and nesting deeper than any real model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from fairlead.vault.ingest.verdict import Stopped
from fairlead.vault.ingest.window import Cursor, Window

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRES: Final = {"varint": _VARINT, "fixed64": _FIXED64, "bytes": _BYTES, "text": _BYTES, "fixed32": _FIXED32}
_MAX_FIELDS: Final = 20_000_000


@dataclass(frozen=True)
class Message:
    """A message's fields: number to `varint`, `fixed32`, `fixed64`, `bytes`, `text`, or a message's name.

    Numbers in `packed` may stand alone as well as packed.
    """

    fields: dict[int, str]
    packed: frozenset[int] = field(default_factory=frozenset)


class Field(NamedTuple):
    """One field as it lies in the file."""

    number: int
    kind: str
    window: Window | None
    """Of lengths: the bytes."""
    value: int = 0
    """Of varints."""


def varint(cursor: Cursor) -> int:
    """The next number of variable length.

    Raises:
        Stopped: it is longer than 64 bits.
    """
    value = 0
    for shift in range(0, 70, 7):
        byte = cursor.take(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value
    raise Stopped("protobuf", f"byte {cursor.at}", "a number of more than 64 bits")


def fields(window: Window, message: Message, rule: str, where: str) -> Iterator[Field]:
    """The fields of a message, in order.

    Raises:
        Stopped: one is not described, or malformed.
    """
    cursor = Cursor(window)
    for _ in range(_MAX_FIELDS):
        if not cursor.left:
            return
        tag = varint(cursor)
        number, wire = tag >> 3, tag & 7
        kind = message.fields.get(number)
        if kind is None:
            raise Stopped(rule, where, f"field {number} is not known")
        expected = _WIRES.get(kind, _BYTES)
        if wire == _VARINT and (expected == _VARINT):
            yield Field(number, kind, None, varint(cursor))
        elif wire == _FIXED32 and expected == _FIXED32:
            cursor.skip(4)
            yield Field(number, kind, None)
        elif wire == _FIXED64 and expected == _FIXED64:
            cursor.skip(8)
            yield Field(number, kind, None)
        elif wire == _BYTES and (expected == _BYTES or number in message.packed):
            size = varint(cursor)
            yield Field(number, kind, window.part(cursor.skip(size), size))
        else:
            raise Stopped(rule, where, f"field {number} is written as something else")
    raise Stopped("limits", where, f"more than {_MAX_FIELDS} fields")


def text(found: Field, limit: int, rule: str, where: str) -> str:
    """A text field's value.

    Raises:
        Stopped: it is no UTF-8, or longer than `limit` bytes.
    """
    assert found.window is not None
    if found.window.size > limit:
        raise Stopped(rule, where, f"a text of {found.window.size} bytes")
    try:
        return found.window.read(0, found.window.size).decode("utf-8")
    except UnicodeDecodeError:
        raise Stopped(rule, where, "a text is not UTF-8") from None
