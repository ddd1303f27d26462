from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.vault.safetensors_cases import entry, file_of

from fairlead.errors import Tampered
from fairlead.vault.chunks import (
    JOIN_BELOW_BYTES,
    MAX_CHUNK_BYTES,
    OVERHEAD,
    Extent,
    borders,
    chunk_id,
    cut,
    new_chunk,
    open_chunk,
    seal_chunk,
)
from fairlead.vault.tensor_header import header_length, parse_header

TENANT_KEY = bytes(range(32))
PLAIN = b"forty bytes of some tensor of some model"
CHUNK = new_chunk(chunk_id(TENANT_KEY, PLAIN), len(PLAIN))
MIB = 1 << 20


@given(st.integers(0, 20 * MIB), st.lists(st.integers(-5, 21 * MIB), max_size=30).map(sorted))
def test_chunks_cover_the_file_once_and_are_never_too_long(size: int, marks: list[int]) -> None:
    chunks = list(cut(size, marks))

    assert [extent.begin for extent in chunks] == [0, *(extent.end for extent in chunks)][: len(chunks)]
    assert sum(end - begin for begin, end in chunks) == size
    assert all(0 < end - begin <= MAX_CHUNK_BYTES for begin, end in chunks)


def test_a_large_tensor_begins_a_chunk_of_its_own() -> None:
    assert list(cut(9 * MIB, [1000, MIB, 9 * MIB])) == [
        Extent(0, 1000),
        Extent(1000, MIB),
        Extent(MIB, 5 * MIB),
        Extent(5 * MIB, 9 * MIB),
    ]


def test_small_neighbours_are_joined_but_not_with_the_header() -> None:
    marks = [100, 200, 300, 300 + JOIN_BELOW_BYTES, 400 + JOIN_BELOW_BYTES]

    assert list(cut(marks[-1], marks)) == [
        Extent(0, 100),
        Extent(100, 300),
        Extent(300, 300 + JOIN_BELOW_BYTES),
        Extent(300 + JOIN_BELOW_BYTES, 400 + JOIN_BELOW_BYTES),
    ]


def test_a_file_without_borders_is_cut_every_four_mebibytes() -> None:
    assert list(cut(9 * MIB)) == [Extent(0, 4 * MIB), Extent(4 * MIB, 8 * MIB), Extent(8 * MIB, 9 * MIB)]
    assert list(cut(0)) == []
    assert list(cut(1)) == [Extent(0, 1)]


def test_borders_of_a_safetensors_file_are_its_header_and_its_tensors() -> None:
    data = file_of({"b": entry("U8", [2], 1, 3), "a": entry("U8", [1], 0, 1)}, b"xyz")
    length = header_length(data[:8], len(data))
    header = parse_header(data[8 : 8 + length], len(data))

    assert borders(header) == [len(data) - 3, len(data) - 2, len(data)]


def test_ids_depend_on_the_tenants_key_and_on_the_plaintext() -> None:
    assert chunk_id(TENANT_KEY, PLAIN) == chunk_id(TENANT_KEY, bytearray(PLAIN))
    assert len({chunk_id(TENANT_KEY, PLAIN), chunk_id(bytes(32), PLAIN), chunk_id(TENANT_KEY, b"")}) == 3


def test_equal_plaintexts_of_two_writers_have_unrelated_objects() -> None:
    other = new_chunk(CHUNK.id, CHUNK.length)

    assert other.name != CHUNK.name
    assert CHUNK.id.hex() not in CHUNK.name
    assert seal_chunk(CHUNK, "acme", PLAIN) != seal_chunk(CHUNK, "acme", PLAIN)


def test_a_chunk_opens_to_what_was_sealed() -> None:
    out = bytearray(len(PLAIN))

    open_chunk(CHUNK, "acme", seal_chunk(CHUNK, "acme", PLAIN), memoryview(out))

    assert out == PLAIN


def refused(chunk: object, tenant: str, sealed: bytes) -> None:
    out = bytearray(b"\xff" * len(PLAIN))
    with pytest.raises(Tampered):
        open_chunk(chunk, tenant, sealed, memoryview(out))  # type: ignore[arg-type] # a Chunk
    assert not any(out)


def test_every_flipped_bit_and_every_other_length_is_refused() -> None:
    sealed = seal_chunk(CHUNK, "acme", PLAIN)
    for at in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[at // 8] ^= 1 << at % 8
        refused(CHUNK, "acme", bytes(changed))
    for length in range(len(sealed)):
        refused(CHUNK, "acme", sealed[:length])
    refused(CHUNK, "acme", sealed + b"\0")
    assert len(sealed) == len(PLAIN) + OVERHEAD


def test_another_tenant_key_id_or_length_is_refused() -> None:
    sealed = seal_chunk(CHUNK, "acme", PLAIN)

    refused(CHUNK, "other", sealed)
    refused(replace(CHUNK, key=bytes(32)), "acme", sealed)
    refused(replace(CHUNK, id=bytes(32)), "acme", sealed)
    refused(replace(CHUNK, length=CHUNK.length - 1), "acme", sealed)
    refused(CHUNK, "acme", seal_chunk(new_chunk(CHUNK.id, CHUNK.length), "acme", PLAIN))


def test_a_chunks_representation_has_no_key() -> None:
    assert CHUNK.key.hex() not in repr(CHUNK)
    assert repr(CHUNK.key) not in repr(CHUNK)


def test_a_plaintext_of_another_length_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="another length"):
        seal_chunk(CHUNK, "acme", PLAIN[1:])
