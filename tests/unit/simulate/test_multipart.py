"""Multipart forms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest
from fairlead.simulate.multipart import parse

TYPE = b'multipart/form-data; boundary="b1"'


def form(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--b1\r\nContent-Disposition: form-data; name="{name}"{named}\r\nContent-Type: audio/wav\r\n\r\n'
    return head.encode() + data + b"\r\n"


@given(st.binary(max_size=200).filter(lambda data: b"\r\n--b1" not in data))
def test_the_bytes_of_a_part_come_out_as_they_went_in(data: bytes) -> None:
    parts = parse(TYPE, form("model", b"m") + form("file", data, "a b.wav") + b"--b1--\r\n")
    assert parts["model"].text == "m"
    assert parts["file"].data == data
    assert (parts["file"].filename, parts["file"].content_type) == ("a b.wav", "audio/wav")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"application/json", form("a", b"1") + b"--b1--"),
        (b"multipart/form-data", form("a", b"1") + b"--b1--"),
        (TYPE, form("a", b"1")),
        (TYPE, b""),
        (TYPE, b"--b1--"),
        (TYPE, b"--b1\r\nContent-Type: x\r\n\r\nhello\r\n--b1--"),
        (TYPE, b"--b1\r\nno header section\r\n--b1--"),
    ],
)
def test_what_is_no_whole_form_is_refused(content_type: bytes, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(content_type, body)


@given(st.binary(max_size=80), st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(content_type: bytes, body: bytes) -> None:
    for kind in (content_type, TYPE):
        try:
            parts = parse(kind, body)
        except InvalidRequest:
            continue
        assert all(isinstance(name, str) for name in parts)
