"""The bytes of an HTTP/1.1 request.

Everything that goes into a head is checked here, once, when the head is
prebuilt: a line break in a configured header or in a path must not become a
second header or a second request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fairlead.errors import InvalidRequest

LAST_CHUNK: Final = b"0\r\n\r\n"
"""Ends a body sent in chunks."""

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+")


def request_head(method: str, path: str, host: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Build the request line and header lines, without the blank line that ends them.

    More header lines may be appended; `request` and `chunked_request` add
    those that frame the body.

    Args:
        method: the method, in upper case.
        path: the request target: path and query, or an absolute URL for a plain proxy.
        host: the `host` header's value, `Origin.authority`.
        headers: further headers, sent as they are and in this order.

    Raises:
        InvalidRequest: a part holds a character that would change the message's shape.
    """
    line = method.encode("utf-8"), path.encode("utf-8")
    if _TOKEN.fullmatch(line[0]) is None:
        raise InvalidRequest("the request method holds a character that HTTP does not allow")
    if _TARGET.fullmatch(line[1]) is None:
        raise InvalidRequest("the request path holds a character that must be percent-encoded")
    parts = [b"%b %b HTTP/1.1\r\n" % line]
    for name, value in ((b"host", host.encode("utf-8")), *headers):
        if _TOKEN.fullmatch(name) is None:
            raise InvalidRequest(f"{name!r} is not a header name")
        if _VALUE.fullmatch(value) is None:
            # The value may be a credential: only its name is said.
            raise InvalidRequest(f"the value of header {name.decode()} holds a control character")
        parts.append(b"%b: %b\r\n" % (name, value))
    return b"".join(parts)


def request(head: bytes, body: bytes) -> bytes:
    """Join a prebuilt head and a whole body into one message."""
    return b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)


def chunked_request(head: bytes) -> bytes:
    """End a prebuilt head whose body follows as `chunk`s and `LAST_CHUNK`."""
    return head + b"transfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Frame one non-empty piece of a body; an empty one would end it and is sent as nothing."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
