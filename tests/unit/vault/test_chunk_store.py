from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import Conflict, NotFound, Tampered
from fairlead.vault.blobs import MemoryBlobs
from fairlead.vault.chunk_store import ChunkStore, Plain
from fairlead.vault.ref import Ref
from fairlead.vault.sources import MemorySource

T = TypeVar("T")
TENANT_KEY, KEYS = bytes(32), [bytes([number]) * 32 for number in range(10)]
MIB = 1 << 20


def version(number: int, tenant: str = "acme") -> Ref:
    return Ref(tenant=tenant, name="fraud", version=str(number))


def plain(data: bytes, *borders: int) -> Plain:
    return Plain(MemorySource(data), borders)


def run(work: Callable[[MemoryBlobs, ChunkStore], Coroutine[Any, Any, T]]) -> T:
    blobs = MemoryBlobs()
    return asyncio.run(work(blobs, ChunkStore(blobs, "acme", TENANT_KEY)))


def chunks_of(blobs: MemoryBlobs) -> set[str]:
    return {name.rpartition("/")[2] for name in blobs.objects if name.startswith("chunks/")}


RNG = random.Random(7)
HEADER, ENCODER, HEAD, OTHER_HEAD = RNG.randbytes(100), RNG.randbytes(5 * MIB), *(
    RNG.randbytes(MIB) for _ in range(2)
)  # fmt: skip
BASE = plain(HEADER + ENCODER + HEAD, 100, 100 + 5 * MIB)
TUNED = plain(HEADER[::-1] + ENCODER + OTHER_HEAD, 100, 100 + 5 * MIB)


async def read(store: ChunkStore, ref: Ref, key: bytes, path: str) -> bytes:
    index = await store.index(ref, key)
    return b"".join([bytes(piece) async for piece in store.reader(index.files[path]).pieces()])


def test_a_version_is_read_back_and_its_fine_tune_shares_what_is_equal() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        base = await store.put(version(1), KEYS[1], {"m": BASE})
        before = chunks_of(blobs)
        tuned = await store.put(version(2), KEYS[2], {"m": TUNED}, known=[base])

        assert len(before) == 4  # header, encoder in two, head
        assert len(chunks_of(blobs) - before) == 2  # another header, another head
        assert len(base.names() & tuned.names()) == 2
        assert await read(store, version(1), KEYS[1], "m") == HEADER + ENCODER + HEAD
        assert await read(store, version(2), KEYS[2], "m") == HEADER[::-1] + ENCODER + OTHER_HEAD

    run(work)


def test_a_writer_who_cannot_read_the_other_version_shares_nothing() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        one = await store.put(version(1), KEYS[1], {"m": BASE})
        other = await store.put(version(2), KEYS[2], {"m": BASE})

        assert not one.names() & other.names()
        assert one.by_id().keys() == other.by_id().keys()

    run(work)


def test_equal_files_of_one_version_are_stored_once() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        await store.put(
            version(1), KEYS[1], {"a": plain(b"x" * 100), "b": plain(b"x" * 100), "c": plain(b"")}
        )

        assert len(chunks_of(blobs)) == 1
        assert await read(store, version(1), KEYS[1], "b") == b"x" * 100
        assert await read(store, version(1), KEYS[1], "c") == b""

    run(work)


def test_removing_one_version_leaves_the_other_readable_and_frees_the_rest_exactly() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        base = await store.put(version(1), KEYS[1], {"m": BASE})
        tuned = await store.put(version(2), KEYS[2], {"m": TUNED}, known=[base])
        assert await store.collect() == []

        await store.remove(version(1))
        freed = await store.collect()

        assert {name.rpartition("/")[2] for name in freed} == base.names() - tuned.names()
        assert chunks_of(blobs) == tuned.names()
        assert await read(store, version(2), KEYS[2], "m") == HEADER[::-1] + ENCODER + OTHER_HEAD
        with pytest.raises(NotFound):
            await store.index(version(1), KEYS[1])
        await store.remove(version(2))
        await store.collect()
        assert blobs.objects == {}

    run(work)


def test_without_its_key_a_shredded_version_is_noise_although_its_objects_were_kept() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        base = await store.put(version(1), KEYS[1], {"m": BASE})
        kept = dict(blobs.objects)
        await store.put(version(2), KEYS[2], {"m": TUNED}, known=[base])

        # KEYS[1] is gone. Every key that is left, the tenant's included, opens none of the index.
        blobs.objects.update(kept)
        for key in (TENANT_KEY, *KEYS[2:]):
            with pytest.raises(Tampered):
                await store.index(version(1), key)
        # And no chunk's key is in the open anywhere.
        everything = b"".join(blobs.objects.values())
        assert not any(chunk.key in everything for chunk in base.by_id().values())

    run(work)


def test_an_index_of_another_version_or_tenant_is_refused() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        await store.put(version(1), KEYS[1], {"m": plain(b"x")})
        await store.put(version(2), KEYS[1], {"m": plain(b"y")})
        objects = blobs.objects
        objects["chunk-index/acme/fraud@2"] = objects["chunk-index/acme/fraud@1"]
        objects["chunk-references/acme/fraud@2"] = objects["chunk-references/acme/fraud@1"]
        with pytest.raises(Tampered):
            await store.index(version(2), KEYS[1])
        for call in (store.index(version(1, "other"), KEYS[1]), store.put(version(1, "other"), KEYS[1], {})):
            with pytest.raises(ValueError, match="another tenant"):
                await call

    run(work)


def test_a_chunk_that_is_missing_changed_or_swapped_is_refused_and_leaves_nothing() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        index = await store.put(version(1), KEYS[1], {"m": plain(b"a" * 50 + b"b" * 300_000, 50)})
        file = index.files["m"]
        names = [f"chunks/acme/{chunk.name[:2]}/{chunk.name}" for chunk in file.chunks]
        good = dict(blobs.objects)
        flipped = bytearray(good[names[1]])
        flipped[-1] ^= 1
        for damage in (
            {names[1]: bytes(flipped)},
            {names[1]: good[names[0]], names[0]: good[names[1]]},
            {names[1]: b""},
        ):
            blobs.objects.update(damage)
            buffer = bytearray(b"\xff" * 300_050)
            with pytest.raises(Tampered):
                await store.reader(file).read_at(0, buffer)
            assert not any(buffer)
            blobs.objects.update(good)
        await blobs.delete(names[0])
        with pytest.raises(Tampered, match="missing"):
            await store.reader(file).read_at(3, bytearray(1))

    run(work)


def test_a_list_of_references_that_was_changed_stops_reading_and_collecting() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        await store.put(version(1), KEYS[1], {"m": plain(b"x")})
        await store.put(version(2), KEYS[2], {"m": plain(b"y")})
        objects = blobs.objects
        objects["chunk-references/acme/fraud@1"] = objects["chunk-references/acme/fraud@2"]
        with pytest.raises(Tampered, match="list of references"):
            await store.index(version(1), KEYS[1])
        objects["chunk-references/acme/fraud@1"] = b"garbage"
        before = dict(objects)
        with pytest.raises(Tampered):
            await store.collect()
        assert objects == before

    run(work)


def test_a_version_is_never_overwritten() -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        await store.put(version(1), KEYS[1], {"m": plain(b"x")})
        before = dict(blobs.objects)
        with pytest.raises(Conflict):
            await store.put(version(1), KEYS[1], {"m": plain(b"y")})
        assert blobs.objects == before

    run(work)


class Dying(MemoryBlobs):
    """A storage whose process is killed before the nth change."""

    def __init__(self, changes: int) -> None:
        super().__init__()
        self.left = changes

    async def put_new(self, name: str, data: bytes) -> bool:
        self._change()
        return await super().put_new(name, data)

    async def delete(self, name: str) -> None:
        self._change()
        await super().delete(name)

    def _change(self) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1


@pytest.mark.parametrize("changes", range(14))
def test_a_crash_at_any_write_leaves_old_or_new_and_no_orphan(changes: int) -> None:
    async def work() -> None:
        blobs = Dying(10**6)
        store = ChunkStore(blobs, "acme", TENANT_KEY)
        base = await store.put(version(1), KEYS[1], {"m": BASE})
        blobs.left = changes
        finished = False
        try:
            tuned = await store.put(version(2), KEYS[2], {"m": TUNED}, known=[base])
            await store.remove(version(1))
            await store.collect()
            finished = True
        except KeyboardInterrupt:
            pass
        blobs.left = 10**6

        there = {number: bool(await blobs.names(f"chunk-index/acme/fraud@{number}")) for number in (1, 2)}
        if there[1]:
            assert await read(store, version(1), KEYS[1], "m") == HEADER + ENCODER + HEAD
        if there[2]:
            assert await read(store, version(2), KEYS[2], "m") == HEADER[::-1] + ENCODER + OTHER_HEAD
        assert there[1] or there[2]
        # The work is done again from where it stands, and nothing is left over or missing.
        if not there[2]:
            await store.put(version(2), KEYS[2], {"m": TUNED}, known=[base])
        await store.remove(version(1))
        await store.collect()
        tuned = await store.index(version(2), KEYS[2])
        assert chunks_of(blobs) == tuned.names()
        assert len(blobs.objects) == len(tuned.names()) + 2
        assert finished is (changes >= 8)

    asyncio.run(work())


@settings(max_examples=30)
@given(
    st.binary(max_size=300),
    st.lists(st.integers(0, 300), max_size=4),
    st.integers(0, 310),
    st.integers(0, 60),
)
def test_reads_anywhere_give_what_was_there(data: bytes, at: list[int], offset: int, length: int) -> None:
    async def work(blobs: MemoryBlobs, store: ChunkStore) -> None:
        index = await store.put(version(1), KEYS[1], {"m": plain(data, *at)})
        reader = store.reader(index.files["m"])
        buffer = bytearray(length)
        got = await reader.read_at(offset, buffer)
        assert reader.size_bytes == len(data)
        assert bytes(buffer[:got]) == data[offset : offset + length]
        with pytest.raises(ValueError, match="negative"):
            await reader.read_at(-1, buffer)

    run(work)
