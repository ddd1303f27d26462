from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fairlead.errors import Conflict, Tampered, VaultError
from fairlead.vault.context import Context, Purpose
from fairlead.vault.floe import HEADER_BYTES, SEGMENT_OVERHEAD, Params
from fairlead.vault.opening import AsyncReader, Reader, open_bytes, open_file
from fairlead.vault.sealing import seal_bytes, seal_file
from fairlead.vault.sources import FileSource, MemorySource

KEY = bytes(range(32))
PLACE = Context(tenant="acme", name="fraud/scorer", version="7", file="model.safetensors")
SMALL = Params(segment_bytes=48)  # 16 bytes of plaintext in each
PLAIN = bytes(range(40))  # three segments
SEALED = seal_bytes(KEY, PLACE, PLAIN, params=SMALL)
FILL = 0xAA


def outcomes(sealed: bytes, key: bytes = KEY, place: Context = PLACE) -> list[bytes | None]:
    """What each way of reading gives of a sealed file: all of it, or None after a refusal.

    Whatever is refused must have left nothing in the caller's buffer.
    """
    return [
        way(sealed, key, place)
        for way in (_by_one_read, _by_threads, _by_pieces, _by_ranges, _by_async_pieces, _by_single_bytes)
    ]


def _checked(buffer: bytearray, read: Callable[[], int]) -> bytes | None:
    try:
        got = read()
    except Tampered:
        # Bytes past the end of the (claimed) file are not the reader's to touch.
        assert not any(byte for byte in buffer if byte != FILL)
        return None
    return bytes(buffer[:got])


def _by_one_read(sealed: bytes, key: bytes, place: Context) -> bytes | None:
    buffer = bytearray([FILL]) * 64
    return _checked(buffer, lambda: Reader(key, place, MemorySource(sealed), params=SMALL).read_at(0, buffer))


def _by_threads(sealed: bytes, key: bytes, place: Context) -> bytes | None:
    buffer = bytearray([FILL]) * 64
    return _checked(
        buffer,
        lambda: Reader(key, place, MemorySource(sealed), params=SMALL).read_at(0, buffer, threads=2),
    )


def _by_pieces(sealed: bytes, key: bytes, place: Context) -> bytes | None:
    taken = bytearray()
    try:
        for piece in Reader(key, place, MemorySource(sealed), params=SMALL).pieces():
            taken += piece
    except Tampered:
        assert PLAIN.startswith(taken)
        return None
    return bytes(taken)


def _by_single_bytes(sealed: bytes, key: bytes, place: Context) -> bytes | None:
    """Every byte by a read of its own: what can be read at all is right, and not all of it can be."""
    taken = bytearray()
    try:
        reader = Reader(key, place, MemorySource(sealed), params=SMALL)
        for offset in range(reader.size_bytes):
            buffer = bytearray(1)
            reader.read_at(offset, buffer)
            taken += buffer
    except Tampered:
        assert PLAIN.startswith(taken)
        return None
    return bytes(taken)


def ranges_of(sealed: bytes) -> Callable[[int, int], Awaitable[bytes]]:
    async def fetch(offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        return sealed[offset : offset + length]

    return fetch


def _by_ranges(sealed: bytes, key: bytes, place: Context) -> bytes | None:
    buffer = bytearray([FILL]) * 64

    async def read() -> int:
        reader = await AsyncReader.open(key, place, ranges_of(sealed), len(sealed), params=SMALL)
        return await reader.read_at(0, buffer)

    return _checked(buffer, lambda: asyncio.run(read()))


def _by_async_pieces(sealed: bytes, key: bytes, place: Context) -> bytes | None:
    async def read() -> bytes:
        reader = await AsyncReader.open(key, place, ranges_of(sealed), len(sealed), params=SMALL)
        return b"".join([bytes(piece) async for piece in reader.pieces()])

    try:
        return asyncio.run(read())
    except Tampered:
        return None


REFUSED = [None] * 6


def test_the_untouched_file_opens_every_way() -> None:
    assert outcomes(SEALED) == [PLAIN] * 6


@pytest.mark.parametrize("bit", range(8))
def test_each_flipped_bit_is_refused(bit: int) -> None:
    for at in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[at] ^= 1 << bit
        # The quick ways for every bit; each of the six for one bit of every byte.
        if bit == at % 8:
            assert outcomes(bytes(changed)) == REFUSED, at
        assert _by_one_read(bytes(changed), KEY, PLACE) is None, at
        assert _by_pieces(bytes(changed), KEY, PLACE) is None, at


def test_each_cut_is_refused_at_the_header() -> None:
    for length in range(len(SEALED)):
        assert outcomes(SEALED[:length]) == REFUSED, length
        with pytest.raises(Tampered):
            Reader(KEY, PLACE, MemorySource(SEALED[:length]), params=SMALL)


def test_whatever_is_appended_is_refused_at_the_header() -> None:
    for extra in (*(bytes(length) for length in range(1, 100)), SEALED, SEALED[HEADER_BYTES:]):
        with pytest.raises(Tampered):
            Reader(KEY, PLACE, MemorySource(SEALED + extra), params=SMALL)


def test_segments_in_another_order_are_refused() -> None:
    parts = [SEALED[start : start + 48] for start in range(HEADER_BYTES, len(SEALED), 48)]
    swapped = [[1, 0, 2], [0, 0, 2], [1, 1, 2], [0, 1, 1], [2, 1, 0], [0, 2, 1]]
    for order in swapped:
        changed = SEALED[:HEADER_BYTES] + b"".join(parts[part] for part in order)
        assert outcomes(changed) == REFUSED, order


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, version="8"),
        replace(PLACE, tenant="other"),
        replace(PLACE, name="fraud/scorer2"),
        replace(PLACE, file="model2.safetensors"),
        replace(PLACE, purpose=Purpose.MANIFEST),
        replace(PLACE, name="fraud", file="scorer"),
        PLACE,  # the same file sealed again
    ],
)
def test_segments_spliced_from_another_file_are_refused(other: Context) -> None:
    foreign = seal_bytes(KEY, other, PLAIN, params=SMALL)
    for start in range(HEADER_BYTES, len(SEALED), 48):
        spliced = SEALED[:start] + foreign[start : start + 48] + SEALED[start + 48 :]
        assert outcomes(spliced) == REFUSED
    assert outcomes(foreign[:HEADER_BYTES] + SEALED[HEADER_BYTES:]) == REFUSED
    if other != PLACE:
        assert outcomes(foreign) == REFUSED


@pytest.mark.parametrize("bit", range(0, 256, 5))
def test_another_key_is_refused(bit: int) -> None:
    key = bytearray(KEY)
    key[bit // 8] ^= 1 << bit % 8

    assert outcomes(SEALED, bytes(key)) == REFUSED


@pytest.mark.parametrize(
    "place",
    [
        replace(PLACE, version="8"),
        replace(PLACE, tenant="other"),
        replace(PLACE, name="fraud"),
        replace(PLACE, file="model.bin"),
        replace(PLACE, file=""),
        replace(PLACE, purpose=Purpose.CHUNK_INDEX),
    ],
)
def test_another_place_is_refused(place: Context) -> None:
    assert outcomes(SEALED, place=place) == REFUSED


def test_a_refusal_names_file_and_version() -> None:
    changed = bytearray(SEALED)
    changed[HEADER_BYTES + 60] ^= 1

    with pytest.raises(Tampered, match=r"model\.safetensors of vault://acme/fraud/scorer@7: segment 1 of 3"):
        Reader(KEY, PLACE, MemorySource(changed), params=SMALL).read_at(0, bytearray(40))


def test_a_segment_that_is_read_alone_does_not_vouch_for_others() -> None:
    changed = bytearray(SEALED)
    changed[-1] ^= 1
    reader = Reader(KEY, PLACE, MemorySource(changed), params=SMALL)
    buffer = bytearray(16)

    assert reader.read_at(0, buffer) == 16
    assert buffer == PLAIN[:16]
    buffer = bytearray(b"\xff" * 20)
    with pytest.raises(Tampered):
        reader.read_at(20, buffer)
    assert not any(buffer)


@settings(max_examples=60)
@given(st.binary(max_size=120), st.lists(st.tuples(st.integers(0, 130), st.integers(0, 60)), max_size=5))
def test_reads_anywhere_give_what_was_there(plain: bytes, reads: list[tuple[int, int]]) -> None:
    sealed = seal_bytes(KEY, PLACE, plain, params=SMALL)
    reader = Reader(KEY, PLACE, MemorySource(sealed), params=SMALL)

    async def ranged() -> list[tuple[int, bytes]]:
        remote = await AsyncReader.open(KEY, PLACE, ranges_of(sealed), len(sealed), params=SMALL)
        found = []
        for offset, length in reads:
            buffer = bytearray(length)
            found.append((await remote.read_at(offset, buffer), bytes(buffer)))
        return found

    expected = []
    for offset, length in reads:
        there = plain[offset : offset + length]
        expected.append((len(there), there + bytes(length - len(there))))
    local = []
    for offset, length in reads:
        buffer = bytearray(length)
        local.append((reader.read_at(offset, buffer, threads=2), bytes(buffer)))
    assert local == expected
    assert asyncio.run(ranged()) == expected
    assert reader.size_bytes == len(plain)


def test_several_coroutines_may_read_at_once() -> None:
    async def read() -> list[bytes]:
        reader = await AsyncReader.open(KEY, PLACE, ranges_of(SEALED), len(SEALED), params=SMALL)
        buffers = [bytearray(3) for _ in range(38)]
        await asyncio.gather(*(reader.read_at(offset, buffer) for offset, buffer in enumerate(buffers)))
        reader.close()
        return [bytes(buffer) for buffer in buffers]

    assert asyncio.run(read()) == [PLAIN[offset : offset + 3] for offset in range(38)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_pieces_come_in_order_and_cannot_be_written_to(threads: int) -> None:
    reader = Reader(KEY, PLACE, MemorySource(SEALED), params=SMALL)

    pieces = []
    for piece in reader.pieces(threads=threads):
        assert piece.readonly
        pieces.append(bytes(piece))

    assert pieces == [PLAIN[:16], PLAIN[16:32], PLAIN[32:]]


def test_leaving_a_stream_early_wipes_its_buffer() -> None:
    for threads in (1, 2):
        pieces = Reader(KEY, PLACE, MemorySource(SEALED), params=SMALL).pieces(threads=threads)
        piece = next(pieces)
        assert any(piece)
        pieces.close()  # type: ignore[attr-defined] # it is a generator
        assert not any(piece)


def test_a_store_that_gives_more_or_less_than_asked_is_refused() -> None:
    for change in (-1, 1):

        async def fetch(offset: int, length: int, change: int = change) -> bytes:
            return bytes(length + change)

        with pytest.raises(Tampered, match="the store gave"):
            asyncio.run(AsyncReader.open(KEY, PLACE, fetch, len(SEALED), params=SMALL))


def test_a_store_that_fails_leaves_the_buffer_wiped() -> None:
    async def fetch(offset: int, length: int) -> bytes:
        await asyncio.sleep(0)
        if offset > HEADER_BYTES:
            raise VaultError("the store is down")
        return SEALED[offset : offset + length]

    buffer = bytearray(b"\xff" * 40)

    async def read() -> None:
        reader = await AsyncReader.open(KEY, PLACE, fetch, len(SEALED), params=SMALL)
        await reader.read_at(0, buffer)

    with pytest.raises(VaultError, match="down"):
        asyncio.run(read())
    assert not any(buffer)


def test_a_read_that_is_cancelled_leaves_the_buffer_wiped() -> None:
    buffer = bytearray(b"\xff" * 40)

    async def read() -> None:
        stuck = asyncio.Event()

        async def fetch(offset: int, length: int) -> bytes:
            if offset > HEADER_BYTES:
                stuck.set()
                await asyncio.Event().wait()
            return SEALED[offset : offset + length]

        reader = await AsyncReader.open(KEY, PLACE, fetch, len(SEALED), params=SMALL)
        reading = asyncio.ensure_future(reader.read_at(0, buffer))
        await stuck.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    asyncio.run(read())
    assert not any(buffer)


def test_small_things_open_in_memory_and_large_ones_are_refused() -> None:
    sealed = seal_bytes(KEY, PLACE, b"manifest")

    assert open_bytes(KEY, PLACE, sealed) == b"manifest"
    with pytest.raises(Tampered, match="larger than 10 bytes"):
        open_bytes(KEY, PLACE, sealed, max_bytes=10)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    plain = bytes(range(256)) * 20000  # two segments of the vault's own size
    (tmp_path / "plain").write_bytes(plain)
    sealed = tmp_path / "sealed"
    seal_file(KEY, PLACE, tmp_path / "plain", sealed, durable=False)
    seen: list[int] = []
    with FileSource(sealed) as source:
        written = open_file(Reader(KEY, PLACE, source), tmp_path / "out", progress=seen.append)
    assert written == sum(seen) == len(plain)
    assert (tmp_path / "out").read_bytes() == plain
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600

    with FileSource(sealed) as source, pytest.raises(Conflict):
        open_file(Reader(KEY, PLACE, source), tmp_path / "out")

    changed = bytearray(sealed.read_bytes())
    changed[-1] ^= 1
    sealed.write_bytes(changed)
    with FileSource(sealed) as source, pytest.raises(Tampered):
        open_file(Reader(KEY, PLACE, source), tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()


def test_a_negative_offset_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="negative"):
        Reader(KEY, PLACE, MemorySource(SEALED), params=SMALL).read_at(-1, bytearray(1))


def test_closing_wipes_what_was_kept() -> None:
    reader = Reader(KEY, PLACE, MemorySource(SEALED), params=SMALL)
    reader.read_at(3, bytearray(1))
    reader.close()
    buffer = bytearray(1)

    reader.read_at(3, buffer)

    assert buffer == PLAIN[3:4]


def test_the_sealed_file_is_as_long_as_the_specification_says() -> None:
    assert len(SEALED) == HEADER_BYTES + 3 * SEGMENT_OVERHEAD + len(PLAIN)
