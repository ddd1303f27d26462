"""Small files of every kind, made here byte by byte or by the standard library, and attacks on them."""

from __future__ import annotations

import collections
import io
import json
import pickle
import struct
import zlib
from typing import Any, NamedTuple

MAGIC = 0x1950A86A20F9469CFC6C


def text(value: str) -> bytes:
    """SHORT_BINUNICODE or BINUNICODE."""
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw if len(raw) < 256 else b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    """GLOBAL."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def call(module: str, attribute: str, *args: bytes) -> bytes:
    """GLOBAL, arguments that are instructions already, REDUCE."""
    return name(module, attribute) + b"(" + b"".join(args) + b"tR"


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


# --- torch --------------------------------------------------------------------------------------


def tensor(
    key: str = "0",
    numel: int = 4,
    shape: tuple[int, ...] = (2, 2),
    stride: tuple[int, ...] = (2, 1),
    *,
    kind: str = "FloatStorage",
    offset: int = 0,
    function: str = "_rebuild_tensor_v2",
    hooks: bytes = b"ccollections\nOrderedDict\n)R",
    rest: bytes = b"",
    location: str = "cpu",
) -> bytes:
    """The instructions that rebuild a tensor, as `torch.save` writes them."""
    number = lambda value: b"J" + struct.pack("<i", value)  # noqa: E731  # a word used five times
    numbers = lambda values: b"(" + b"".join(map(number, values)) + b"t"  # noqa: E731  # likewise
    storage = (
        b"(" + text("storage") + name("torch", kind) + text(key) + text(location) + number(numel) + b"tQ"
    )
    args = storage + number(offset) + numbers(shape) + numbers(stride) + b"\x89" + hooks + rest
    return name("torch._utils", function) + b"(" + args + b"tR"


def state_dict(**values: bytes) -> bytes:
    items = b"".join(text(key) + value for key, value in values.items())
    return call("collections", "OrderedDict") + b"(" + items + b"u"


FLOATS = struct.pack("<4f", 1.0, 2.0, 3.0, 4.0)


def torch_zip(body: bytes, storages: dict[str, bytes] | None = None, **also: bytes) -> bytes:
    members = {"archive/data.pkl": pickled(body), "archive/byteorder": b"little"}
    members |= {f"archive/data/{key}": data for key, data in (storages or {"0": FLOATS}).items()}
    members |= {"archive/version": b"3\n", **{f"archive/{key}": data for key, data in also.items()}}
    return zip_of(list(members.items()))


def torch_legacy(body: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    data = storages if storages is not None else {"0": FLOATS}
    parts = [pickle.dumps(value, 2) for value in (MAGIC, 1001, system)]
    parts += [pickled(body), pickle.dumps(sorted(data), 2)]
    parts += [struct.pack("<q", len(data[key]) // 4) + data[key] for key in sorted(data)]
    return b"".join(parts)


# --- zip ----------------------------------------------------------------------------------------


class Lie(NamedTuple):
    """What differs from the truth in one member."""

    local_name: bytes | None = None
    crc: int | None = None
    local_crc: int | None = None
    flags: int = 0
    local_flags: int | None = None
    method: int = 0
    local_method: int | None = None
    size: int | None = None
    packed: int | None = None
    offset: int | None = None
    extra: bytes = b""
    between: bytes = b""


def zip_of(
    members: list[tuple[str, bytes]],
    lies: dict[str, Lie] | None = None,
    *,
    before: bytes = b"",
    comment: bytes = b"",
    after: bytes = b"",
    count: int | None = None,
    zip64: bytes = b"",
) -> bytes:
    """An archive written field by field, true or not."""
    out, directory = bytearray(before), bytearray()
    for member, data in members:
        lie = (lies or {}).get(member, Lie())
        raw = member.encode()
        flags = lie.flags | (0 if member.isascii() else 1 << 11)
        crc = zlib.crc32(data) if lie.crc is None else lie.crc
        stored = data
        if lie.method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            stored = packer.compress(data) + packer.flush()
        size = len(data) if lie.size is None else lie.size
        packed = len(stored) if lie.packed is None else lie.packed
        at = len(out) if lie.offset is None else lie.offset
        local = raw if lie.local_name is None else lie.local_name
        out += struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, flags if lie.local_flags is None else lie.local_flags,
            lie.method if lie.local_method is None else lie.local_method, 0, 33,
            crc if lie.local_crc is None else lie.local_crc, packed, size, len(local), 0,
        ) + local + stored + lie.between  # fmt: skip
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, flags, lie.method, 0, 33, crc, packed, size, len(raw),
            len(lie.extra),
            0, 0, 0, 0, at,
        ) + raw + lie.extra  # fmt: skip
    start = len(out)
    number = len(members) if count is None else count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, number, number, len(directory), start, len(comment))
    return bytes(out) + bytes(directory) + zip64 + end + comment + after


# --- numpy --------------------------------------------------------------------------------------


def npy(
    descr: str = "'<f4'", shape: str = "(4,)", data: bytes = FLOATS, *, also: str = "", version: int = 1
) -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {also}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + data


def numpy_array(
    descr: str = "f4", data: bytes = FLOATS, shape: bytes = b"K\x04\x85", state: bytes | None = None
) -> bytes:
    """The instructions that rebuild an array."""
    order = b"X\1\0\0\0<" if descr[0] != "O" else b"X\1\0\0\0|"
    flags = b"K\x3f" if descr[0] == "O" else b"K\0"
    dtype_state = (
        b"(K\3" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff" + flags + b"t" if state is None else state
    )
    dtype = call("numpy", "dtype", text(descr), b"\x89", b"\x88") + dtype_state + b"b"
    array = call("numpy.core.multiarray", "_reconstruct", name("numpy", "ndarray"), b"K\0\x85", b"C\1b")
    body = data if descr[0] == "O" else b"B" + struct.pack("<I", len(data)) + data
    return array + b"(K\1" + shape + dtype + b"\x89" + body + b"tb"


# --- safetensors, GGUF, ONNX ----------------------------------------------------------------------


def safetensors(
    header: dict[str, Any] | bytes | None = None, data: bytes = FLOATS, *, length: int | None = None
) -> bytes:
    if header is None:
        header = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def gguf_text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def gguf(
    keys: dict[str, str] | None = None,
    *,
    tensors: list[tuple[str, tuple[int, ...], int, int]] | None = None,
    data: bytes = FLOATS,
    count: int | None = None,
    version: int = 3,
    raw_keys: bytes = b"",
    raw_count: int = 0,
) -> bytes:
    """Keys are texts; tensors are (name, shape, type, offset)."""
    keys = {"general.architecture": "llama"} if keys is None else keys
    tensors = [("w", (4,), 0, 0)] if tensors is None else tensors
    out = b"GGUF" + struct.pack(
        "<IQQ", version, len(tensors) if count is None else count, len(keys) + raw_count
    )
    for key, value in keys.items():
        out += gguf_text(key) + struct.pack("<I", 8) + gguf_text(value)
    out += raw_keys
    for label, shape, kind, offset in tensors:
        out += gguf_text(label) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        out += struct.pack("<IQ", kind, offset)
    return out + b"\0" * (-len(out) % 32) + data


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    """One protocol buffer field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def onnx(node: bytes = b"", tensors: bytes = b"", model: bytes = b"", *, domain: str = "") -> bytes:
    """A model of one operator."""
    operator = (
        field(1, "x") + field(2, "y") + field(4, "Identity") + (field(7, domain) if domain else b"") + node
    )
    graph = field(1, operator) + field(2, "g") + tensors
    return (
        field(1, 8) + field(2, "made") + field(7, graph) + field(8, field(1, domain) + field(2, 18)) + model
    )


def onnx_external(location: str) -> bytes:
    entry = field(13, field(1, "location") + field(2, location))
    return field(5, field(1, 4) + field(2, 1) + field(8, "w") + entry + field(14, 1))


def sentencepiece(pieces: tuple[bytes, ...] = (b"a", b"b")) -> bytes:
    return b"".join(field(1, field(1, piece) + b"\x15\0\0\0\0") for piece in pieces) + field(2, field(4, 2))


# --- the rest -------------------------------------------------------------------------------------


def png(after: bytes = b"") -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"") + after


def tar_head(member: bytes = b"pickle", size: int = 0) -> bytes:
    """A tar header of the oldest form, whose only mark is its checksum."""
    head = bytearray(512)
    head[: len(member)] = member
    head[100:108], head[124:136], head[148:156] = b"0000644\0", b"%011o\0" % size, b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head)


PLAIN: dict[str, object] = {
    "a": [1, 2.5, "x", None, True], "b": (1, 2, 3, 4), "c": {"d": -1, "e": 2**70}, "s": {1, 2},
    "z": frozenset({3}),
    "o": collections.OrderedDict(k=1), "by": b"\xff", "ba": bytearray(b"ab"), "long": "y" * 300, "dd":
    collections.defaultdict(list), "cc": 1j,
}  # fmt: skip


def dumps(value: object, protocol: int) -> bytes:
    out = io.BytesIO()
    pickle.Pickler(out, protocol).dump(value)
    return out.getvalue()
