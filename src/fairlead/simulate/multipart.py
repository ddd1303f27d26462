"""Reads multipart/form-data bodies that have arrived whole."""

from __future__ import annotations

from email.message import Message

import msgspec

from fairlead.errors import InvalidRequest

_MAX_PARTS = 100


class FormPart(msgspec.Struct, frozen=True, kw_only=True):
    """One field or file of a form."""

    name: str
    filename: str | None
    content_type: str
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


def parse(content_type: bytes, body: bytes) -> dict[str, FormPart]:
    """The parts by name; the last of a name wins.

    Raises:
        InvalidRequest: it is no multipart form, or not a whole one.
    """
    header = _header(content_type.decode("latin-1"))
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        raise InvalidRequest("The body must be multipart/form-data.")
    mark = b"--" + boundary.encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark, _MAX_PARTS + 2)
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise InvalidRequest("The multipart body is not complete.")
    parts = [_part(piece) for piece in pieces[1:-1]]
    return {part.name: part for part in parts}


def _header(value: str) -> Message:
    header = Message()
    header["content-type"] = value.replace("\r", " ").replace("\n", " ")
    return header


def _part(piece: bytes) -> FormPart:
    head, found, data = piece.partition(b"\r\n\r\n")
    if not found:
        raise InvalidRequest("A part of the multipart body has no header section.")
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    disposition = Message()
    disposition["content-disposition"] = fields.get("content-disposition", "").replace("\n", " ")
    named = disposition.get_param("name", header="content-disposition")
    if not isinstance(named, str):
        raise InvalidRequest("A part of the multipart body has no name.")
    return FormPart(
        name=named,
        filename=disposition.get_filename(),
        content_type=fields.get("content-type", "text/plain"),
        data=data,
    )
