"""Chunks: pieces of files that versions of one tenant share. Arithmetic and ciphers, no storage.

A file is cut at the borders of its tensors, so that a fine-tune that changes a
few of them shares the rest with the model that it was made from.

- An id is an HMAC of the plaintext under the tenant's chunk key. A bare digest
  would let everybody who sees an id, in a plan or a log, ask whether this tenant
  has a file that they know; and equal ids in two tenants would tell that they
  have the same. HMAC-SHA-256 and not BLAKE3: it is faster than BLAKE2b where
  processors compute SHA-256, and every validated module has it.
- Every chunk has a random key of its own. It stands in the sealed index of each
  version that uses the chunk and nowhere else, so it is gone with the last of
  these versions' keys, whoever kept copies of the objects.
- An object's name depends on the chunk's key: storage learns neither ids nor that
  two objects have the same plaintext, and two writers that cannot read each
  other's versions never meet in one name.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.errors import Tampered
from fairlead.vault.floe import KEY_BYTES, SEGMENT_IV_BYTES, SEGMENT_TAG_BYTES, Buffer, wipe
from fairlead.vault.tensor_header import TensorHeader

MAX_CHUNK_BYTES: Final = 4 << 20
JOIN_BELOW_BYTES: Final = 256 << 10
ID_BYTES: Final = 32
OVERHEAD: Final = SEGMENT_IV_BYTES + SEGMENT_TAG_BYTES

_ID: Final = b"fairlead.dev/vault/chunk-id/v1"
_NAME: Final = b"fairlead.dev/vault/chunk-name/v1"
_AAD: Final = b"fairlead.dev/vault/chunk/v1"


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk, as a version's index has it. Whoever holds this can read the object."""

    length: int
    id: bytes
    key: bytes

    def __repr__(self) -> str:
        """Without the key: representations end up in logs."""
        return f"Chunk(length={self.length}, id={self.id.hex()})"

    @property
    def name(self) -> str:
        """What the object is called in the storage."""
        return hmac.digest(self.key, _NAME + self.id, "sha256").hex()


class Extent(NamedTuple):
    """A part of a file: from `begin` to before `end`."""

    begin: int
    end: int


def borders(header: TensorHeader) -> list[int]:
    """Where to cut a safetensors file: after its header, and after each tensor."""
    return [header.data_start, *(tensor.end for tensor in header.tensors.values())]


def cut(size_bytes: int, at: Iterable[int] = ()) -> Iterator[Extent]:
    """The chunks of a file, in order, without gap.

    Cuts at each of `at`, which ascend; what is longer than 4 MiB every 4 MiB from
    its own begin. Neighbours shorter than 256 KiB are joined, as far as 4 MiB
    hold them, except across the first border, the end of a file's header, because
    a header changes with every version.
    """
    marks = sorted({0, size_bytes, *(mark for mark in at if 0 < mark < size_bytes)})
    begin = 0  # of what is joined and not yet given
    for number, (start, end) in enumerate(pairwise(marks)):
        small = end - start < JOIN_BELOW_BYTES
        if begin < start and (not small or number == 1 or end - begin > MAX_CHUNK_BYTES):
            yield Extent(begin, start)
            begin = start
        if not small:
            for piece in range(start, end, MAX_CHUNK_BYTES):
                yield Extent(piece, min(piece + MAX_CHUNK_BYTES, end))
            begin = end
    if begin < size_bytes:
        yield Extent(begin, size_bytes)


def chunk_id(tenant_key: bytes, plaintext: Buffer) -> bytes:
    """The id of a plaintext, the same in all versions of one tenant."""
    keyed = hmac.new(tenant_key, _ID, "sha256")
    keyed.update(plaintext)
    return keyed.digest()


def new_chunk(id_: bytes, length: int, *, random: Callable[[int], bytes] = os.urandom) -> Chunk:
    """A chunk that no version has yet: with a key of its own."""
    return Chunk(length=length, id=id_, key=random(KEY_BYTES))


def seal_chunk(
    chunk: Chunk, tenant: str, plaintext: Buffer, *, random: Callable[[int], bytes] = os.urandom
) -> bytes:
    """The object of a chunk: IV, ciphertext, tag."""
    if len(plaintext) != chunk.length:
        raise ValueError("the plaintext has another length than the chunk")
    iv = random(SEGMENT_IV_BYTES)
    sealed = bytearray(len(plaintext) + OVERHEAD)
    sealed[:SEGMENT_IV_BYTES] = iv
    AESGCM(chunk.key).encrypt_into(iv, plaintext, _aad(chunk, tenant), memoryview(sealed)[SEGMENT_IV_BYTES:])
    return bytes(sealed)


def open_chunk(chunk: Chunk, tenant: str, sealed: Buffer, out: memoryview) -> None:
    """Decrypt a chunk into `out`, which is as long as its plaintext.

    Raises:
        Tampered: the object is not this chunk's; `out` is all zeros.
    """
    view = memoryview(sealed)
    try:
        if len(view) != chunk.length + OVERHEAD:
            raise InvalidTag
        iv = bytes(view[:SEGMENT_IV_BYTES])
        AESGCM(chunk.key).decrypt_into(iv, view[SEGMENT_IV_BYTES:], _aad(chunk, tenant), out)
    except BaseException as error:
        wipe(out)
        if not isinstance(error, InvalidTag):
            raise
        raise Tampered(f"the object {chunk.name} is not what was sealed") from None


def _aad(chunk: Chunk, tenant: str) -> bytes:
    name = tenant.encode()
    return _AAD + len(name).to_bytes(4, "big") + name + chunk.id + chunk.length.to_bytes(4, "big")
