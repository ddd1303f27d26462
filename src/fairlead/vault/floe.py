"""FLOE, the sealed file's format (https://c2sp.org/FLOE), as bytes in and bytes out.

AES-256-GCM in segments of one size, keys from HKDF-Expand with SHA-384, a header
that commits to key and additional data. docs/vault-format.md says which
parameters the vault uses and why.

Rules kept here:

- Which segment is the last follows from the file's length and from nothing that
  the file says. A segment's position and whether it is the last are authenticated.
- Nothing is returned before its tag was checked. OpenSSL writes plaintext while
  it still computes the tag, so the output is wiped when the check fails.
- A sealer chooses every IV itself. `random` exists for published vectors only.

Reading, writing and threads are the callers' (`sealing`, `opening`).
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.errors import Tampered, VaultError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA384
    from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
except ImportError as missing:
    raise VaultError(
        "the vault needs the package `cryptography`", hint="pip install 'fairlead[vault]'"
    ) from missing

Buffer = bytes | bytearray | memoryview

KEY_BYTES: Final = 32
IV_BYTES: Final = 32
TAG_BYTES: Final = 32
HEADER_BYTES: Final = 10 + IV_BYTES + TAG_BYTES

SEGMENT_IV_BYTES: Final = 12
SEGMENT_TAG_BYTES: Final = 16
SEGMENT_HEAD_BYTES: Final = 4 + SEGMENT_IV_BYTES
SEGMENT_OVERHEAD: Final = SEGMENT_HEAD_BYTES + SEGMENT_TAG_BYTES
MAX_SEGMENTS: Final = 1 << 40
_NOT_LAST: Final = b"\xff\xff\xff\xff"


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """FLOE's parameters. The AEAD, the KDF and the length of the IV have only one value."""

    segment_bytes: int = 4 << 20
    """Length of a segment in the sealed file, with its overhead of 32 bytes."""
    rotation_bits: int = 20
    """A segment key serves 2 ** rotation_bits segments; anything but 20 is for published vectors."""

    def __post_init__(self) -> None:
        """Refuse a segment that could hold nothing, and one that OpenSSL cannot take in one piece."""
        if not SEGMENT_OVERHEAD < self.segment_bytes < 1 << 31:
            raise ValueError("a segment's length is outside what FLOE and OpenSSL take")

    def encoded(self) -> bytes:
        """The first ten bytes of a header."""
        return b"\0\0" + self.segment_bytes.to_bytes(4, "big") + IV_BYTES.to_bytes(4, "big")

    @property
    def plain_bytes(self) -> int:
        """Plaintext in every segment but the last."""
        return self.segment_bytes - SEGMENT_OVERHEAD


VAULT: Final = Params()
"""What the vault writes and the only thing it reads."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where the segments of one file are. Arithmetic only; nothing here is read from the file."""

    params: Params
    segments: int
    last_plain_bytes: int

    @classmethod
    def of_plain(cls, size_bytes: int, params: Params = VAULT) -> Layout:
        """The layout of a plaintext of this size: the last segment is empty for an empty file only."""
        if size_bytes < 0:
            raise ValueError("a size is not negative")
        full = max(size_bytes - 1, 0) // params.plain_bytes
        if full + 1 > MAX_SEGMENTS:
            raise VaultError("the file is longer than the format can hold")
        return cls(params=params, segments=full + 1, last_plain_bytes=size_bytes - full * params.plain_bytes)

    @classmethod
    def of_sealed(cls, size_bytes: int, params: Params = VAULT) -> Layout:
        """The layout of a sealed file of this size.

        Raises:
            Tampered: no sealed file has this size.
        """
        body = size_bytes - HEADER_BYTES
        segments = -(-body // params.segment_bytes)
        last = body - (segments - 1) * params.segment_bytes
        if body <= 0 or last < SEGMENT_OVERHEAD or segments > MAX_SEGMENTS:
            raise Tampered(f"no sealed file is {size_bytes} bytes long; it was cut or extended")
        return cls(params=params, segments=segments, last_plain_bytes=last - SEGMENT_OVERHEAD)

    @property
    def plain_size(self) -> int:
        """Bytes of plaintext."""
        return (self.segments - 1) * self.params.plain_bytes + self.last_plain_bytes

    @property
    def sealed_size(self) -> int:
        """Bytes of the sealed file, header included."""
        before = HEADER_BYTES + (self.segments - 1) * self.params.segment_bytes
        return before + self.last_plain_bytes + SEGMENT_OVERHEAD

    def plain_bytes(self, position: int) -> int:
        """Plaintext in one segment."""
        return self.last_plain_bytes if self.is_last(position) else self.params.plain_bytes

    def is_last(self, position: int) -> bool:
        """Whether this is the last segment.

        Raises:
            ValueError: there is no such segment.
        """
        if not 0 <= position < self.segments:
            raise ValueError("there is no such segment")
        return position == self.segments - 1

    def offset(self, position: int) -> int:
        """Where a segment begins in the sealed file."""
        return HEADER_BYTES + position * self.params.segment_bytes


class _Keys:
    """What key, IV and additional data give: the header's tag and the segments' ciphers."""

    def __init__(self, key: bytes, aad: bytes, iv: bytes, params: Params) -> None:
        if len(key) != KEY_BYTES:
            raise VaultError(f"a vault key has {KEY_BYTES} bytes, this one {len(key)}")
        self._prefix = params.encoded() + iv
        self._aad = aad
        self._rotation_bits = params.rotation_bits
        self.header_tag = self._derive(key, b"HEADER_TAG:", TAG_BYTES)
        self._message_key = self._derive(key, b"MESSAGE_KEY:", 48)
        self._current: tuple[int, AESGCM] | None = None

    def cipher(self, position: int) -> AESGCM:
        """The cipher of a segment. Threads that race here compute the same, and a tuple is swapped whole."""
        group = position >> self._rotation_bits
        current = self._current
        if current is None or current[0] != group:
            masked = (group << self._rotation_bits).to_bytes(8, "big")
            current = (group, AESGCM(self._derive(self._message_key, b"DEK:" + masked, KEY_BYTES)))
            self._current = current
        return current[1]

    def _derive(self, key: bytes, purpose: bytes, length: int) -> bytes:
        info = self._prefix + purpose + self._aad
        return HKDFExpand(algorithm=SHA384(), length=length, info=info).derive(key)


class Sealer:
    """Seals the segments of one plaintext of known size, in any order and from several threads.

    The caller seals every position exactly once.
    """

    def __init__(
        self,
        key: bytes,
        aad: bytes,
        size_bytes: int,
        *,
        params: Params = VAULT,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Begin a file; `header` goes before its first segment."""
        self.layout = Layout.of_plain(size_bytes, params)
        self._random = random
        iv = random(IV_BYTES)
        self._keys = _Keys(key, aad, iv, params)
        self.header = params.encoded() + iv + self._keys.header_tag

    def seal(self, position: int, plaintext: Buffer, out: memoryview) -> int:
        """Write one segment into `out` and return its length. `plaintext` is as long as the layout says."""
        last = self.layout.is_last(position)
        if len(plaintext) != self.layout.plain_bytes(position):
            raise ValueError("the plaintext of a segment has another length than its position asks for")
        length = len(plaintext) + SEGMENT_OVERHEAD
        iv = self._random(SEGMENT_IV_BYTES)
        out[:4] = length.to_bytes(4, "big") if last else _NOT_LAST
        out[4:SEGMENT_HEAD_BYTES] = iv
        self._keys.cipher(position).encrypt_into(
            iv, plaintext, _segment_aad(position, last), out[SEGMENT_HEAD_BYTES:length]
        )
        return length


class Opener:
    """Opens the segments of one sealed file, in any order and from several threads."""

    def __init__(self, key: bytes, aad: bytes, header: Buffer, layout: Layout) -> None:
        """Check the header against key, additional data and the one set of parameters that is expected.

        Raises:
            Tampered: it is not the header of a file sealed with these.
        """
        params = layout.params
        prefix = bytes(header[:10])
        if len(header) != HEADER_BYTES or not hmac.compare_digest(prefix, params.encoded()):
            raise Tampered("the header is not that of a sealed file")
        self.layout = layout
        self._keys = _Keys(key, aad, bytes(header[10 : 10 + IV_BYTES]), params)
        if not hmac.compare_digest(self._keys.header_tag, bytes(header[10 + IV_BYTES :])):
            raise Tampered("the header does not belong to this key, this place and this length")

    def open(self, position: int, segment: Buffer, out: memoryview) -> int:
        """Decrypt one segment into `out`, exactly as long as its plaintext; return that length.

        Raises:
            Tampered: the segment is not what was sealed at this position; `out` is all zeros.
        """
        last = self.layout.is_last(position)
        length = self.layout.plain_bytes(position) + SEGMENT_OVERHEAD
        if len(out) != length - SEGMENT_OVERHEAD:
            raise ValueError("the output has another length than the segment's plaintext")
        view = memoryview(segment)
        head = length.to_bytes(4, "big") if last else _NOT_LAST
        try:
            # The length is not part of the tag's input, but only one value is ever right.
            if len(view) != length or bytes(view[:4]) != head:
                raise InvalidTag
            self._keys.cipher(position).decrypt_into(
                bytes(view[4:SEGMENT_HEAD_BYTES]),
                view[SEGMENT_HEAD_BYTES:],
                _segment_aad(position, last),
                out,
            )
        except BaseException as error:
            wipe(out)
            if not isinstance(error, InvalidTag):
                raise
            raise Tampered(f"segment {position} of {self.layout.segments} is not what was sealed") from None
        return len(out)


def wipe(buffer: memoryview | bytearray) -> None:
    """Overwrite a buffer with zeros."""
    buffer[:] = bytes(len(buffer))


def _segment_aad(position: int, last: bool) -> bytes:
    return position.to_bytes(8, "big") + (b"\x01" if last else b"\x00")
