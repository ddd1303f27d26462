"""Which chunks a version consists of: the sealed index, and the open list of references.

The index holds the chunks' keys and is always sealed under the version's key.
The list holds object names only, which say nothing to who has no keys; garbage
collection reads it and needs no key. Both are specified in docs/vault-format.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

import msgspec

from fairlead.errors import InvalidRequest, Tampered
from fairlead.vault.chunks import ID_BYTES, MAX_CHUNK_BYTES, Chunk
from fairlead.vault.floe import KEY_BYTES
from fairlead.vault.ref import MAX_PATH_BYTES, check_file_path

INDEX_MAGIC: Final = b"fairlead.dev/vault/chunk-index/v1\n"
REFERENCES_HEAD: Final = "fairlead.dev/vault/chunk-references/v1"
MAX_FILES: Final = 1 << 20
_ENTRY_BYTES: Final = 4 + ID_BYTES + KEY_BYTES
_NAME: Final = re.compile(r"[0-9a-f]{64}")


class ChunkedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file as its chunks, in order."""

    size_bytes: int
    chunks: tuple[Chunk, ...]


class ChunkIndex(msgspec.Struct, frozen=True, kw_only=True):
    """All files of one version, by path."""

    files: Mapping[str, ChunkedFile]

    def names(self) -> set[str]:
        """The objects that the version needs."""
        return {chunk.name for file in self.files.values() for chunk in file.chunks}

    def by_id(self) -> dict[bytes, Chunk]:
        """The chunks by what is in them, for a version that shares some of them."""
        return {chunk.id: chunk for file in self.files.values() for chunk in file.chunks}


def encode_index(index: ChunkIndex) -> bytes:
    """The one encoding of an index, to be sealed."""
    parts = [INDEX_MAGIC, len(index.files).to_bytes(4, "big")]
    for path, file in sorted(index.files.items(), key=lambda item: item[0].encode()):
        name = check_file_path(path).encode()
        parts += (len(name).to_bytes(2, "big"), name)
        parts += (file.size_bytes.to_bytes(8, "big"), len(file.chunks).to_bytes(4, "big"))
        for chunk in file.chunks:
            parts += (chunk.length.to_bytes(4, "big"), chunk.id, chunk.key)
    return b"".join(parts)


def decode_index(data: bytes) -> ChunkIndex:
    """Read an index that was unsealed; anything but the one encoding is refused.

    Raises:
        Tampered: it is not an index.
    """
    cursor = _Cursor(data)
    if cursor.take(len(INDEX_MAGIC)) != INDEX_MAGIC:
        _refuse("it does not begin as one")
    files: dict[str, ChunkedFile] = {}
    last = b""
    for _ in range(cursor.number(4, MAX_FILES)):
        name = cursor.take(cursor.number(2, MAX_PATH_BYTES))
        if name <= last:
            _refuse("its files are not in order")
        last = name
        try:
            path = check_file_path(name.decode())
        except (UnicodeDecodeError, InvalidRequest):
            _refuse("a path is not valid")
        size = cursor.number(8, (1 << 63) - 1)
        chunks = tuple(_chunk(cursor) for _ in range(cursor.number(4, cursor.left // _ENTRY_BYTES)))
        if sum(chunk.length for chunk in chunks) != size:
            _refuse("the chunks of a file do not add up to its size")
        files[path] = ChunkedFile(size_bytes=size, chunks=chunks)
    if cursor.left:
        _refuse("something follows its end")
    return ChunkIndex(files=files)


def encode_references(names: Iterable[str]) -> bytes:
    """The list of the objects that a version needs: sorted, one on a line."""
    return "".join(f"{line}\n" for line in (REFERENCES_HEAD, *sorted(set(names)))).encode()


def decode_references(data: bytes) -> set[str]:
    """Read a list of references; anything but the one encoding is refused.

    Raises:
        Tampered: it is not such a list. Who collects garbage must stop here: a list
            that cannot be read may name anything.
    """
    try:
        names = data.decode("ascii").split("\n")[1:-1]
    except UnicodeDecodeError:
        names = [""]
    if not all(_NAME.fullmatch(name) for name in names) or encode_references(names) != data:
        raise Tampered("a list of chunk references is damaged")
    return set(names)


class _Cursor:
    """Reads fields from the front; never past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        if length > self.left:
            _refuse("it was cut")
        self._at += length
        return self._data[self._at - length : self._at]

    def number(self, length: int, most: int) -> int:
        value = int.from_bytes(self.take(length), "big")
        if value > most:
            _refuse("a number is too large")
        return value


def _chunk(cursor: _Cursor) -> Chunk:
    length = cursor.number(4, MAX_CHUNK_BYTES)
    if not length:
        _refuse("a chunk is empty")
    return Chunk(length=length, id=cursor.take(ID_BYTES), key=cursor.take(KEY_BYTES))


def _refuse(why: str) -> NoReturn:
    raise Tampered(f"this is not a chunk index: {why}")
