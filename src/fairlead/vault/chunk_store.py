"""Versions as shared chunks in a storage: put, open, remove, collect what nobody needs.

The order of writes makes every crash harmless: a version's list of references is
there before its first chunk, its index after the last. So a chunk that is in the
storage and in no list is garbage, always, and a version either has its index or
does not exist. Collecting and putting exclude each other; the lock is the
caller's (one tenant's versions are published under one lease).
"""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Final, NamedTuple

from fairlead.errors import Conflict, NotFound, Tampered
from fairlead.vault.blobs import BlobStore
from fairlead.vault.chunk_index import (
    ChunkedFile,
    ChunkIndex,
    decode_index,
    decode_references,
    encode_index,
    encode_references,
)
from fairlead.vault.chunks import MAX_CHUNK_BYTES, Chunk, chunk_id, cut, new_chunk, open_chunk, seal_chunk
from fairlead.vault.context import Context, Purpose
from fairlead.vault.floe import wipe
from fairlead.vault.opening import open_bytes
from fairlead.vault.ref import Ref
from fairlead.vault.sealing import seal_bytes
from fairlead.vault.sources import Source

MAX_INDEX_BYTES: Final = 1 << 30


class Plain(NamedTuple):
    """A file to put, and where to cut it (`chunks.borders`)."""

    source: Source
    borders: Iterable[int] = ()


class ChunkStore:
    """The chunks of one tenant."""

    def __init__(self, blobs: BlobStore, tenant: str, tenant_key: bytes) -> None:
        """Use `tenant_key`, 32 random bytes that serve nothing else, for the chunks' ids."""
        self._blobs = blobs
        self._tenant = tenant
        self._tenant_key = tenant_key

    async def put(
        self, ref: Ref, key: bytes, files: Mapping[str, Plain], known: Iterable[ChunkIndex] = ()
    ) -> ChunkIndex:
        """Store a version; chunks that `known` versions have are shared with them.

        Reads every file once, and what is new once more.

        Args:
            ref: the version, of this store's tenant.
            key: the version's data key, which seals the index.
            files: the plaintexts by path.
            known: indexes of other versions of the tenant that the writer may read.

        Raises:
            Conflict: the version exists.
        """
        self._check(ref)
        if await self._blobs.names(self._index_name(ref)):
            raise Conflict(f"{ref} exists already")
        shared = {id_: chunk for index in known for id_, chunk in index.by_id().items()}
        index, fresh = await asyncio.to_thread(self._plan, files, shared)
        references = encode_references(index.names())
        if not await self._blobs.put_new(self._references_name(ref), references):
            # Left by a put that was cut off: its chunks' keys are lost, collecting will free them.
            await self._blobs.delete(self._references_name(ref))
            await self._blobs.put_new(self._references_name(ref), references)
        for chunk, source, offset in fresh:
            sealed = await asyncio.to_thread(self._seal, chunk, source, offset)
            await self._blobs.put_new(self._chunk_name(chunk), sealed)
        sealed = seal_bytes(key, _place(ref), encode_index(index))
        if not await self._blobs.put_new(self._index_name(ref), sealed):
            raise Conflict(f"{ref} exists already")
        return index

    async def index(self, ref: Ref, key: bytes) -> ChunkIndex:
        """The index of a version.

        Raises:
            NotFound: there is no such version.
            Tampered: the index is not what was sealed, or the list of references names other objects.
        """
        self._check(ref)
        sealed = await self._blobs.get(self._index_name(ref))
        index = decode_index(open_bytes(key, _place(ref), sealed, max_bytes=MAX_INDEX_BYTES))
        if decode_references(await self._blobs.get(self._references_name(ref))) != index.names():
            raise Tampered(f"the list of references of {ref} is not that of its index")
        return index

    def reader(self, file: ChunkedFile) -> ChunkReader:
        """Random access to one file of an index."""
        return ChunkReader(self, file)

    async def remove(self, ref: Ref) -> None:
        """Forget a version; `collect` then frees what no other needs.

        Crypto-shredding is the destruction of the version's key, which the caller does
        first: whoever kept copies of index and chunks then has noise, but for chunks
        that other versions share.
        """
        self._check(ref)
        await self._blobs.delete(self._index_name(ref))
        await self._blobs.delete(self._references_name(ref))

    async def collect(self) -> list[str]:
        """Delete exactly the chunks that no version's list names; return their names.

        Nobody may be putting a version of this tenant meanwhile.

        Raises:
            Tampered: a list is damaged; nothing was deleted.
        """
        needed: set[str] = set()
        for name in await self._blobs.names(f"chunk-references/{self._tenant}/"):
            needed |= decode_references(await self._blobs.get(name))
        there = await self._blobs.names(f"chunks/{self._tenant}/")
        garbage = [name for name in there if name.rpartition("/")[2] not in needed]
        for name in garbage:
            await self._blobs.delete(name)
        return garbage

    async def fetch(self, chunk: Chunk, out: memoryview) -> None:
        """Read and decrypt one chunk.

        Raises:
            Tampered: the object is missing or not what was sealed; `out` is wiped.
        """
        try:
            sealed = await self._blobs.get(self._chunk_name(chunk))
        except NotFound:
            raise Tampered(f"the object {chunk.name} is missing") from None
        open_chunk(chunk, self._tenant, sealed, out)

    def _plan(
        self, files: Mapping[str, Plain], shared: dict[bytes, Chunk]
    ) -> tuple[ChunkIndex, list[tuple[Chunk, Source, int]]]:
        """Name every chunk; the new ones come with where to read them."""
        buffer = bytearray(MAX_CHUNK_BYTES)
        fresh: list[tuple[Chunk, Source, int]] = []
        planned: dict[str, ChunkedFile] = {}
        for path, (source, at) in files.items():
            chunks = []
            for begin, end in cut(source.size_bytes, at):
                plain = memoryview(buffer)[: end - begin]
                source.read_into(begin, plain)
                id_ = chunk_id(self._tenant_key, plain)
                chunk = shared.get(id_)
                if chunk is None:
                    chunk = shared[id_] = new_chunk(id_, len(plain))
                    fresh.append((chunk, source, begin))
                chunks.append(chunk)
            planned[path] = ChunkedFile(size_bytes=source.size_bytes, chunks=tuple(chunks))
        wipe(buffer)
        return ChunkIndex(files=planned), fresh

    def _seal(self, chunk: Chunk, source: Source, offset: int) -> bytes:
        plain = memoryview(bytearray(chunk.length))
        source.read_into(offset, plain)
        sealed = seal_chunk(chunk, self._tenant, plain)
        wipe(plain)
        return sealed

    def _check(self, ref: Ref) -> None:
        if ref.tenant != self._tenant:
            raise ValueError("the version belongs to another tenant than the store")

    def _chunk_name(self, chunk: Chunk) -> str:
        return f"chunks/{self._tenant}/{chunk.name[:2]}/{chunk.name}"

    def _index_name(self, ref: Ref) -> str:
        return f"chunk-index/{self._tenant}/{ref.name}@{ref.version}"

    def _references_name(self, ref: Ref) -> str:
        return f"chunk-references/{self._tenant}/{ref.name}@{ref.version}"


class ChunkReader:
    """Random access to one file that is stored as chunks."""

    def __init__(self, store: ChunkStore, file: ChunkedFile) -> None:
        """Use `ChunkStore.reader`."""
        self._store = store
        self.size_bytes = file.size_bytes
        self._chunks = file.chunks
        lengths = (chunk.length for chunk in file.chunks)
        self._begins = list(itertools.accumulate(lengths, initial=0))[:-1]

    async def read_at(self, offset: int, buffer: memoryview | bytearray) -> int:
        """Fill a buffer with plaintext from `offset` on; return how much there was until the end.

        Raises:
            Tampered: something of it is not what was sealed; the buffer is wiped.
        """
        if offset < 0:
            raise ValueError("an offset is not negative")
        view = memoryview(buffer).cast("B")
        view = view[: max(0, min(len(view), self.size_bytes - offset))]
        try:
            if not view:
                return 0
            first = bisect.bisect_right(self._begins, offset) - 1
            last = bisect.bisect_left(self._begins, offset + len(view))
            for at, chunk in zip(self._begins[first:last], self._chunks[first:last], strict=True):
                begin, end = max(at, offset), min(at + chunk.length, offset + len(view))
                out = view[begin - offset : end - offset]
                if len(out) == chunk.length:
                    await self._store.fetch(chunk, out)
                else:
                    plain = memoryview(bytearray(chunk.length))
                    await self._store.fetch(chunk, plain)
                    out[:] = plain[begin - at : end - at]
                    wipe(plain)
        except (Exception, asyncio.CancelledError):
            wipe(view)
            raise
        return len(view)

    async def pieces(self) -> AsyncIterator[memoryview]:
        """All of the plaintext, in order. A piece is read-only and valid until the next one is asked for.

        Raises:
            Tampered: a piece is not what was sealed; those before it were.
        """
        buffer = memoryview(bytearray(max((chunk.length for chunk in self._chunks), default=0)))
        try:
            for chunk in self._chunks:
                out = buffer[: chunk.length]
                await self._store.fetch(chunk, out)
                yield out.toreadonly()
        finally:
            wipe(buffer)


def _place(ref: Ref) -> Context:
    return Context.of(ref, purpose=Purpose.CHUNK_INDEX)
