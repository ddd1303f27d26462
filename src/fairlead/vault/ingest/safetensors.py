"""safetensors: a JSON header of bounded size, and tensors that fill the rest without gap or overlap."""

from __future__ import annotations

from typing import Final, NamedTuple

from fairlead.vault.ingest import jsons
from fairlead.vault.ingest.verdict import Stopped, shown
from fairlead.vault.ingest.window import Window

MAX_HEADER_BYTES: Final = 100_000_000
"""The reference implementation's own limit."""
BITS: Final = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32,
    "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip


class Entry(NamedTuple):
    """One tensor. Offsets count from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class Header(NamedTuple):
    """The whole header."""

    tensors: tuple[Entry, ...]
    """In the order of their data."""
    metadata: dict[str, str]
    data_at: int


def is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of this size and these first bytes begins like one."""
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    return 2 <= length <= min(size - 8, MAX_HEADER_BYTES)


def read_header(window: Window) -> Header:
    """The header, checked against the file's length.

    Raises:
        Stopped: a rule of the format is broken.
    """
    length = int.from_bytes(window.read(0, 8), "little")
    if length > MAX_HEADER_BYTES:
        raise Stopped("safetensors-header", "byte 0", f"a header of {length} bytes")
    raw = window.read(8, length)
    if raw[:1] != b"{":
        raise Stopped("safetensors-header", "byte 8", "the header is no JSON object")
    fields = jsons.parse(raw, "safetensors-header", unique=True)
    if not isinstance(fields, dict):
        raise Stopped("safetensors-header", "byte 8", "the header is no JSON object")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Stopped("safetensors-header", "__metadata__", "it holds more than texts")
    tensors = sorted(
        (_entry(name, entry) for name, entry in fields.items()), key=lambda one: (one.start, one.end)
    )
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            raise Stopped(
                "safetensors-layout", shown(tensor.name), "tensors overlap, or bytes lie between them"
            )
        position = tensor.end
    if 8 + length + position != window.size:
        raise Stopped("safetensors-layout", "end", "the file is longer or shorter than its tensors")
    return Header(tuple(tensors), metadata, 8 + length)


def _entry(name: str, entry: object) -> Entry:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(start), int(end)], **rest} if (
            not rest
        ):
            sizes = [one for one in (*shape, start, end) if type(one) is not int or not 0 <= one < 1 << 56]
            if dtype in BITS and not sizes and len(shape) <= 64:
                bits = BITS[dtype]
                for one in shape:
                    bits *= one
                if bits % 8 == 0 and end - start == bits // 8:
                    return Entry(name, dtype, tuple(shape), start, end)
    raise Stopped("safetensors-header", shown(name), "type, shape and offsets do not belong together")
