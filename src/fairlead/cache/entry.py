"""One kept answer, as the bytes that every store holds.

    offset  size
    0       1     version of this layout
    1       1     form of the payload: a number that the one who stores it chose
    2       2     length of the facts
    4       8     created_at    Unix seconds, as are the next two; little-endian doubles
    12      8     expires_at    until then it is given
    20      8     kept_until    until then it may be given in an outage
    28      16    checksum      blake2b of the key and of all other bytes
    44      ...   facts         MessagePack, see `Facts`
    ...           payload

The checksum covers the key, so bytes that came to stand under another key are
as worthless as damaged ones: whatever a store does, nobody is given what was
answered to another request. It is checked when bytes come from a store outside
of the process; those in memory were checked, or made, here.
"""

from __future__ import annotations

import hashlib
import struct
from typing import Final

import msgspec

LINK: Final = 2
"""The form of an entry that names another one, and is no answer itself."""

_HEAD: Final = struct.Struct("<BBHddd16s")
_VERSION: Final = 1
_AT_CHECKSUM: Final = 28
_AT_FACTS: Final = _HEAD.size
_MOST_FACTS: Final = 0xFFFF


class Facts(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What is known of an answer besides its bytes. Fields are only ever added, at the end."""

    scope: str
    tenant: str
    """Whose request it was made for."""
    model: str
    """The route."""
    target: str = ""
    """Who made it."""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int | None = None
    """What it cost; None when nobody knows."""
    gpu_s: float = 0.0
    """Seconds of GPU time it took, where that is known."""


_encode: Final = msgspec.msgpack.Encoder().encode
_facts: Final = msgspec.msgpack.Decoder(Facts).decode


class Entry:
    """One kept answer, read from its bytes."""

    __slots__ = ("_payload_at", "blob", "created_at", "expires_at", "form", "kept_until")

    def __init__(self, blob: bytes) -> None:
        """Read bytes that were made or checked by this process; see `checked`."""
        self.blob = blob
        _, self.form, facts, self.created_at, self.expires_at, self.kept_until, _ = _HEAD.unpack_from(blob)
        self._payload_at = _AT_FACTS + facts

    @property
    def payload(self) -> bytes:
        """The answer."""
        return self.blob[self._payload_at :]

    @property
    def facts(self) -> Facts:
        """What is known of it."""
        return _facts(self.blob[_AT_FACTS : self._payload_at])


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer to another question, which means the same."""

    entry: Entry
    score: float
    """How likely it is right."""
    bound: float
    """The upper bound of the false rate of such answers, as it is published."""


def pack(
    key: bytes,
    payload: bytes,
    facts: Facts,
    *,
    created_at: float,
    ttl_s: float,
    kept_s: float,
    form: int = 0,
) -> bytes:
    """The bytes of an entry.

    Args:
        key: the request's.
        payload: the answer.
        facts: about it.
        created_at: Unix seconds.
        ttl_s: how long it is given.
        kept_s: how long it is kept; at least `ttl_s`.
        form: what kind of payload it is, 0 to 255.

    Raises:
        ValueError: the facts are too long.
    """
    encoded = _encode(facts)
    if len(encoded) > _MOST_FACTS:
        raise ValueError("the facts of an entry are too long")
    times = (created_at, created_at + ttl_s, created_at + max(ttl_s, kept_s))
    head = _HEAD.pack(_VERSION, form, len(encoded), *times, b"")[:_AT_CHECKSUM]
    return b"".join((head, _checksum(key, head, encoded, payload), encoded, payload))


def checked(key: bytes, blob: bytes) -> Entry | None:
    """The entry that a store has under `key`; None when its bytes are damaged or another key's."""
    if len(blob) < _AT_FACTS or blob[0] != _VERSION:
        return None
    view = memoryview(blob)
    if _checksum(key, view[:_AT_CHECKSUM], view[_AT_FACTS:]) != view[_AT_CHECKSUM:_AT_FACTS]:
        return None
    return Entry(blob)


def _checksum(key: bytes, *parts: bytes | memoryview) -> bytes:
    hasher = hashlib.blake2b(key, digest_size=16, person=b"fairlead-entry")
    for part in parts:
        hasher.update(part)
    return hasher.digest()
