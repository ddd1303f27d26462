from __future__ import annotations

import msgspec
import pytest

from fairlead.providers.raw import NOTHING, object_of, or_nothing, present, text_of


def test_absent_and_null_are_not_present() -> None:
    assert present(NOTHING) is None
    assert present(msgspec.Raw(b"null")) is None
    raw = msgspec.Raw(b"0")
    assert present(raw) is raw
    assert or_nothing(None) is NOTHING
    assert or_nothing(raw) is raw


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", b"{}"),
        (" \n", b"{}"),
        ('{ "a":1.0 }', b'{ "a":1.0 }'),
        ("{", None),
        ("[1]", None),
        ("\ud800", None),
    ],
)
def test_objects(text: str, found: bytes | None) -> None:
    raw = object_of(text)

    assert (None if raw is None else bytes(raw)) == found


def test_deep_nesting_is_not_an_object() -> None:
    assert object_of('{"a":' * 100_000) is None


def test_text() -> None:
    assert text_of(NOTHING) == "{}"
    assert text_of(msgspec.Raw(b'{"a": 1}')) == '{"a": 1}'
