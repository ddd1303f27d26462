"""Replacing a few fields of a body, and reading what routing needs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.providers.rewrite import object_fields, read_head, replace_fields

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def test_every_other_value_keeps_its_bytes() -> None:
    body = b'{"model": "a", "temperature": 1.0e0, "x":{"y" : [1.50,"\\u00e9 \xc3\xa9"]}, "n":1}'
    assert replace_fields(body, {"model": b'"b"'}) == (
        b'{"model":"b","temperature":1.0e0,"x":{"y" : [1.50,"\\u00e9 \xc3\xa9"]},"n":1}'
    )


def test_fields_are_added_and_removed() -> None:
    assert replace_fields(b'{"a":1,"b":2}', {"a": None, "c": b"[3]"}) == b'{"b":2,"c":[3]}'


def test_removing_an_absent_field_changes_nothing() -> None:
    body = b'{"a":1}'
    assert replace_fields(body, {"zz": None}) is body


def test_a_compact_body_that_needs_no_change_is_returned_as_it_is() -> None:
    body = b'{"model":"a","messages":[ {"role": "user"} ]}'
    assert replace_fields(body, {"model": b'"a"'}) is body


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"cheap","model":"dear"}',
        b'{"model":"cheap","mod\\u0065l":"dear"}',
        b'{"mod\\u0065l":"cheap","model":"dear"}',
    ],
)
def test_of_a_repeated_key_only_the_last_is_read_and_sent(body: bytes) -> None:
    assert read_head(body).model == "dear"
    assert replace_fields(body, {}) == b'{"model":"dear"}'


@given(st.dictionaries(st.text(), JSON, max_size=6), st.text(max_size=5), JSON)
def test_replacing_is_what_a_dictionary_does(body: dict[str, object], name: str, value: object) -> None:
    raw = json.dumps(body).encode("utf-8", "surrogatepass")
    replaced = replace_fields(raw, {name: json.dumps(value).encode()})
    assert json.loads(replaced) == body | {name: value}


def test_the_head_is_read_and_everything_else_ignored() -> None:
    head = read_head(
        b'{"messages":5,"model":"m","stream":true,"stream_options":{"include_usage":true,"x":1},'
        b'"max_completion_tokens":7,"user":"u","n":2}'
    )
    assert (head.model, head.stream, head.include_usage, head.output_limit, head.user, head.n) == (
        "m", True, True, 7, "u", 2,
    )  # fmt: skip


def test_a_head_without_anything_is_a_head() -> None:
    head = read_head(b"{}")
    assert (head.model, head.include_usage, head.output_limit) == (None, False, None)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model":5}', "model"),
        (b'{"model":"m","stream":"yes"}', "stream"),
        (b'{"model":"m","stream_options":{"include_usage":1}}', "stream_options.include_usage"),
        (b'{"model":"m","max_tokens":"ten"}', "max_tokens"),
    ],
)
def test_a_wrong_type_is_named(body: bytes, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_head(body)
    assert caught.value.param == param
    assert caught.value.message.startswith(param)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"[]", "expected `object`"),
        (b'{"a":"\xff"}', "not UTF-8 (byte 6)"),
        (b'{"a":1', "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":1}{"a":2}', "not valid JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (b'{"a":' + b'{"b":' * 200_000 + b"1" + b"}" * 200_001, "nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused_in_words(body: bytes, says: str) -> None:
    for read in (read_head, object_fields, lambda data: replace_fields(data, {})):
        with pytest.raises(InvalidRequest) as caught:
            read(body)
        assert says.lower() in caught.value.message.lower()


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    try:
        fields = object_fields(body)
    except InvalidRequest:
        return
    assert json.loads(replace_fields(body, {})).keys() == fields.keys()
