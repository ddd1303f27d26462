"""The header of a safetensors file, from bytes that nobody vouches for.

    8 bytes, little-endian: length of the JSON that follows
    JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}, and perhaps
          "__metadata__": string -> string
    data: the tensors, without gap or overlap, until the end of the file

At least as strict as the reference implementation: a header it refuses is
refused here. Pure; sizes are checked before anything is made of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgspec

from fairlead.errors import InvalidRequest

MAX_HEADER_BYTES: Final = 100_000_000
MAX_DIMENSIONS: Final = 64
_MAX_INTEGER: Final = 1 << 53
_LENGTH_BYTES: Final = 8

DTYPE_BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip


class TensorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a header says of one tensor. Offsets count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A checked header. Tensors stand in the order of their bytes."""

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data_start: int


def header_length(first: bytes, file_bytes: int) -> int:
    """How many bytes of JSON follow the first eight.

    Raises:
        InvalidRequest: more than the file holds or than `MAX_HEADER_BYTES`.
    """
    if len(first) != _LENGTH_BYTES:
        _refuse("the file is shorter than its header's length field")
    length = int.from_bytes(first, "little")
    if length > MAX_HEADER_BYTES or length > file_bytes - _LENGTH_BYTES:
        _refuse(f"the header claims {length} bytes")
    return length


def parse_header(text: bytes, file_bytes: int) -> TensorHeader:
    """Read the JSON of a header of a file of `file_bytes`.

    Raises:
        InvalidRequest: the header is not one of a whole, unambiguous safetensors file.
    """
    data_start = _LENGTH_BYTES + len(text)
    fields = _decode(text)
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse("`__metadata__` is not a map of strings")
    tensors = {name: _tensor(name, entry, data_start) for name, entry in fields.items()}
    ordered = dict(sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)))
    at = data_start
    for name, tensor in ordered.items():
        if tensor.begin != at:
            _refuse(f"there is a gap or an overlap before tensor {ascii(name)[:80]}")
        at = tensor.end
    if at != file_bytes:
        _refuse(f"the tensors end at byte {at} of {file_bytes}")
    return TensorHeader(tensors=ordered, metadata=metadata, data_start=data_start)


def _decode(text: bytes) -> dict[str, Any]:
    if not text.startswith(b"{"):
        _refuse("the header is not a JSON object")
    try:
        fields = json.loads(
            text.decode(),
            object_pairs_hook=_unique,
            parse_int=_size,
            parse_float=_no_size,
            parse_constant=_no_size,
        )
    except InvalidRequest:
        raise
    except (ValueError, RecursionError):  # also what is not UTF-8, as bytes or as `\\ud800`
        _refuse("the header is not valid JSON")
    if not isinstance(fields, dict):
        _refuse("the header is not a JSON object")
    return fields


def _tensor(name: str, entry: object, data_start: int) -> TensorInfo:
    called = ascii(name)[:80]
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        _refuse(f"tensor {called} has not exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    bits = DTYPE_BITS.get(dtype) if isinstance(dtype, str) else None
    if bits is None:
        _refuse(f"tensor {called} has a dtype that is not known")
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        _refuse(f"tensor {called} has no valid shape")
    if not _are_sizes(offsets) or len(offsets) != 2:
        _refuse(f"tensor {called} has no valid data_offsets")
    for size in shape:
        bits *= size
        if bits > 8 * _MAX_INTEGER:
            _refuse(f"tensor {called} is too large")
    if bits != 8 * (offsets[1] - offsets[0]):
        _refuse(f"the shape of tensor {called} does not fit its data_offsets")
    begin, end = (data_start + offset for offset in offsets)
    return TensorInfo(dtype=dtype, shape=tuple(shape), begin=begin, end=end)


def _are_sizes(value: object) -> bool:
    """Whether this is a list of numbers; `true` is none."""
    return isinstance(value, list) and all(type(each) is int for each in value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        _refuse("the header names something twice")
    for name, value in pairs:
        name.encode()
        if isinstance(value, str):
            value.encode()
    return fields


def _size(text: str) -> int:
    """An integer that every reader understands alike: `-0` and 2 ** 64 are none."""
    if text.startswith("-") or len(text) > 16 or (size := int(text)) >= _MAX_INTEGER:
        _no_size(text)
    return size


def _no_size(_: str) -> NoReturn:
    _refuse("the header has a number that is not a size")


def _refuse(why: str) -> NoReturn:
    raise InvalidRequest(f"not a valid safetensors file: {why}")
