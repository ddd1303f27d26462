from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.vault.safetensors_cases import BAD, GOOD, file_of

from fairlead.errors import InvalidRequest
from fairlead.vault.tensor_header import DTYPE_BITS, TensorHeader, header_length, parse_header

ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F32", "F4", "X"]) | st.integers(0, 2),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "data_offsets": st.lists(st.integers(-1, 12), min_size=1, max_size=3),
    }
)


def parse(data: bytes) -> TensorHeader:
    length = header_length(data[:8], len(data))
    return parse_header(data[8 : 8 + length], len(data))


@pytest.mark.parametrize("name", GOOD)
def test_good_headers_are_read(name: str) -> None:
    data = GOOD[name]

    header = parse(data)

    names = set(json.loads(data[8 : header.data_start])) - {"__metadata__"}
    assert set(header.tensors) == names
    assert sum(tensor.end - tensor.begin for tensor in header.tensors.values()) == len(
        data[header.data_start :]
    )


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="not a valid safetensors file"):
        parse(BAD[name])


@given(st.dictionaries(st.text(max_size=3), ENTRIES, max_size=4), st.binary(max_size=12))
def test_what_is_accepted_covers_the_data_exactly_once(fields: dict[str, Any], data: bytes) -> None:
    try:
        header = parse(file_of(fields, data))
    except InvalidRequest:
        return
    covered = [at for tensor in header.tensors.values() for at in range(tensor.begin, tensor.end)]
    assert covered == list(range(header.data_start, header.data_start + len(data)))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, file_of(data), file_of(b"{" + data)):
        with contextlib.suppress(InvalidRequest):
            assert parse(candidate).data_start <= len(candidate)


def test_a_refusal_shows_no_control_characters() -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(file_of({"\x1b\n" + "x" * 1000: 1}))

    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_of_the_reference_implementation_is_known(dtype: str) -> None:
    reference = pytest.importorskip("safetensors", reason="the reference implementation is not installed")
    size = DTYPE_BITS[dtype]
    data = file_of({"a": {"dtype": dtype, "shape": [8], "data_offsets": [0, size]}}, bytes(size))

    assert parse(data).tensors["a"].dtype == dtype
    assert reference.deserialize(data)[0][1]["dtype"] == dtype


@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_what_the_reference_implementation_refuses_is_refused(name: str) -> None:
    reference = pytest.importorskip("safetensors", reason="the reference implementation is not installed")
    data = (GOOD | BAD)[name]
    try:
        theirs = reference.deserialize(data)
    except reference.SafetensorError:
        with pytest.raises(InvalidRequest):
            parse(data)
        return
    if name in GOOD:
        header = parse(data)
        assert {
            each: (info["dtype"], tuple(info["shape"]), bytes(info["data"])) for each, info in theirs
        } == {
            each: (info.dtype, info.shape, data[info.begin : info.end])
            for each, info in header.tensors.items()
        }
