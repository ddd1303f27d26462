"""Finds the `model` field of a multipart form while it streams by (RFC 7578)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_NAME: Final = re.compile(rb'content-disposition:[^\r\n]*[;\s]name="?model"?(?:[;\s]|$)', re.IGNORECASE)
_BOUNDARY: Final = re.compile(
    rb'^multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;]{1,70}))', re.IGNORECASE
)
_MAX_PART_HEAD: Final = 16 * 1024


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The field's value and where it stands in the bytes fed so far."""

    value: str
    start: int
    end: int


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary of a multipart/form-data content type; None when it is not one."""
    match = _BOUNDARY.match(content_type)
    return (match[1] or match[2]) if match else None


class ModelFinder:
    """Feed pieces until `found` is set or the form has ended.

    Remembers where it was, so that a large file in front of the field is
    looked at once.
    """

    __slots__ = ("_at", "_delimiter", "_scanned", "data", "done", "found")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._at = -1
        """Where the current part's delimiter begins; -1 before the first."""
        self._scanned = 0
        self.data = bytearray()
        self.found: Found | None = None
        self.done = False

    def feed(self, piece: bytes) -> bool:
        """Take a piece; True when nothing more need be fed (`found`, or there is no such field)."""
        self.data += piece
        while not self.done and self._part():
            pass
        return self.done

    def _part(self) -> bool:
        """Look at the next whole part; False when more bytes are needed."""
        data, delimiter = self.data, self._delimiter
        if self._at < 0:
            at = data.find(delimiter)
            if at < 0:
                return False
            self._at = at
            self._scanned = 0
        head_start = self._at + len(delimiter)
        if data[head_start : head_start + 2] == b"--":
            self.done = True
            return False
        head_end = data.find(b"\r\n\r\n", head_start, head_start + _MAX_PART_HEAD)
        if head_end < 0:
            self.done = len(data) - head_start > _MAX_PART_HEAD
            return False
        start = head_end + 4
        # The search goes on where it stopped, less what a delimiter cut in two needs.
        end = data.find(b"\r\n" + delimiter, max(head_end + 2, self._scanned - len(delimiter) - 2))
        if end < 0:
            self._scanned = len(data)
            return False
        if _NAME.search(bytes(data[head_start:head_end])):
            value = bytes(data[start:end]).decode("utf-8", "replace")
            self.found = Found(value=value, start=start, end=end)
            self.done = True
            return False
        self._at = end + 2
        self._scanned = 0
        return True
