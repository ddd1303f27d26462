"""Headers of safetensors files, good and bad, shared by the unit tests and the fuzzer."""

from __future__ import annotations

import json
from typing import Any


def file_of(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    """A file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


GOOD: dict[str, bytes] = {
    "nothing": file_of({}),
    "one tensor": file_of({"a": entry("F32", [2, 3], 0, 24)}, bytes(24)),
    "padded": file_of(json.dumps({"a": entry("U8", [1], 0, 1)}).encode() + b"   ", b"x"),
    "metadata": file_of({"__metadata__": {"format": "pt"}, "a": entry("BF16", [2], 0, 4)}, bytes(4)),
    "scalar": file_of({"a": entry("I64", [], 0, 8)}, bytes(8)),
    "empty tensor": file_of({"a": entry("F16", [0, 7], 0, 0), "b": entry("BOOL", [1], 0, 1)}, b"\1"),
    "in another order": file_of({"b": entry("U8", [2], 1, 3), "a": entry("U8", [1], 0, 1)}, b"xyz"),
    "four bits": file_of({"a": entry("F4", [2, 3], 0, 3)}, bytes(3)),
    "odd name": file_of({"\u00e9\n": entry("U8", [1], 0, 1)}, b"x"),
}

BAD: dict[str, bytes] = {
    "no bytes": b"",
    "short length": b"\1\0\0",
    "length beyond the file": (100).to_bytes(8, "little") + b"{}",
    "length of 2**63": (1 << 63).to_bytes(8, "little") + b"{}",
    "length above the limit": (100_000_001).to_bytes(8, "little") + b"{}",
    "no object": file_of(b"[]"),
    "space first": file_of(b" {}"),
    "nul after": file_of(b"{}\0"),
    "not UTF-8": file_of(b'{"\xff": 1}'),
    "cut JSON": file_of(b'{"a":'),
    "deep": file_of(b'{"a":' + b"[" * 100_000),
    "huge integer": file_of(b'{"a":' + b"9" * 10_000 + b"}"),
    "name twice": file_of(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                          b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "field twice": file_of(b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"x"),
    "metadata twice": file_of(b'{"__metadata__":{},"__metadata__":{}}'),
    "metadata of numbers": file_of({"__metadata__": {"a": 1}}),
    "metadata is no map": file_of({"__metadata__": "x"}),
    "overlap": file_of({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, bytes(3)),
    "same bytes twice": file_of({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 0, 2)}, bytes(2)),
    "gap": file_of({"a": entry("U8", [1], 0, 1), "b": entry("U8", [1], 2, 3)}, bytes(3)),
    "gap at the start": file_of({"a": entry("U8", [1], 1, 2)}, bytes(2)),
    "bytes left over": file_of({"a": entry("U8", [1], 0, 1)}, bytes(2)),
    "data without tensors": file_of({}, b"x"),
    "beyond the file": file_of({"a": entry("U8", [9], 0, 9)}, bytes(8)),
    "end before begin": file_of({"a": entry("U8", [1], 1, 0)}, b"x"),
    "negative offset": file_of({"a": entry("U8", [1], -1, 0)}, b"x"),
    "offset is minus zero": file_of(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[-0,0]}}'),
    "half a character": file_of(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "half a character in metadata": file_of(b'{"__metadata__":{"a":"\\ud800"}}'),
    "offset is a float": file_of({"a": entry("U8", [1], 0, 1.0)}, b"x"),
    "offset is true": file_of({"a": entry("U8", [1], 0, True)}, b"x"),
    "offset is text": file_of({"a": entry("U8", [1], 0, "1")}, b"x"),
    "shape does not fit": file_of({"a": entry("F32", [2], 0, 4)}, bytes(4)),
    "shape overflows 64 bits": file_of({"a": entry("U8", [1 << 32, 1 << 32, 4], 0, 0)}),
    "shape with zero overflows": file_of({"a": entry("U8", [1 << 52, 1 << 52, 0], 0, 0)}),
    "negative shape": file_of({"a": entry("U8", [-1, -1], 0, 1)}, b"x"),
    "three offsets": file_of({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 1]}}, b"x"),
    "unknown dtype": file_of({"a": entry("F99", [1], 0, 1)}, b"x"),
    "dtype is a list": file_of({"a": {"dtype": ["U8"], "shape": [1], "data_offsets": [0, 1]}}, b"x"),
    "half a byte": file_of({"a": entry("F4", [3], 0, 1)}, b"x"),
    "a field too many": file_of({"a": entry("U8", [1], 0, 1) | {"code": "x"}}, b"x"),
    "a field too few": file_of({"a": {"dtype": "U8", "shape": [1]}}, b"x"),
    "tensor is a number": file_of({"a": 1}),
    "not a number": file_of(b'{"a":NaN}'),
    "a hundred dimensions": file_of({"a": entry("U8", [1] * 100, 0, 1)}, b"x"),
}  # fmt: skip
