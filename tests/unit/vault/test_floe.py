from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import Tampered, VaultError
from fairlead.vault.floe import HEADER_BYTES, SEGMENT_OVERHEAD, VAULT, Layout, Opener, Params, Sealer

PUBLISHED = Path(__file__).parents[4] / "shared" / "data" / "floe"
NAMES = [
    *(f"{made}_{kind}" for made in ("cpp", "go", "java") for kind in ("GCM256_IV256_4K", "GCM256_IV256_64")),
    *(f"{made}_rotation" for made in ("cpp", "go", "java")),
    "java_lastSegAligned",
    "java_lastSegEmpty",
]
SMALL = Params(segment_bytes=48)
KEY = bytes(range(32))


def seal(plaintext: bytes, aad: bytes = b"here", params: Params = SMALL, key: bytes = KEY) -> bytes:
    sealer = Sealer(key, aad, len(plaintext), params=params)
    sealed = bytearray(sealer.header)
    for position in range(sealer.layout.segments):
        out = memoryview(bytearray(params.segment_bytes))
        start = position * params.plain_bytes
        length = sealer.seal(position, plaintext[start : start + sealer.layout.plain_bytes(position)], out)
        sealed += out[:length]
    return bytes(sealed)


def open_(sealed: bytes, aad: bytes = b"here", params: Params = SMALL, key: bytes = KEY) -> bytes:
    layout = Layout.of_sealed(len(sealed), params)
    opener = Opener(key, aad, sealed[:HEADER_BYTES], layout)
    plain = bytearray()
    for position in range(layout.segments):
        out = memoryview(bytearray(layout.plain_bytes(position)))
        start = layout.offset(position)
        opener.open(position, sealed[start : start + len(out) + SEGMENT_OVERHEAD], out)
        plain += out
    return bytes(plain)


@pytest.mark.parametrize("name", NAMES)
def test_published_vectors_open(name: str) -> None:
    """Made by the C++, Go and Java implementations."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published FLOE vectors are not beside this repository (../shared/data/floe)")
    sealed, plain = (bytes.fromhex((PUBLISHED / f"{name}_{part}.txt").read_text()) for part in ("ct", "pt"))
    segment = 4096 if "4K" in name else 64 if "_64" in name else 40
    params = Params(segment_bytes=segment, rotation_bits=2 if "rotation" in name else 20)

    assert open_(sealed, b"This is AAD", params, bytes(32)) == plain


def test_all_published_vectors_are_named_here() -> None:
    if not PUBLISHED.is_dir():
        pytest.skip("the published FLOE vectors are not beside this repository (../shared/data/floe)")

    assert {path.name.removesuffix("_ct.txt") for path in PUBLISHED.glob("*_ct.txt")} == set(NAMES)


@given(st.binary(max_size=100), st.integers(33, 70), st.integers(0, 3))
def test_what_was_sealed_opens(plaintext: bytes, segment: int, rotation: int) -> None:
    params = Params(segment_bytes=segment, rotation_bits=rotation)
    sealed = seal(plaintext, params=params)

    assert open_(sealed, params=params) == plaintext
    assert Layout.of_plain(len(plaintext), params) == Layout.of_sealed(len(sealed), params)


@given(st.integers(0, 1 << 50))
def test_sizes_tell_each_other(size: int) -> None:
    layout = Layout.of_plain(size)

    assert layout.plain_size == size
    assert Layout.of_sealed(layout.sealed_size) == layout


@given(st.integers(-5, 400))
def test_a_sealed_size_is_refused_or_means_one_plaintext_size(sealed_bytes: int) -> None:
    try:
        layout = Layout.of_sealed(sealed_bytes, SMALL)
    except Tampered:
        return
    assert layout.sealed_size == sealed_bytes


def test_two_sealings_of_the_same_share_no_bytes_but_the_parameters() -> None:
    one, other = seal(b"a" * 40), seal(b"a" * 40)

    assert one[:10] == other[:10]
    assert one[10:42] != other[10:42]
    assert one[HEADER_BYTES + 4 : HEADER_BYTES + 16] != other[HEADER_BYTES + 4 : HEADER_BYTES + 16]


def test_an_output_is_wiped_when_the_check_fails() -> None:
    sealed = bytearray(seal(b"secret plaintext"))
    sealed[-1] ^= 1
    layout = Layout.of_sealed(len(sealed), SMALL)
    out = bytearray(b"\xff" * 16)

    with pytest.raises(Tampered, match="segment 0 of 1"):
        Opener(KEY, b"here", sealed[:HEADER_BYTES], layout).open(0, sealed[HEADER_BYTES:], memoryview(out))

    assert out == bytes(16)


def test_other_parameters_are_refused() -> None:
    sealed = seal(b"x" * 10)

    with pytest.raises(Tampered, match="not that of a sealed file"):
        Opener(KEY, b"here", sealed[:HEADER_BYTES], Layout.of_sealed(len(sealed), VAULT))


@pytest.mark.parametrize("key", [b"", bytes(16), bytes(33)])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    with pytest.raises(VaultError, match="32 bytes"):
        Sealer(key, b"", 1)


def test_positions_and_lengths_are_checked() -> None:
    sealer = Sealer(KEY, b"", 17, params=SMALL)
    out = memoryview(bytearray(100))

    with pytest.raises(ValueError, match="another length"):
        sealer.seal(0, b"short", out)
    with pytest.raises(ValueError, match="another length"):
        sealer.seal(1, b"xx", out)
    for position in (-1, 2):
        with pytest.raises(ValueError, match="no such segment"):
            sealer.seal(position, b"x", out)
    layout = sealer.layout
    opener = Opener(KEY, b"", sealer.header, layout)
    with pytest.raises(ValueError, match="another length"):
        opener.open(0, bytes(48), memoryview(bytearray(5)))


@pytest.mark.parametrize("segment_bytes", [0, 32, 1 << 31])
def test_impossible_parameters_are_refused(segment_bytes: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Params(segment_bytes=segment_bytes)


def test_sizes_outside_the_format_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        Layout.of_plain(-1)
    with pytest.raises(VaultError, match="longer"):
        Layout.of_plain(1 << 63)
