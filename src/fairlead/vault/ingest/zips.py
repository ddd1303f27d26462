"""Zip archives of which every reader reads the same members with the same bytes.

Readers differ in what they believe: the central directory or the local headers,
checksums or not, the first or the last of two members of one name. So only
archives pass in which there is nothing to disagree on: members lie back to back
from the first byte to the directory, local headers repeat the directory's
words, checksums hold, names are plain and occur once, sizes are true.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from fairlead.vault.ingest import names
from fairlead.vault.ingest.verdict import Stopped, shown
from fairlead.vault.ingest.window import STEP_BYTES, Window

MAX_MEMBERS: Final = 100_000
MAX_RATIO: Final = 200
FREE_RATIO_BYTES: Final = 64 << 20
"""Up to this size a member may be packed as tightly as it likes: empty arrays are."""
_END: Final = struct.Struct("<4s4H2LH")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR: Final = struct.Struct("<4sLQL")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_STORED: Final = 0
_DEFLATED: Final = 8
_DESCRIPTOR: Final = 1 << 3
_FLAGS: Final = _DESCRIPTOR | 1 << 11 | 0b110  # sizes follow the data; UTF-8 name; how hard deflate tried
_FULL32: Final = 0xFFFFFFFF


class Member(NamedTuple):
    """One member, checked."""

    name: str
    method: int
    crc: int
    packed: Window
    size: int

    @property
    def is_stored(self) -> bool:
        """Whether the bytes in the archive are the member's own."""
        return self.method == _STORED


class _Entry(NamedTuple):
    """One line of the central directory."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    at: int


def read(window: Window, max_total_bytes: int) -> list[Member]:
    """The members of an archive, in the order of their bytes. Checksums are for `verify`.

    Raises:
        Stopped: readers could disagree about it.
    """
    start, length, count = _directory(window)
    entries = _entries(window.part(start, length), count)
    position = 0
    members = []
    for entry in sorted(entries, key=lambda one: one.at):
        if entry.at != position:
            raise Stopped("zip-layout", f"byte {entry.at}", "members overlap, or bytes lie between them")
        member, position = _member(window, entry)
        members.append(member)
    if position != start:
        raise Stopped("zip-layout", f"byte {position}", "bytes lie between the last member and the directory")
    _check_names([member.name for member in members])
    _check_sizes(members, max_total_bytes)
    return members


def verify(member: Member) -> None:
    """Read a member to its end and compare its checksum.

    Raises:
        Stopped: size or checksum are not what was announced.
    """
    size = crc = 0
    for piece in unpacked(member):
        size += len(piece)
        crc = zlib.crc32(piece, crc)
    if size != member.size or crc != member.crc:
        raise Stopped(
            "zip-checksum", shown(member.name), "size or checksum of the data are not those announced"
        )


def unpacked(member: Member) -> Iterator[bytes]:
    """A member's bytes, in pieces of at most a mebibyte; never more than announced.

    Raises:
        Stopped: the packed data are damaged or longer than announced.
    """
    if member.is_stored:
        yield from member.packed.pieces()
        return
    unpacker = zlib.decompressobj(-15)
    given = 0
    try:
        for piece in member.packed.pieces(1 << 16):
            data = b""
            # A full step may mean that the input is used up and the output is not.
            while (piece or len(data) == STEP_BYTES) and not unpacker.eof:
                data = unpacker.decompress(piece, STEP_BYTES)
                given += len(data)
                if given > member.size:
                    raise Stopped("zip-bomb", shown(member.name), "more comes out than was announced")
                yield data
                piece = unpacker.unconsumed_tail
            if piece:
                raise Stopped("zip-checksum", shown(member.name), "bytes follow the packed data")
        if not unpacker.eof or unpacker.unused_data:
            raise Stopped("zip-checksum", shown(member.name), "the packed data end too early or too late")
    except zlib.error:
        raise Stopped("zip-checksum", shown(member.name), "the packed data are damaged") from None


def _directory(window: Window) -> tuple[int, int, int]:
    """Where the central directory is, how long, and of how many lines."""
    at = window.size - _END.size
    if at < 0:
        raise Stopped("truncated", "", "too short for an archive")
    magic, disk, first, here, count, length, start, comment = _END.unpack(window.read(at, _END.size))
    if magic != b"PK\5\6" or comment:
        raise Stopped(
            "zip-layout",
            f"byte {at}",
            "the archive does not end in its directory's end (a comment, or more bytes)",
        )
    if disk or first or here != count:
        raise Stopped("zip-layout", f"byte {at}", "it is one of several volumes")
    end = at
    if at >= _LOCATOR.size and window.read(at - _LOCATOR.size, 4) == b"PK\6\7":
        _, disk64, at64, disks = _LOCATOR.unpack(window.read(at - _LOCATOR.size, _LOCATOR.size))
        record = _END64.unpack(window.read(at64, _END64.size))
        if (
            record[0] != b"PK\6\6"
            or record[1] != _END64.size - 12
            or disk64
            or disks > 1
            or record[4]
            or record[5]
        ):
            raise Stopped("zip-layout", f"byte {at64}", "the 64-bit end of the directory is not a plain one")
        if at64 + _END64.size != at - _LOCATOR.size or record[6] != record[7]:
            raise Stopped("zip-layout", f"byte {at64}", "bytes lie between the ends of the directory")
        for narrow, wide, full in (
            (count, record[7], 0xFFFF),
            (length, record[8], _FULL32),
            (start, record[9], _FULL32),
        ):
            if narrow not in (wide, full):
                raise Stopped("zip-layout", f"byte {at}", "the two ends of the directory differ")
        _, _, _, _, _, _, _, count, length, start = record
        end = at64
    if count > MAX_MEMBERS:
        raise Stopped("limits", "", f"more than {MAX_MEMBERS} members")
    if start + length != end:
        raise Stopped("zip-layout", f"byte {start}", "the directory is not where its end says")
    return start, length, count


def _entries(directory: Window, count: int) -> list[_Entry]:
    at = 0
    entries = []
    for _ in range(count):
        fields = _CENTRAL.unpack(directory.read(at, _CENTRAL.size))
        (
            magic,
            _,
            _,
            flags,
            method,
            _,
            _,
            crc,
            packed,
            size,
            name_size,
            extra_size,
            comment_size,
            disk,
            _,
            _,
            start,
        ) = fields
        name = directory.read(at + _CENTRAL.size, name_size)
        extra = directory.read(at + _CENTRAL.size + name_size, extra_size)
        if magic != b"PK\1\2" or disk or comment_size:
            raise Stopped("zip-layout", shown(name), "the directory's line is not a plain one")
        if flags & ~_FLAGS or method not in (_STORED, _DEFLATED):
            raise Stopped(
                "zip-feature",
                shown(name),
                f"flags 0x{flags:04x}, method {method}: encrypted, or packed in a rare way",
            )
        size, packed, start = _widened(name, extra, size, packed, start)
        entries.append(_Entry(name, flags, method, crc, packed, size, start))
        at += _CENTRAL.size + name_size + extra_size
    if at != directory.size:
        raise Stopped("zip-layout", f"byte {at}", "the directory is longer than its lines")
    return entries


def _extras(name: bytes, extra: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(extra):
        if at + 4 > len(extra):
            raise Stopped("zip-layout", shown(name), "an extra field is cut")
        kind, size = struct.unpack_from("<HH", extra, at)
        if at + 4 + size > len(extra) or kind in found:
            raise Stopped("zip-layout", shown(name), "an extra field is cut or occurs twice")
        if kind == 0x7075:
            raise Stopped("zip-name", shown(name), "it has a second name in an extra field")
        found[kind] = extra[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def _widened(name: bytes, extra: bytes, size: int, packed: int, start: int) -> tuple[int, int, int]:
    """Sizes and offset with their 64-bit values, which stand where the 32-bit ones are full, only there."""
    wide = _extras(name, extra).get(1, b"")
    values = [size, packed, start]
    at = 0
    for index, value in enumerate(values):
        if value == _FULL32:
            if at + 8 > len(wide):
                raise Stopped("zip-layout", shown(name), "a 64-bit size is missing")
            values[index] = int.from_bytes(wide[at : at + 8], "little")
            at += 8
    if at != len(wide):
        raise Stopped("zip-layout", shown(name), "64-bit sizes stand where none are needed")
    return values[0], values[1], values[2]


def _member(window: Window, entry: _Entry) -> tuple[Member, int]:
    """A member, and where its bytes end. Its local header must repeat the directory."""
    head = _LOCAL.unpack(window.read(entry.at, _LOCAL.size))
    magic, _, flags, method, _, _, crc, packed, size, name_size, extra_size = head
    name = window.read(entry.at + _LOCAL.size, name_size)
    extra = window.read(entry.at + _LOCAL.size + name_size, extra_size)
    where = shown(entry.raw_name)
    if magic != b"PK\3\4" or name != entry.raw_name or flags != entry.flags or method != entry.method:
        raise Stopped("zip-layout", where, "the local header differs from the directory")
    late = bool(flags & _DESCRIPTOR)
    wide = _extras(name, extra).get(1, b"")
    sizes = _local_sizes(wide, size, packed, where)
    true = (entry.size, entry.packed)
    if (sizes != true and not (late and sizes == (0, 0))) or (crc != entry.crc and not (late and crc == 0)):
        raise Stopped("zip-layout", where, "sizes or checksum of the local header differ from the directory")
    at = entry.at + _LOCAL.size + name_size + extra_size
    data = window.part(at, entry.packed)
    if method == _STORED and entry.packed != entry.size:
        raise Stopped("zip-layout", where, "stored data with two sizes")
    end = at + entry.packed
    if late:
        end += _descriptor(window, end, entry, where)
    try:
        text = entry.raw_name.decode("utf-8" if flags & 1 << 11 else "ascii")
    except UnicodeDecodeError:
        raise Stopped("zip-name", where, "the name is not ASCII, nor marked as UTF-8") from None
    return Member(text, method, entry.crc, data, entry.size), end


def _local_sizes(wide: bytes, size: int, packed: int, where: str) -> tuple[int, int]:
    if not wide:
        return size, packed
    if len(wide) not in (16, 24, 28):
        raise Stopped("zip-layout", where, "the local header's 64-bit sizes are cut")
    big, small = struct.unpack_from("<QQ", wide)
    if size not in (_FULL32, big) or packed not in (_FULL32, small):
        raise Stopped("zip-layout", where, "the local header has two sizes")
    return big, small


def _descriptor(window: Window, at: int, entry: _Entry, where: str) -> int:
    """The length of the sizes that follow the data, in one of their four forms."""
    for form in ("<4sLQQ", "<4sLLL", "<LQQ", "<LLL"):
        size = struct.calcsize(form)
        if at + size > window.size:
            continue
        fields = struct.unpack(form, window.read(at, size))
        if form.startswith("<4s"):
            if fields[0] != b"PK\7\x08":
                continue
            fields = fields[1:]
        if fields == (entry.crc, entry.packed, entry.size):
            return size
    raise Stopped("zip-layout", where, "the sizes after the data differ from the directory")


def _check_names(found: list[str]) -> None:
    for name in found:
        why = names.unsafe(name[:-1] if name.endswith("/") else name)
        if why:
            raise Stopped("zip-name", shown(name), why)
    again = names.collision(name for name in found if not name.endswith("/"))
    if again:
        raise Stopped(
            "zip-name", shown(again), "another member has the same name, or a name that means the same"
        )


def _check_sizes(members: list[Member], max_total_bytes: int) -> None:
    if sum(member.size for member in members) > max_total_bytes:
        raise Stopped("zip-bomb", "", f"more than {max_total_bytes} bytes would come out")
    for member in members:
        if member.name.endswith("/") and member.size:
            raise Stopped("zip-layout", shown(member.name), "a folder with data")
        if member.size > FREE_RATIO_BYTES and member.size > MAX_RATIO * max(1, member.packed.size):
            raise Stopped(
                "zip-bomb", shown(member.name), f"it unpacks to more than {MAX_RATIO} times its size"
            )
