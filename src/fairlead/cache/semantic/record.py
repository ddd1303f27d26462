"""Questions, vectors and what was learned as bytes of a store, behind a checksum.

A changed byte in a stored question would make a guard look at another text,
so what does not carry its checksum is nothing. Pure.
"""

from __future__ import annotations

import hashlib
import math
import sys
from array import array
from typing import Final

import msgspec

from fairlead.cache.semantic.budget import Spent
from fairlead.cache.semantic.embed import Vector
from fairlead.cache.semantic.store import Known
from fairlead.cache.semantic.verifier import SavedVerifier

_CHECKSUM: Final = 16
_BIG_ENDIAN: Final = sys.byteorder == "big"
_MOST_OFF: Final = 0.01
"""How far from 1 the length of a stored vector may be: 32-bit floats are far nearer."""


class _Row(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    known: Known
    vector: bytes


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker remembers of one embedder over a restart."""

    verifier: SavedVerifier
    spent: dict[str, Spent] = {}
    """By model."""


_encode: Final = msgspec.msgpack.Encoder().encode
_row: Final = msgspec.msgpack.Decoder(_Row).decode
_learned: Final = msgspec.msgpack.Decoder(Learned).decode


def name_of(key: bytes, embedder: str) -> bytes:
    """What an entry is stored under: one answer, one embedder."""
    hasher = hashlib.blake2b(key, digest_size=32, person=b"fairlead-sem")
    hasher.update(embedder.encode("utf-8", "surrogatepass"))
    return hasher.digest()


def packed(known: Known, vector: Vector) -> bytes:
    """An entry's bytes."""
    flat = array("f", vector)
    if _BIG_ENDIAN:
        flat.byteswap()
    return _sealed(_encode(_Row(known=known, vector=flat.tobytes())), name_of(known.key, known.embedder))


def unpacked(name: bytes, blob: bytes) -> tuple[Known, Vector] | None:
    """The entry that is stored under a name; None when its bytes are damaged or another's."""
    data = _opened(blob, name)
    if data is None:
        return None
    try:
        row = _row(data)
        vector = array("f")
        vector.frombytes(row.vector)
    except (msgspec.MsgspecError, ValueError):
        return None
    if _BIG_ENDIAN:
        vector.byteswap()
    length = math.fsum(value * value for value in vector)
    return (row.known, vector) if abs(length - 1.0) <= _MOST_OFF else None


def packed_learned(learned: Learned, embedder: str) -> bytes:
    """What was learned, as bytes."""
    return _sealed(_encode(learned), embedder.encode("utf-8", "surrogatepass"))


def unpacked_learned(blob: bytes, embedder: str) -> Learned | None:
    """What was learned of an embedder; None when the bytes are damaged or of another shape."""
    data = _opened(blob, embedder.encode("utf-8", "surrogatepass"))
    if data is None:
        return None
    try:
        return _learned(data)
    except msgspec.MsgspecError:
        return None


def _sealed(data: bytes, name: bytes) -> bytes:
    return _checksum(data, name) + data


def _opened(blob: bytes, name: bytes) -> bytes | None:
    data = blob[_CHECKSUM:]
    return data if _checksum(data, name) == blob[:_CHECKSUM] else None


def _checksum(data: bytes, name: bytes) -> bytes:
    hasher = hashlib.blake2b(len(name).to_bytes(8, "big"), digest_size=_CHECKSUM, person=b"fairlead-sem")
    hasher.update(name)
    hasher.update(data)
    return hasher.digest()
