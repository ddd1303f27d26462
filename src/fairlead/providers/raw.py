"""JSON that passes through a codec as it was written.

msgspec decodes into `Raw` but knows no "Raw or nothing", so an absent field is
`NOTHING` on the wire structs and None in the neutral model.
"""

from __future__ import annotations

from typing import Final

import msgspec

NOTHING: Final = msgspec.Raw()
"""Default of optional raw fields; `omit_defaults` leaves it out when encoding."""

_EMPTY_OBJECT: Final = msgspec.Raw(b"{}")
_object_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def present(raw: msgspec.Raw) -> msgspec.Raw | None:
    """The raw JSON, or None when the field was absent or `null`."""
    return None if bytes(raw) in (b"", b"null") else raw


def or_nothing(raw: msgspec.Raw | None) -> msgspec.Raw:
    """The opposite of `present`, for encoding."""
    return NOTHING if raw is None else raw


def object_of(text: str) -> msgspec.Raw | None:
    """The JSON object that `text` is, `{}` for blank text, None when it is no JSON object."""
    try:
        data = text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    if not data.strip():
        return _EMPTY_OBJECT
    try:
        _object_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    return msgspec.Raw(data)


def text_of(raw: msgspec.Raw) -> str:
    """Raw JSON as text; `{}` when the field was absent or `null`."""
    data = bytes(raw)
    return "{}" if data in (b"", b"null") else data.decode("utf-8", "replace")
