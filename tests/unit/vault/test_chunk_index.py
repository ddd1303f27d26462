from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import Tampered
from fairlead.vault.chunk_index import (
    ChunkedFile,
    ChunkIndex,
    decode_index,
    decode_references,
    encode_index,
    encode_references,
)
from fairlead.vault.chunks import Chunk

BYTES32 = st.binary(min_size=32, max_size=32)
CHUNKS = st.builds(Chunk, length=st.integers(1, 4 << 20), id=BYTES32, key=BYTES32)
FILES = st.lists(CHUNKS, max_size=4).map(
    lambda chunks: ChunkedFile(size_bytes=sum(chunk.length for chunk in chunks), chunks=tuple(chunks))
)
INDEXES = st.dictionaries(
    st.sampled_from(["a", "B/c.bin", "z.safetensors", "\u00e9", "\U0001f600"]), FILES, max_size=4
).map(lambda files: ChunkIndex(files=files))
ONE = ChunkIndex(
    files={"a.bin": ChunkedFile(size_bytes=3, chunks=(Chunk(length=3, id=b"i" * 32, key=b"k" * 32),))}
)


@given(INDEXES)
def test_an_index_is_read_back(index: ChunkIndex) -> None:
    encoded = encode_index(index)

    assert decode_index(encoded) == index
    assert encode_index(decode_index(encoded)) == encoded


def test_the_encoding_is_that_of_the_specification() -> None:
    assert encode_index(ONE) == (
        b"fairlead.dev/vault/chunk-index/v1\n"
        b"\0\0\0\1" + b"\0\5a.bin" + b"\0\0\0\0\0\0\0\3" + b"\0\0\0\1" + b"\0\0\0\3" + b"i" * 32 + b"k" * 32
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_an_index_or_refused(data: bytes) -> None:
    for candidate in (data, encode_index(ONE)[:34] + data):
        with contextlib.suppress(Tampered):
            assert encode_index(decode_index(candidate)) == candidate


def test_each_cut_and_every_appended_byte_is_refused() -> None:
    encoded = encode_index(ONE)
    for length in range(len(encoded)):
        with pytest.raises(Tampered):
            decode_index(encoded[:length])
    with pytest.raises(Tampered):
        decode_index(encoded + b"\0")


def _changed(old: bytes, new: bytes) -> bytes:
    encoded = encode_index(ONE)
    assert old in encoded
    return encoded.replace(old, new, 1)


@pytest.mark.parametrize(
    "data",
    [
        _changed(b"\0\5a.bin", b"\0\5../ab"),
        _changed(b"\0\5a.bin", b"\0\5a\xff\xff\xff\xff"),
        _changed(b"\0\5a.bin", b"\0\0"),
        _changed(b"\0\0\0\0\0\0\0\3", b"\0\0\0\0\0\0\0\4"),
        _changed(b"\0\0\0\3iiii", b"\0\0\0\0iiii"),
        _changed(b"\0\0\0\3iiii", b"\0\xff\xff\xffiiii"),
        _changed(b"v1\n\0\0\0\1", b"v1\n\xff\xff\xff\xff"),
        _changed(b"v1\n", b"v2\n"),
    ],
)
def test_what_could_mean_two_things_or_too_much_is_refused(data: bytes) -> None:
    with pytest.raises(Tampered):
        decode_index(data)


def test_files_out_of_order_or_twice_are_refused() -> None:
    entry = encode_index(ONE)[38:]
    head = encode_index(ONE)[:34] + b"\0\0\0\2"
    assert decode_index(head + entry + entry.replace(b"a.bin", b"b.bin")).files.keys() == {"a.bin", "b.bin"}

    for entries in (entry + entry, entry.replace(b"a.bin", b"b.bin") + entry):
        with pytest.raises(Tampered, match="order"):
            decode_index(head + entries)


def test_names_are_those_of_all_chunks() -> None:
    chunk = ONE.files["a.bin"].chunks[0]

    assert ONE.names() == {chunk.name}
    assert ONE.by_id() == {chunk.id: chunk}


@given(st.sets(st.integers(0, 255)))
def test_references_are_read_back(numbers: set[int]) -> None:
    names = {f"{number:064x}" for number in numbers}

    assert decode_references(encode_references(names)) == names


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode_references([])[:-1],
        encode_references(["0" * 64])[:-1],
        encode_references(["0" * 64]) + b"\n",
        encode_references(["0" * 64]) + b"0" * 64 + b"\n",
        encode_references(["1" * 64, "2" * 64]).replace(b"1" * 64, b"3" * 64),
        encode_references(["0" * 64]).replace(b"0" * 64, b"0" * 63),
        encode_references(["a" * 64]).upper(),
        b"\xff",
        b"fairlead.dev/vault/chunk-references/v2\n",
    ],
)
def test_a_damaged_list_of_references_is_refused(data: bytes) -> None:
    with pytest.raises(Tampered):
        decode_references(data)
