"""Request bodies as bytes: what routing must know of them, and replacing a few fields.

A body whose client and upstream speak the same dialect is not translated.
Routing reads a handful of top-level fields in one pass (`read_head`), and
`replace_fields` changes named top-level fields; every other value keeps its
bytes: number formats, escapes, unknown fields and their order.

Of a repeated key the last one counts (RFC 8259 leaves it open, nearly every
parser does so) and only that one is sent, so that the gateway and the upstream
cannot read two different requests out of one body. Nothing here knows what a
field means; the dialects do.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from fairlead.errors import InvalidRequest

T = TypeVar("T")

_MAX_REASON_CHARS: Final = 300
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    include_usage: bool | None = None


class RequestHead(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that routing, limits and usage accounting read of any body."""

    model: str | None = None
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    encoding_format: str | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None

    @property
    def output_limit(self) -> int | None:
        """The most output tokens asked for, whatever the dialect calls it."""
        for limit in (self.max_completion_tokens, self.max_output_tokens, self.max_tokens):
            if limit is not None:
                return limit
        return None

    @property
    def include_usage(self) -> bool:
        """The client asked for usage in its stream."""
        return self.stream_options is not None and self.stream_options.include_usage is True


_HEAD: Final = msgspec.json.Decoder(RequestHead)


def read_head(body: bytes) -> RequestHead:
    """The fields that routing needs; everything else may be anything that is JSON.

    Raises:
        InvalidRequest: the body is no UTF-8 JSON object, or one of the fields
            has the wrong type (`param` names it).
    """
    return decode(_HEAD, body)


def object_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object, each with its value's bytes.

    Raises:
        InvalidRequest: the body is no UTF-8 JSON object.
    """
    return decode(_OBJECT, body)


def replace_fields(body: bytes, changes: dict[str, bytes | None]) -> bytes:
    """The body with these top-level fields replaced or added (JSON bytes) or removed (None).

    All other values stay byte for byte, in their order; only whitespace
    between top-level fields and repeated keys go. A body that is compact
    already and needs no change is returned as it is.

    Raises:
        InvalidRequest: the body is no UTF-8 JSON object.
    """
    fields = object_fields(body)
    for name, value in changes.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = msgspec.Raw(value)
    replaced = msgspec.json.encode(fields)
    return body if replaced == body else replaced


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a client's body, and say in the client's terms why it cannot be.

    Raises:
        InvalidRequest: not UTF-8, not JSON, nested too deeply, or a field has
            the wrong type (`param` names it).
    """
    if not body:
        raise InvalidRequest("the request body is empty; a JSON object is expected")
    if not body.isascii():
        # Values that are skipped or kept raw are not checked by the decoder.
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the request body is not UTF-8 (byte {error.start})") from error
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid_field("", error) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise InvalidRequest("the request body is nested too deeply") from error


def invalid_field(field: str, error: msgspec.ValidationError) -> InvalidRequest:
    """The decoder's complaint as an error whose `param` is the path of the field at fault.

    msgspec says where only in its text, ``REASON - at `$.PATH` ``.
    """
    reason, _, path = str(error).partition(" - at `$")
    # The decoder quotes the value at fault, however long it is.
    reason = reason[:_MAX_REASON_CHARS]
    param = (field + path.rstrip("`")).lstrip(".")
    message = f"{param}: {_lower_first(reason)}" if param else f"the request body is not valid: {reason}"
    return InvalidRequest(message, param=param or None)


def raw(value: Any) -> msgspec.Raw:
    """A value as JSON bytes."""
    return msgspec.Raw(msgspec.json.encode(value))


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
