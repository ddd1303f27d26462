"""Reads the header section of a request, and refuses every shape that two readers could take two ways.

httptools (llhttp) splits the section into fields and is strict about its
bytes: bare CR or LF, folded lines, control characters, bad names. What it lets
pass is checked here: the request line (two blanks, HTTP/0.9, other versions,
fragments), hosts, lengths and codings, blanks after a value. Bodies are none of
its business, see `net.framing`; a parser therefore lives for one header section.

Pure: bytes in, a `Head` or a `MalformedHttp` out. The path is handed on
percent-encoded, as received: decoding it here would let `%2f` change a route.
"""

from __future__ import annotations

import re
from typing import Any, Final

import httptools
import msgspec

from fairlead.errors import HeadersTooLarge, HttpMethodUnknown, HttpVersionUnsupported, MalformedHttp

CHUNKED: Final = -1
"""`Head.content_length` of a body whose end is known only when it is reached."""

_METHODS: Final = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
}
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VISIBLE: Final = bytes(range(0x21, 0x7F))
# What RFC 3986 allows, and the five characters that browsers send raw all the same.
_TARGET: Final = bytes(c for c in _VISIBLE if c not in b'"#<>\\')
_HOST: Final = _TOKEN.translate(None, b"#^`|") + b"()[]:;="
_SINGLE: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_VERSIONS: Final = {b"HTTP/1.1": False, b"HTTP/1.0": True}
_REPEATS: Final = 128  # joining repeated fields is quadratic in their number
_LINES_CACHED: Final = 512
_MISSES: Final = 4
_LENGTH_LINE: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)\r\n", re.IGNORECASE)
_LONGEST_LENGTH: Final = 18  # digits; 2**63 has nineteen


class Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request says before its body."""

    method: str
    target: str
    """The request target as received."""
    path: str
    """Its path, percent-encoded as received; `*` for the server as a whole."""
    query: str
    """What follows the first `?`, without it."""
    headers: dict[bytes, bytes]
    """Names in lower case; fields that came more than once are joined by `, `."""
    http10: bool
    peer: str
    """The client's IP address."""
    keep_alive: bool
    """Whether the client wants the connection kept."""
    content_length: int
    """Bytes of the body, 0 when there is none, `CHUNKED` when it is not known beforehand."""
    expects_continue: bool
    """Whether the client waits for a 100 before it sends the body."""
    notes: dict[str, Any] = msgspec.field(default_factory=dict)
    """What the application remembers of the header fields. A connection's heads that differ in their
    length alone share it."""


class _Line(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request line that has passed every check."""

    method: str
    target: str
    path: str
    query: str
    http10: bool
    authority: bytes | None
    """The host of an absolute target; it overrides the Host field (RFC 9112, 3.2.2)."""


class HeadParser:
    """Turns whole header sections into `Head`s; one serves all connections of a server."""

    __slots__ = ("_fields", "_lines", "_repeats")

    def __init__(self) -> None:
        self._fields: dict[bytes, bytes] = {}
        self._repeats = 0
        # Clients repeat themselves: most request lines have been checked before.
        self._lines: dict[bytes, _Line] = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one field from llhttp."""
        name = name.lower()
        fields = self._fields
        if name in fields:
            self._repeats += _REPEATS if name in _SINGLE else 1
            if self._repeats < _REPEATS:
                fields[name] += b", " + value
        else:
            fields[name] = value

    def parse(self, raw: bytes, peer: str) -> Head:
        """Read one header section, from the request line up to and including the empty line.

        Raises:
            MalformedHttp: with the status to answer; the connection is of no use afterwards.
        """
        text = raw[: raw.find(b"\r\n")]
        line = self._lines.get(text)
        if line is None:
            line = self._remember(text)
        fields: dict[bytes, bytes] = {}
        self._fields = fields
        self._repeats = 0
        try:
            httptools.HttpRequestParser(self).feed_data(raw)
        except httptools.HttpParserUpgrade:
            pass  # An upgrade is an offer; it is declined by answering in HTTP/1.1.
        except httptools.HttpParserError as error:
            raise MalformedHttp(f"The header section is not valid HTTP: {error}") from None
        if self._repeats >= _REPEATS:
            raise MalformedHttp("A header field came more often than it may.")
        if b" \r\n" in raw or b"\t\r\n" in raw:
            for name, value in fields.items():
                fields[name] = value.strip(b" \t")
        http10 = line.http10
        host = fields.get(b"host")
        if host is None:
            if not http10:
                raise MalformedHttp("The Host header field is missing.")
        elif host.translate(None, _HOST):
            raise MalformedHttp("The Host header field is not a host.")
        if line.authority is not None:
            fields[b"host"] = line.authority
        connection = fields.get(b"connection")
        return Head(
            method=line.method,
            target=line.target,
            path=line.path,
            query=line.query,
            headers=fields,
            http10=http10,
            peer=peer,
            keep_alive=not http10 if connection is None else _keeps(connection, http10),
            content_length=_length(fields, http10),
            expects_continue=b"expect" in fields
            and not http10
            and fields[b"expect"].lower() == b"100-continue",
        )

    def check_line(self, text: bytes) -> None:
        """Check a request line whose header section has not ended yet.

        Raises:
            MalformedHttp: when `parse` would refuse it.
        """
        if text not in self._lines:
            self._remember(text)

    def _remember(self, text: bytes) -> _Line:
        line = _request_line(text)
        if len(text) < 256:
            if len(self._lines) >= _LINES_CACHED:
                self._lines.clear()
            self._lines[text] = line
        return line


class HeadMemo:
    """Recognises a connection's next head by its last one.

    The heads that one client sends on a connection mostly differ in nothing
    but the digits of Content-Length. Such a head has been checked already,
    every byte of it but those digits.
    """

    __slots__ = ("_after", "_before", "_head", "_misses", "_raw")

    def __init__(self) -> None:
        self._raw = b""
        self._head: Head | None = None
        self._before = b""
        self._after = b""
        self._misses = 0

    def recall(self, raw: bytes) -> Head | None:
        """The head that `raw` holds; None when it has to be parsed."""
        head = self._head
        if raw == self._raw:
            return head
        before, after = self._before, self._after
        if head is None or not before or not (raw.startswith(before) and raw.endswith(after)):
            return None
        digits = raw[len(before) : len(raw) - len(after)]
        if not digits.isdigit() or len(digits) > _LONGEST_LENGTH:
            return None
        headers = head.headers.copy()
        headers[b"content-length"] = digits
        return Head(
            method=head.method,
            target=head.target,
            path=head.path,
            query=head.query,
            headers=headers,
            http10=head.http10,
            peer=head.peer,
            keep_alive=head.keep_alive,
            content_length=int(digits),
            expects_continue=head.expects_continue,
            notes=head.notes,
        )

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a head that was parsed. A client that varies its heads is soon left alone."""
        self._misses += 1
        if self._misses > _MISSES:
            self._head = None
            self._raw = self._before = b""
            return
        self._raw = raw
        self._head = head
        length = _LENGTH_LINE.search(raw) if head.content_length > 0 else None
        if length is None:
            self._before = b""
        else:
            self._before, self._after = raw[: length.start(1)], raw[length.end(1) :]


class HeadBuffer:
    """Gathers a header section that arrives in pieces, and notices before its end that it will not be one.

    Without the second part a TLS greeting, or lines that end in LF alone, would
    hold the connection until its time is up.
    """

    __slots__ = ("_limit", "_llhttp", "_parser", "_scanned", "_started", "held")

    def __init__(self, parser: HeadParser, limit_bytes: int) -> None:
        self._parser = parser
        self._limit = limit_bytes
        self._llhttp: httptools.HttpRequestParser | None = None
        self._scanned = 0
        self._started = False
        self.held = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        """Add a piece. Return everything gathered once it holds a whole section, else None.

        Raises:
            MalformedHttp: no section can start like this.
            HeadersTooLarge: the section is longer than the limit.
        """
        held = self.held
        held += data
        if not self._started:
            # Empty lines before a request are tolerated (RFC 9112, 2.2); its time runs all the same.
            while held.startswith(b"\r\n"):
                del held[:2]
            if not held or held == b"\r":
                return None
            if held[0] == 0x0D:
                raise MalformedHttp("The request line is not valid HTTP.")
            self._started = True
        if held.find(b"\r\n\r\n", max(0, self._scanned - 3)) >= 0:
            return bytes(held)
        if len(held) > self._limit:
            raise HeadersTooLarge
        if self._llhttp is not None:
            self._probe(data)
        else:
            self._check_start()
        # A CR at the end is looked at again, together with what follows it.
        self._scanned = len(held) - (held[-1] == 0x0D)
        return None

    def _check_start(self) -> None:
        held, scanned = self.held, self._scanned
        end = held.find(b"\r\n", max(0, scanned - 1))
        fresh = held[scanned : end if end >= 0 else len(held)]
        if end < 0 and fresh[-1:] == b"\r":
            del fresh[-1]
        if fresh.translate(None, _VISIBLE + b" "):
            raise MalformedHttp("The request line is not valid HTTP.")
        if end >= 0:
            self._parser.check_line(bytes(held[:end]))
            self._llhttp = httptools.HttpRequestParser(None)
            self._probe(bytes(held))

    def _probe(self, data: bytes) -> None:
        assert self._llhttp is not None
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserError as error:
            raise MalformedHttp(f"The header section is not valid HTTP: {error}") from None


def skip_empty_lines(data: bytes) -> bytes:
    """Leave out the empty lines before a request (RFC 9112, 2.2)."""
    at = 0
    while data.startswith(b"\r\n", at):
        at += 2
    return data[at:]


def _request_line(text: bytes) -> _Line:
    parts = text.split(b" ")
    if len(parts) != 3 or text.translate(None, _VISIBLE + b" "):
        raise MalformedHttp("The request line is not valid HTTP.")
    method, target, version = parts
    if not method or method.translate(None, _TOKEN):
        raise MalformedHttp("The request method is not valid.")
    http10 = _VERSIONS.get(version)
    if http10 is None:
        if len(version) == 8 and version.startswith(b"HTTP/") and version[5:6].isdigit():
            raise HttpVersionUnsupported
        raise MalformedHttp("The HTTP version is not valid.")
    name = _METHODS.get(method)
    if name is None:
        raise HttpMethodUnknown
    if not target or target.translate(None, _TARGET):
        raise MalformedHttp("The request target is not valid.")
    authority: bytes | None = None
    local = target
    if target[:1] != b"/":
        authority, local = _absolute(target, name)
    path, _, query = local.decode("ascii").partition("?")
    return _Line(
        method=name,
        target=target.decode("ascii"),
        path=path,
        query=query,
        http10=http10,
        authority=authority,
    )


def _absolute(target: bytes, method: str) -> tuple[bytes | None, bytes]:
    """Split a target that does not start with a slash into its authority and the rest."""
    if target == b"*":
        if method != "OPTIONS":
            raise MalformedHttp("The target * is for OPTIONS alone.")
        return None, target
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise MalformedHttp("The request target is neither a path nor an http URL.")
    cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority, local = rest[:cut], rest[cut:]
    if not authority or authority.translate(None, _HOST):
        raise MalformedHttp("The request target has no valid host.")
    if not local and method == "OPTIONS":
        return authority, b"*"
    return authority, local if local[:1] == b"/" else b"/" + local


def _keeps(connection: bytes, http10: bool) -> bool:
    """Read the Connection field: does the client want the connection kept?"""
    if connection == b"keep-alive":
        return True
    options = [option.strip(b" \t") for option in connection.lower().split(b",")]
    if b"close" in options:
        return False
    return not http10 or b"keep-alive" in options


def _length(fields: dict[bytes, bytes], http10: bool) -> int:
    """Return the length of the body that these fields announce.

    llhttp refuses some of these shapes too; they are checked again because one
    that slips through is a way to smuggle a request past another server.
    """
    length = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise MalformedHttp("Both Content-Length and Transfer-Encoding are present.")
        if http10:
            raise MalformedHttp("HTTP/1.0 has no Transfer-Encoding.")
        if coding.lower() != b"chunked":
            raise MalformedHttp("The only transfer coding accepted is chunked.")
        return CHUNKED
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _LONGEST_LENGTH:
        raise MalformedHttp("Content-Length is not a number.")
    return int(length)
