from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.vault.strict_json import MAX_INTEGER, base64_bytes, canonical, parse

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def read(raw: bytes) -> object:
    return parse(raw, max_bytes=1 << 16, what="it")


@given(VALUES)
def test_what_is_written_is_read_back_and_written_the_same(value: object) -> None:
    raw = canonical(value)

    assert read(raw) == value
    assert canonical(read(raw)) == raw


@given(VALUES)
def test_other_spellings_have_the_same_canonical_one(value: object) -> None:
    assert canonical(read(json.dumps(value, indent=1).encode())) == canonical(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        value = read(raw)
    except InvalidRequest:
        return
    assert read(canonical(value)) == value


def test_the_canonical_form() -> None:
    assert (
        canonical({"b": [1, True, None], "a": {"é": '"'}}) == '{"a":{"é":"\\""},"b":[1,true,null]}'.encode()
    )


@pytest.mark.parametrize("value", [1.0, [float("nan")], {"a": 1 << 53}, "\ud800", {"a": b""}, {1, 2}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        canonical(value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"\\u0061":2}}',
        b"1.0",
        b"1e3",
        b"[NaN]",
        b"[-Infinity]",
        b"9007199254740992",
        b"1" * 5000,
        b'"\\ud800"',
        b'{"\\udfff":1}',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"",
        b"{} {}",
        b"[" * 60_000,
        b'"' + b"a" * (1 << 16) + b'"',
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read(raw)


def test_whole_floats_are_integers_where_writers_know_nothing_else() -> None:
    assert parse(b"[1000.0, -0.0, 2]", max_bytes=99, what="it", whole_floats=True) == [1000, 0, 2]
    for raw in (b"1.5", b"1.00", b"1e3", b"1.0e3", b"9007199254740992.0", b"1" * 5000 + b".0", b"NaN"):
        with pytest.raises(InvalidRequest):
            parse(raw, max_bytes=9999, what="it", whole_floats=True)


@given(st.binary(max_size=40))
def test_base64_has_one_spelling(raw: bytes) -> None:
    import base64

    text = base64.b64encode(raw).decode()

    assert base64_bytes(text, "it") == raw
    others = {text + "\n", " " + text, text.rstrip("="), text + "=", base64.urlsafe_b64encode(raw).decode()}
    for other in others - {text}:
        with pytest.raises(InvalidRequest):
            base64_bytes(other, "it")


@pytest.mark.parametrize("text", ["QQ==A", "QR==", "QUJ=", "Q", "QQ", "QQ=", "é", "Q Q="])
def test_unused_bits_and_broken_padding_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        base64_bytes(text, "it")
