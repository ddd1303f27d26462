"""Requests that no HTTP/1.1 server should understand, and odd ones that it should.

The table serves the server's own tests and any live listener: each malformed
request gets one of the listed statuses and then the connection's end, and what
follows it on the connection is never answered.
"""

from __future__ import annotations

from typing import NamedTuple


class Malformed(NamedTuple):
    """One bad request."""

    name: str
    data: bytes
    statuses: tuple[int, ...] = (400,)


class Odd(NamedTuple):
    """One valid request in an unusual shape, and what it means."""

    name: str
    data: bytes
    path: str
    body: bytes = b""


_HOST = b"Host: gateway\r\n"


def _get(extra: bytes = b"", *, line: bytes = b"GET /healthz HTTP/1.1", host: bytes = _HOST) -> bytes:
    return line + b"\r\n" + host + extra + b"\r\n"


def _post(fields: bytes, body: bytes = b"", *, version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /v1/chat/completions " + version + b"\r\n" + _HOST + fields + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked\r\n", body)


MALFORMED = (
    # Two ways to tell where the body ends.
    Malformed(
        "both-length-and-coding",
        _post(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    Malformed(
        "coding-and-length",
        _post(b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    ),
    Malformed("equal-lengths-twice", _post(b"Content-Length: 2\r\nContent-Length: 2\r\n", b"{}")),
    Malformed("different-lengths", _post(b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}")),
    Malformed("length-list", _post(b"Content-Length: 2, 2\r\n", b"{}")),
    Malformed("length-plus", _post(b"Content-Length: +2\r\n", b"{}")),
    Malformed("length-minus", _post(b"Content-Length: -2\r\n", b"{}")),
    Malformed("length-hex", _post(b"Content-Length: 0x2\r\n", b"{}")),
    Malformed("length-blank-inside", _post(b"Content-Length: 1 1\r\n", b"{}")),
    Malformed("length-empty", _post(b"Content-Length:\r\n", b"{}")),
    Malformed("length-not-ascii", _post("Content-Length: ٢\r\n".encode(), b"{}")),
    Malformed("length-overflows-64-bit", _post(b"Content-Length: 18446744073709551618\r\n", b"{}")),
    Malformed("length-has-a-hundred-digits", _post(b"Content-Length: " + b"9" * 100 + b"\r\n", b"{}")),
    Malformed("coding-list", _post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n")),
    Malformed("coding-unknown", _post(b"Transfer-Encoding: identity\r\n", b"0\r\n\r\n")),
    Malformed("coding-x", _post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n")),
    Malformed("coding-with-parameter", _post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n")),
    Malformed("coding-empty", _post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n")),
    Malformed(
        "coding-twice",
        _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ),
    Malformed("coding-vertical-tab", _post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n")),
    Malformed(
        "coding-on-http-1.0",
        _post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", version=b"HTTP/1.0"),
    ),
    # Chunks.
    Malformed("chunk-size-empty", _chunked(b"\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-negative", _chunked(b"-2\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-plus", _chunked(b"+2\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-0x", _chunked(b"0x2\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-blank-before", _chunked(b" 2\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-blank-after", _chunked(b"2 \r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-underscore", _chunked(b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n")),
    Malformed("chunk-size-overflow", _chunked(b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-endless-zeros", _chunked(b"0" * 200 + b"2\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-size-bare-lf", _chunked(b"2\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-data-bare-lf", _chunked(b"2\r\n{}\n0\r\n\r\n")),
    Malformed("chunk-data-too-long", _chunked(b"2\r\n{}}\r\n0\r\n\r\n")),
    Malformed("chunk-extension-bare-cr", _chunked(b"2;a\rb\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-extension-control", _chunked(b"2;a=\x01\r\n{}\r\n0\r\n\r\n")),
    Malformed("chunk-extension-too-long", _chunked(b"2;a=" + b"x" * 300 + b"\r\n{}\r\n0\r\n\r\n")),
    Malformed(
        "chunk-extensions-too-many", _chunked((b"1;" + b"x" * 200 + b"\r\n{\r\n") * 100 + b"0\r\n\r\n")
    ),
    Malformed("trailer-without-colon", _chunked(b"2\r\n{}\r\n0\r\nsmuggled\r\n\r\n")),
    Malformed("trailer-folded", _chunked(b"2\r\n{}\r\n0\r\nA: b\r\n c\r\n\r\n")),
    Malformed("trailer-bare-lf", _chunked(b"2\r\n{}\r\n0\r\nA: b\n\r\n")),
    Malformed("trailers-too-long", _chunked(b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 3000 + b"\r\n")),
    # Header fields.
    Malformed("obsolete-folding", _get(b"X-A: b\r\n c\r\n")),
    Malformed("folding-before-the-first-field", _get(host=b" Host: gateway\r\n")),
    Malformed("bare-cr-in-value", _get(b"X-A: b\rX-C: d\r\n")),
    Malformed("bare-lf-in-value", _get(b"X-A: b\nX-C: d\r\n")),
    Malformed("bare-lf-line-ends", b"GET /healthz HTTP/1.1\nHost: gateway\n\n"),
    Malformed("bare-lf-ends-the-section", b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\n"),
    Malformed("bare-cr-before-the-request", b"\rGET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"),
    Malformed("nul-in-value", _get(b"X-A: b\0c\r\n")),
    Malformed("control-in-value", _get(b"X-A: b\x01c\r\n")),
    Malformed("delete-in-value", _get(b"X-A: b\x7fc\r\n")),
    Malformed("blank-before-colon", _get(b"X-A : b\r\n")),
    Malformed("blank-before-colon-of-coding", _post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n")),
    Malformed("blank-in-name", _get(b"X A: b\r\n")),
    Malformed("name-empty", _get(b": b\r\n")),
    Malformed("name-not-ascii", _get("X-Ä: b\r\n".encode())),
    Malformed("line-without-colon", _get(b"X-A\r\n")),
    Malformed("host-missing", _get(host=b"")),
    Malformed("host-twice", _get(host=_HOST + _HOST)),
    Malformed("host-with-blank", _get(host=b"Host: gate way\r\n")),
    Malformed("host-with-user", _get(host=b"Host: user@gateway\r\n")),
    Malformed("host-with-path", _get(host=b"Host: gateway/admin\r\n")),
    Malformed("field-repeated-a-thousand-times", _get(b"X-A: b\r\n" * 1000)),
    Malformed("section-too-long", _get(b"X-A: " + b"b" * 70_000 + b"\r\n"), (431,)),
    Malformed("section-without-end", b"GET /healthz HTTP/1.1\r\n" + b"X-A: b\r\n" * 9_000, (431,)),
    # Request lines.
    Malformed("method-invalid", _get(line=b"GE(T /healthz HTTP/1.1")),
    Malformed("method-unknown", _get(line=b"BREW /healthz HTTP/1.1"), (501,)),
    Malformed("method-lower-case", _get(line=b"get /healthz HTTP/1.1"), (501,)),
    Malformed("method-missing", _get(line=b" /healthz HTTP/1.1")),
    Malformed("connect", _get(line=b"CONNECT gateway:443 HTTP/1.1"), (501,)),
    Malformed("target-missing", _get(line=b"GET HTTP/1.1")),
    Malformed("target-with-blank", _get(line=b"GET /health z HTTP/1.1")),
    Malformed("target-with-tab", _get(line=b"GET /health\tz HTTP/1.1")),
    Malformed("target-not-ascii", _get(line="GET /gesundheit/ä HTTP/1.1".encode())),
    Malformed("target-with-nul", _get(line=b"GET /healthz\0 HTTP/1.1")),
    Malformed("target-with-fragment", _get(line=b"GET /healthz#top HTTP/1.1")),
    Malformed("target-with-backslash", _get(line=b"GET \\healthz HTTP/1.1")),
    Malformed("target-relative", _get(line=b"GET healthz HTTP/1.1")),
    Malformed("target-authority", _get(line=b"GET gateway:443 HTTP/1.1")),
    Malformed("target-asterisk", _get(line=b"GET * HTTP/1.1")),
    Malformed("target-other-scheme", _get(line=b"GET ftp://gateway/healthz HTTP/1.1")),
    Malformed("target-without-host", _get(line=b"GET http:///healthz HTTP/1.1")),
    Malformed("target-with-user", _get(line=b"GET http://user@gateway/healthz HTTP/1.1")),
    Malformed("two-blanks", _get(line=b"GET  /healthz HTTP/1.1")),
    Malformed("blank-at-the-end", _get(line=b"GET /healthz HTTP/1.1 ")),
    Malformed("version-missing", b"GET /healthz\r\n\r\n"),
    Malformed("version-missing-one-line", b"GET /healthz\r\n"),
    Malformed("version-1.2", _get(line=b"GET /healthz HTTP/1.2"), (505,)),
    Malformed("version-2.0", _get(line=b"GET /healthz HTTP/2.0"), (505,)),
    Malformed("version-3", _get(line=b"GET /healthz HTTP/3"), (400,)),
    Malformed("version-lower-case", _get(line=b"GET /healthz http/1.1")),
    Malformed("version-with-two-digits", _get(line=b"GET /healthz HTTP/1.10")),
    Malformed("other-protocol", _get(line=b"GET /healthz RTSP/1.0")),
    # Other protocols.
    Malformed(
        "http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", (505,)
    ),
    Malformed("tls-greeting", bytes.fromhex("16030100c8010000c40303") + bytes(range(180))),
    Malformed("ssh-greeting", b"SSH-2.0-OpenSSH_9.6\r\n"),
    Malformed("binary", bytes(range(128, 256)) * 4),
)

ODD = (
    Odd("empty-lines-first", b"\r\n\r\n" + _get(), "/healthz"),
    Odd("absolute-target", _get(line=b"GET http://other/healthz?a=b HTTP/1.1"), "/healthz"),
    Odd("absolute-target-without-path", _get(line=b"GET http://other?a=b HTTP/1.1"), "/"),
    Odd("asterisk", _get(line=b"OPTIONS * HTTP/1.1"), "*"),
    Odd("absolute-asterisk", _get(line=b"OPTIONS http://other HTTP/1.1"), "*"),
    Odd("path-stays-encoded", _get(line=b"GET /a%2f..%2Fb/../c HTTP/1.1"), "/a%2f..%2Fb/../c"),
    Odd("path-of-slashes", _get(line=b"GET //other//healthz HTTP/1.1"), "//other//healthz"),
    Odd("http-1.0-without-host", b"GET /healthz HTTP/1.0\r\n\r\n", "/healthz"),
    Odd("upgrade-declined", _get(b"Connection: upgrade\r\nUpgrade: websocket\r\n"), "/healthz"),
    Odd(
        "upgrade-with-body",
        _post(b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n", b"{}"),
        "/v1/chat/completions",
        b"{}",
    ),
    Odd("value-empty", _get(b"X-A:\r\n"), "/healthz"),
    Odd("value-in-latin-1", _get(b"X-A: \xe4\r\n"), "/healthz"),
    Odd("blanks-around-length", _post(b"Content-Length: \t2 \t\r\n", b"{}"), "/v1/chat/completions", b"{}"),
    Odd("zeros-before-length", _post(b"Content-Length: 002\r\n", b"{}"), "/v1/chat/completions", b"{}"),
    Odd(
        "coding-in-capitals",
        _post(b"TRANSFER-ENCODING: Chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
        "/v1/chat/completions",
        b"{}",
    ),
    Odd(
        "chunks-with-extensions-and-trailers",
        _chunked(b"01;a=b\r\n{\r\n1;c\r\n}\r\n0;d\r\nHost: smuggled\r\nX: y\r\n\r\n"),
        "/v1/chat/completions",
        b"{}",
    ),
    Odd("chunks-of-nothing", _chunked(b"0\r\n\r\n"), "/v1/chat/completions", b""),
    Odd("get-with-body", _get(b"Content-Length: 2\r\n") + b"{}", "/healthz", b"{}"),
)
