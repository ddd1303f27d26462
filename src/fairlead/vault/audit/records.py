"""The log file: a line that names the format, then records.

    fairlead audit log 1\\n
    kind[1] length[4] check[8] body[length]        any number of times

`kind` is E (an entry's canonical JSON) or C (a signed checkpoint over all
entries before it); `length` is big-endian; `check` is the beginning of
SHA-256(kind, length, body), so that a record that was not written to its end
is told from a whole one. It is no protection: the tree and the signatures are.

`scan` reads a file in pieces of any size and holds one record at a time. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from fairlead.vault.audit.checkpoint import MAX_NOTE_BYTES
from fairlead.vault.audit.event import MAX_ENTRY_BYTES

MAGIC: Final = b"fairlead audit log 1\n"
HEAD_BYTES: Final = 13
MAX_BODY_BYTES: Final = max(MAX_ENTRY_BYTES, MAX_NOTE_BYTES)
ENTRY: Final = b"E"
CHECKPOINT: Final = b"C"


class Record(msgspec.Struct, frozen=True, gc=False):
    """One whole record."""

    kind: Literal["entry", "checkpoint"]
    body: bytes
    end: int
    """Offset of the byte behind it."""


class Broken(msgspec.Struct, frozen=True, gc=False):
    """The file is not records from `offset` on. Always the last thing that `scan` says."""

    offset: int
    why: str


def frame(kind: bytes, body: bytes) -> bytes:
    """A record's bytes."""
    head = kind + len(body).to_bytes(4, "big")
    return head + _check(head, body) + body


def scan(pieces: Iterable[bytes]) -> Iterator[Record | Broken]:
    """The records of a file. An empty file has none and is whole."""
    held = bytearray()
    offset = 0
    begun = False
    for piece in pieces:
        held += piece
        if not begun:
            if len(held) < len(MAGIC):
                continue
            if not held.startswith(MAGIC):
                yield Broken(0, "it does not begin as an audit log does")
                return
            begun, offset = True, len(MAGIC)
            del held[:offset]
        start = 0
        while (found := _next(held, start, offset)) is not None:
            yield found
            if isinstance(found, Broken):
                return
            start += found.end - offset
            offset = found.end
        del held[:start]
    if held:
        yield Broken(offset, "its last record is not whole" if begun else "it is shorter than its first line")


def _next(held: bytearray, start: int, offset: int) -> Record | Broken | None:
    """The record at `start`; None when more bytes are needed to tell."""
    if len(held) - start < HEAD_BYTES:
        return None
    head = bytes(held[start : start + 5])
    length = int.from_bytes(head[1:], "big")
    if head[:1] not in (ENTRY, CHECKPOINT) or not 0 < length <= MAX_BODY_BYTES:
        return Broken(offset, "there is no record")
    end = start + HEAD_BYTES + length
    if len(held) < end:
        return None
    body = bytes(held[start + HEAD_BYTES : end])
    if held[start + 5 : start + HEAD_BYTES] != _check(head, body):
        return Broken(offset, "a record is damaged")
    return Record("entry" if head[:1] == ENTRY else "checkpoint", body, offset + HEAD_BYTES + length)


def _check(head: bytes, body: bytes) -> bytes:
    return hashlib.sha256(head + body).digest()[:8]
