"""Reading a client's body field by field."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.fields import Fields, decode_field


class _A(msgspec.Struct, tag="a", tag_field="type", forbid_unknown_fields=True):
    x: int = 0
    gone: None = None


class _B(msgspec.Struct, tag="b", tag_field="type", forbid_unknown_fields=True):
    y: int = 0


def test_fields_are_taken_typed_and_the_rest_is_left() -> None:
    fields = Fields(b'{"a":1,"b":null,"c":[2 ],"d":null}')
    assert fields.take("a", int) == 1
    assert fields.take("b", str) is None
    assert fields.take("missing", str) is None
    assert {name: bytes(value) for name, value in fields.rest().items()} == {"c": b"[2 ]"}


def test_a_required_field_must_be_there() -> None:
    with pytest.raises(InvalidRequest) as caught:
        Fields(b'{"model":null}').require("model", str)
    assert caught.value.param == "model"


def test_refusing_spares_what_is_absent_or_null() -> None:
    fields = Fields(b'{"a":null,"b":1}')
    fields.refuse("a", "no")
    fields.refuse("zz", "no")
    with pytest.raises(UnsupportedByTarget, match="b: no"):
        fields.refuse("b", "no")


@pytest.mark.parametrize(
    ("value", "param", "kind"),
    [
        (b'[{"type":"a","x":"1"}]', "f[0].x", InvalidRequest),
        (b'[{"type":"a","zz":1}]', "f[0].zz", UnsupportedByTarget),
        (b'[{"type":"c"}]', "f[0].type", UnsupportedByTarget),
        (b'[{"type":"a","gone":{"k":1}}]', "f[0].gone", UnsupportedByTarget),
        (b'{"type":"a"}', "f", InvalidRequest),
    ],
)
def test_the_culprit_is_named(value: bytes, param: str, kind: type[InvalidRequest]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode_field("f", value, list[_A | _B])
    assert type(caught.value) is kind
    assert caught.value.param == param


def test_a_long_value_is_not_repeated_whole() -> None:
    for value in (b'[{"type":"%b"}]', b'[{"type":"a","%b":1}]'):
        with pytest.raises(InvalidRequest) as caught:
            decode_field("f", value % (b"x" * 5000), list[_A | _B])
        assert len(caught.value.message) < 600
