"""numpy's files: one array (`.npy`), or an archive of them (`.npz`).

The header is a Python literal; only the dict that numpy writes is read, with
plain types. An array of Python objects is a pickle and is walked as one.
"""

from __future__ import annotations

import ast
import re
from typing import Final, NamedTuple

from fairlead.vault.ingest import zips
from fairlead.vault.ingest.pickles import Pickle
from fairlead.vault.ingest.values import Array
from fairlead.vault.ingest.verdict import Report, Stopped, shown
from fairlead.vault.ingest.window import Window, memory_window
from fairlead.vault.ingest.zips import Member

MAGIC: Final = b"\x93NUMPY"
_MAX_HEADER_BYTES: Final = 1 << 16
_MAX_OBJECTS_BYTES: Final = 256 << 20
_DESCR: Final = re.compile(r"[<>|=]?(?P<kind>[biufcSUVmM])(?P<size>[0-9]{1,9})(\[[0-9]*[A-Za-z]{1,2}\])?")


class Header(NamedTuple):
    """What an array file announces."""

    item_bytes: int
    """0 for Python objects."""
    shape: tuple[int, ...]
    data_at: int


def read_header(window: Window) -> Header:
    """The header of an array file.

    Raises:
        Stopped: it is not one that numpy writes for plain types.
    """
    start = window.read(0, 8)
    if start[:6] != MAGIC or start[6] not in (1, 2, 3) or start[7]:
        raise Stopped("npy-header", "byte 6", "not a version of the format that is known")
    width = 2 if start[6] == 1 else 4
    size = int.from_bytes(window.read(8, width), "little")
    if size > _MAX_HEADER_BYTES:
        raise Stopped("npy-header", "byte 8", f"a header of {size} bytes")
    raw = window.read(8 + width, size)
    try:
        fields = ast.literal_eval(raw.decode("utf-8" if start[6] == 3 else "latin-1").strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, UnicodeDecodeError):
        raise Stopped("npy-header", "header", "it is no Python literal") from None
    match fields:
        case {"descr": descr, "fortran_order": bool(), "shape": tuple() as shape, **rest} if not rest:
            if len(shape) <= 64 and all(type(one) is int and 0 <= one < 1 << 48 for one in shape):
                return Header(_item_bytes(descr), shape, 8 + width + size)
    raise Stopped("npy-header", "header", "it is not the dict that numpy writes")


def _item_bytes(descr: object, depth: int = 0) -> int:
    """The size of an element: a plain type, or a record of such."""
    if isinstance(descr, str):
        if descr in ("|O", "O"):
            return 0
        found = _DESCR.fullmatch(descr)
        if found:
            return int(found["size"]) * (4 if found["kind"] == "U" else 1)
    elif isinstance(descr, list) and depth < 8 and 0 < len(descr) <= 4096:
        sizes = [_field_bytes(field, depth) for field in descr]
        if all(sizes):
            return sum(sizes)
    raise Stopped("npy-header", "descr", f"{shown(str(descr)[:200])} is no plain type")


def _field_bytes(field: object, depth: int) -> int:
    match field:
        case (str() | (str(), str()), descr):
            return _item_bytes(descr, depth + 1)
        case (str() | (str(), str()), descr, tuple() as shape) if len(shape) <= 8:
            size = _item_bytes(descr, depth + 1)
            for one in shape:
                if type(one) is not int or not 0 < one < 1 << 32:
                    break
                size *= one
            else:
                return size
    raise Stopped("npy-header", "descr", "a field of a record is not plain")


def read_array(window: Window, report: Report, where: str = "") -> None:
    """Check an array file.

    Raises:
        Stopped: header and data disagree, or its objects are more than data.
    """
    header = read_header(window)
    count = 1
    for one in header.shape:
        count *= one
    left = window.size - header.data_at
    if header.item_bytes:
        if left != count * header.item_bytes:
            raise Stopped(
                "npy-size",
                where or "data",
                f"{left} bytes where {count} elements of {header.item_bytes} are announced",
            )
        return
    report.add("pickle-object-array", where or "data", "an array of Python objects, which is a pickle")
    pickle = Pickle(window, header.data_at, report, where or "data")
    if not isinstance(pickle.walk(), Array):
        raise Stopped("pickle-shape", where or "data", "the pickle of an array is none")
    if pickle.end != window.size:
        raise Stopped("pickle-trailing", where or "data", "bytes follow the end of the pickle")


def is_npz(members: list[Member]) -> bool:
    """Whether an archive is one of arrays only."""
    return bool(members) and all(member.name.endswith(".npy") for member in members)


def read_npz(members: list[Member], report: Report) -> None:
    """Check every array of an archive whose members were verified.

    Raises:
        Stopped: one of them is not plain.
    """
    for member in members:
        if member.is_stored:
            read_array(member.packed, report, shown(member.name))
            continue
        head = bytearray()
        for piece in zips.unpacked(member):
            head += piece
            if len(head) >= _MAX_HEADER_BYTES + 16:
                break
        # The header decides how long the data are; their content matters only where they are a pickle.
        known = memory_window(bytes(head))
        header = read_header(known)
        if header.item_bytes:
            sized = Window(lambda at, size, data=bytes(head): data[at : at + size], 0, member.size)  # type: ignore[misc]  # a bound default
            read_array(sized, report, shown(member.name))
        elif member.size > _MAX_OBJECTS_BYTES:
            raise Stopped("limits", shown(member.name), f"objects of more than {_MAX_OBJECTS_BYTES} bytes")
        else:
            read_array(memory_window(b"".join(zips.unpacked(member))), report, shown(member.name))
