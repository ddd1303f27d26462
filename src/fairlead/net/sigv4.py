"""AWS Signature Version 4 as a function of its inputs.

The whole algorithm for requests whose body is in memory: canonical request,
string to sign, derived key, `authorization` header. Nothing here reads a
clock, an environment or a credentials file.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote, unquote_to_bytes

import msgspec

Header = tuple[bytes, bytes]

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = frozenset({b"authorization", b"connection", b"user-agent", b"x-amzn-trace-id", b"expect"})
"""Fields that anybody on the way may change."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Long-lived or temporary AWS credentials. Never prints its secrets."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key_id={self.access_key_id[:4]}...)"

    __str__ = __repr__


def sign(
    *,
    method: str,
    host: str,
    target: str,
    headers: tuple[Header, ...],
    body: bytes,
    credentials: Credentials,
    region: str,
    service: str,
    now: float,
) -> tuple[Header, ...]:
    """The headers to send: those given, `x-amz-date`, perhaps `x-amz-security-token`, `authorization`.

    Args:
        method: the HTTP method.
        host: as in the `host` field, which is signed but not returned.
        target: the path as it stands in the request line, percent-encoded, with its query.
        headers: more fields, names in lower case; all are signed but those that proxies change.
        body: the whole body.
        credentials: whose signature it is.
        region: AWS region.
        service: the signing name, `bedrock` for Bedrock's runtime.
        now: Unix seconds.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    sent = [*headers, (b"x-amz-date", stamp.encode())]
    if credentials.session_token is not None:
        sent.append((b"x-amz-security-token", credentials.session_token.encode()))
    signed = {name: b" ".join(value.split()) for name, value in sent if name not in _UNSIGNED}
    signed[b"host"] = host.encode()
    names = b";".join(sorted(signed)).decode()
    request = _canonical_request(method, target, signed, names, hashlib.sha256(body).hexdigest())
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(request).hexdigest()}"
    key = signing_key(credentials.secret_access_key, stamp[:8], region, service)
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    value = (
        f"{_ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return (*sent, (b"authorization", value.encode()))


def signing_key(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    """The key of one day (`YYYYMMDD`), region and service."""
    key = ("AWS4" + secret_access_key).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _canonical_request(
    method: str, target: str, signed: dict[bytes, bytes], names: str, body_sha256: str
) -> bytes:
    path, _, query = target.partition("?")
    fields = b"".join(name + b":" + signed[name] + b"\n" for name in sorted(signed))
    head = f"{method}\n{_canonical_path(path)}\n{_canonical_query(query)}\n".encode()
    return head + fields + f"\n{names}\n{body_sha256}".encode()


def _canonical_path(path: str) -> str:
    """The path encoded once more: services other than S3 sign what is on the wire, encoded again."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if segments:
                segments.pop()
        elif segment not in ("", "."):
            segments.append(segment)
    slash = "/" if segments and path.endswith("/") else ""
    return quote("/" + "/".join(segments) + slash, safe="/~")


def _canonical_query(query: str) -> str:
    """Parameters encoded the strict way and sorted."""
    pairs: list[tuple[str, str]] = []
    for item in query.split("&"):
        if item:
            name, _, value = item.partition("=")
            pairs.append((_strict(name), _strict(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _strict(text: str) -> str:
    return quote(unquote_to_bytes(text), safe="~")
