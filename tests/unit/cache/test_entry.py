"""Entries: what is packed is read, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cache.made import blob

from fairlead.cache.entry import Entry, Facts, checked, pack

KEY = b"k" * 32
texts = st.text(max_size=20)
facts = st.builds(
    Facts,
    scope=texts,
    tenant=texts,
    model=texts,
    target=texts,
    input_tokens=st.integers(0, 2**40),
    output_tokens=st.integers(0, 2**40),
    cost_microusd=st.none() | st.integers(0, 2**50),
    gpu_s=st.floats(0, 1e6),
)


@given(payload=st.binary(max_size=300), known=facts, form=st.integers(0, 255), ttl_s=st.floats(0, 1e9))
def test_what_is_packed_is_read(payload: bytes, known: Facts, form: int, ttl_s: float) -> None:
    packed = pack(KEY, payload, known, created_at=5.0, ttl_s=ttl_s, kept_s=0.0, form=form)

    entry = checked(KEY, packed)

    assert entry is not None
    assert (entry.payload, entry.facts, entry.form) == (payload, known, form)
    assert (entry.created_at, entry.expires_at, entry.kept_until) == (5.0, 5.0 + ttl_s, 5.0 + ttl_s)
    assert Entry(packed).payload == payload


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_a_damaged_entry_is_none(place: int, bit: int) -> None:
    damaged = bytearray(blob(KEY))
    damaged[place % len(damaged)] ^= 1 << bit

    assert checked(KEY, bytes(damaged)) is None


@given(length=st.integers(0, 200))
def test_a_cut_or_grown_entry_is_none(length: int) -> None:
    whole = blob(KEY)

    assert checked(KEY, whole[:length]) is None or length >= len(whole)
    assert checked(KEY, whole + b"\0" * (length + 1)) is None


@given(junk=st.binary(max_size=200))
def test_junk_is_none(junk: bytes) -> None:
    assert checked(KEY, junk) is None


def test_another_keys_entry_is_none() -> None:
    assert checked(b"j" * 32, blob(KEY)) is None


def test_facts_that_are_too_long_are_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        pack(KEY, b"", Facts(scope="x" * 70_000, tenant="", model=""), created_at=0, ttl_s=1, kept_s=1)
