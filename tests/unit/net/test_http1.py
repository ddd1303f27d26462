"""Prebuilt heads: their bytes, and what must not get into them."""

from __future__ import annotations

import pytest

from fairlead.errors import InvalidRequest
from fairlead.net.http1 import LAST_CHUNK, chunk, chunked_request, request, request_head


def test_a_whole_request() -> None:
    head = request_head("POST", "/v1/chat?x=1", "api.example:8443", [(b"accept", b"*/*"), (b"x-empty", b"")])
    assert request(head, b"{}") == (
        b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: api.example:8443\r\naccept: */*\r\nx-empty: \r\n"
        b"content-length: 2\r\n\r\n{}"
    )


def test_a_chunked_request() -> None:
    head = request_head("POST", "/", "a", [])
    assert chunked_request(head) + chunk(b"x" * 26) + chunk(b"") + LAST_CHUNK == (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1a\r\n"
        + b"x" * 26
        + b"\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "path", "host", "header"),
    [
        ("GET /", "/", "a", (b"x", b"y")),
        ("", "/", "a", (b"x", b"y")),
        ("GET", "/a b", "a", (b"x", b"y")),
        ("GET", "/a\r\nx: y", "a", (b"x", b"y")),
        ("GET", "/é", "a", (b"x", b"y")),
        ("GET", "", "a", (b"x", b"y")),
        ("GET", "/", "a\r\nx: y", (b"x", b"y")),
        ("GET", "/", "a", (b"x y", b"y")),
        ("GET", "/", "a", (b"", b"y")),
        ("GET", "/", "a", (b"x", b"y\r\nz: 1")),
        ("GET", "/", "a", (b"x", b"y\n")),
        ("GET", "/", "a", (b"x", b"y\0")),
    ],
)
def test_what_would_change_the_message_is_refused(
    method: str, path: str, host: str, header: tuple[bytes, bytes]
) -> None:
    with pytest.raises(InvalidRequest):
        request_head(method, path, host, [header])


def test_a_refused_value_is_not_quoted() -> None:
    with pytest.raises(InvalidRequest) as caught:
        request_head("GET", "/", "a", [(b"authorization", b"Bearer secret\n")])
    assert "authorization" in caught.value.message
    assert "secret" not in caught.value.message
