"""Compressed files: unpacked within bounds, so that what is inside can be looked at."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Final

from fairlead.vault.ingest.verdict import Stopped
from fairlead.vault.ingest.window import Window

MAX_RATIO: Final = 200
FREE_BYTES: Final = 16 << 20
MAX_UNPACKED_BYTES: Final = 192 << 20
"""It is held in memory; larger things are better stored as they are."""
_STEP: Final = 1 << 20


def kind_of(head: bytes) -> str:
    """The compression by the first bytes; "" for none that is known."""
    if head[:3] == b"\x1f\x8b\x08":
        return "gzip"
    if head[:3] == b"BZh" and head[4:10] == b"1AY&SY":
        return "bzip2"
    if head[:6] == b"\xfd7zXZ\0":
        return "xz"
    if head[:3] == b"]\0\0" and head[5:6] in (b"\xff", b"\0"):
        return "lzma"
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return "zlib"
    return ""


def unpack(window: Window, kind: str) -> bytes:
    """All that a compressed file holds.

    Raises:
        Stopped: it is damaged, holds too much, or something follows.
    """
    parts: list[bytes] = []
    given = 0
    limit = min(MAX_UNPACKED_BYTES, max(FREE_BYTES, window.size * MAX_RATIO))
    try:
        unpacker = _unpacker(kind)
        for piece in window.pieces(1 << 16):
            if unpacker.eof:
                raise Stopped("polyglot", kind, "bytes follow the end of the compressed data")
            for data in _outputs(unpacker, piece):
                given += len(data)
                if given > limit:
                    raise Stopped("zip-bomb", kind, f"it unpacks to more than {limit} bytes")
                parts.append(data)
        if not unpacker.eof:
            raise Stopped("truncated", kind, "the compressed data end too early")
        if unpacker.unused_data:
            raise Stopped("polyglot", kind, "bytes follow the end of the compressed data")
    except (zlib.error, OSError, lzma.LZMAError, EOFError, ValueError):
        raise Stopped("zip-checksum", kind, "the compressed data are damaged") from None
    return b"".join(parts)


def _unpacker(kind: str) -> zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor:
    if kind in ("gzip", "zlib"):
        return zlib.decompressobj(31 if kind == "gzip" else 15)
    return bz2.BZ2Decompressor() if kind == "bzip2" else lzma.LZMADecompressor(memlimit=128 << 20)


def _outputs(
    unpacker: zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor, piece: bytes
) -> list[bytes]:
    """What a piece unpacks to, in bounded steps."""
    found = []
    if isinstance(unpacker, bz2.BZ2Decompressor | lzma.LZMADecompressor):
        data = unpacker.decompress(piece, _STEP)
        found.append(data)
        while not unpacker.eof and not unpacker.needs_input and len(found) <= MAX_UNPACKED_BYTES // _STEP:
            found.append(unpacker.decompress(b"", _STEP))
        return found
    while piece and not unpacker.eof and len(found) <= MAX_UNPACKED_BYTES // _STEP:
        found.append(unpacker.decompress(piece, _STEP))
        piece = unpacker.unconsumed_tail
    while not unpacker.eof and found and len(found[-1]) == _STEP:  # the input is used up, the output not yet
        found.append(unpacker.decompress(b"", _STEP))
    return found
