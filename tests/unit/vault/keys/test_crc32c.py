from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.vault.keys.crc32c import crc32c


def test_the_vectors_of_rfc_3720() -> None:
    assert crc32c(b"\0" * 32) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(reversed(range(32)))) == 0x113FDB5C
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@given(st.binary(min_size=1, max_size=64), st.integers(0, 511))
def test_a_bit_that_flips_changes_it(data: bytes, bit: int) -> None:
    at = bit // 8 % len(data)
    changed = data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :]

    assert crc32c(changed) != crc32c(data)
