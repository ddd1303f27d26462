"""What the types of the section `telemetry.otel` cannot say. Pure, as `rules` is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from fairlead.config import secrets
from fairlead.config.fault import Fault, Path
from fairlead.config.kinds import Secret
from fairlead.config.otel_options import Otel

_PATH: Final[Path] = ("telemetry", "otel")
_ATTRIBUTE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,254}\Z")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_OWN_HEADERS: Final = frozenset(
    {"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection"}
)
_SECRET_HEADER: Final = re.compile(r"(^|[-_])(api-?key|key|token|secret|password|authorization|cookie)\Z")
_OWN_ATTRIBUTES: Final = {
    "service.name": "use `service_name`",
    "service.instance.id": "each worker has its own",
    "service.version": "it is the gateway's",
}


def faults(otel: Otel | None, url_fault: Callable[[str], str | None]) -> list[Fault]:
    """Every broken rule of the section; `url_fault` says why a text is no URL."""
    if otel is None:
        return []
    return [*_address(otel, url_fault), *_headers(otel), *_resource(otel), *_redaction(otel)]


def _address(otel: Otel, url_fault: Callable[[str], str | None]) -> Iterator[Fault]:
    where = (*_PATH, "endpoint")
    if wrong := url_fault(otel.endpoint):
        yield Fault(where, wrong.replace("; use `api_key`", "; use `headers`"))
    elif otel.endpoint.rstrip("/").endswith(("/v1/traces", "/v1/metrics", "/v1/logs")):
        yield Fault(where, "the path of one signal does not fit the others", "leave out `/v1/...`")
    elif urlsplit(otel.endpoint).port == 4317:
        yield Fault(where, "4317 is the port for gRPC, which is not spoken here", "OTLP/HTTP is usually 4318")
    if otel.proxy is not None and otel.proxy != "none" and (wrong := url_fault(otel.proxy)):
        hint = "put a proxy with credentials in the HTTPS_PROXY variable; `none` disables proxies"
        yield Fault((*_PATH, "proxy"), wrong.replace("; use `api_key`", ""), hint)
    if otel.tls is not None and (otel.tls.cert is None) != (otel.tls.key is None):
        missing = "key" if otel.tls.key is None else "cert"
        yield Fault((*_PATH, "tls"), f"`cert` and `key` go together; `{missing}` is missing")


def _headers(otel: Otel) -> Iterator[Fault]:
    seen: set[str] = set()
    for header, value in otel.headers.items():
        lower = header.lower()
        where = (*_PATH, "headers", header)
        if not _HEADER_NAME.match(header):
            yield Fault(where, "not a header name")
        elif lower in _OWN_HEADERS:
            yield Fault(where, "this header is the gateway's own and cannot be set")
        elif lower in seen:
            yield Fault(where, "this header is given twice, in different letter case")
        elif isinstance(value, Secret):
            if wrong := secrets.fault(value.reference):
                yield Fault(where, *wrong)
        elif _SECRET_HEADER.search(lower):
            hint = "write `env:NAME` or `file:PATH`; the whole header value belongs in the variable or file"
            yield Fault(where, "a literal secret must not stand in the file", hint)
        elif not value.isprintable() or not value.isascii() or value != value.strip():
            yield Fault(where, "a header's value is printable ASCII without spaces around it")
        seen.add(lower)


def _resource(otel: Otel) -> Iterator[Fault]:
    for name in otel.resource:
        where = (*_PATH, "resource", name)
        if not _ATTRIBUTE.match(name):
            yield Fault(where, "an attribute's name is letters, digits, `.`, `_` and `-`, at most 255")
        elif name in _OWN_ATTRIBUTES:
            yield Fault(where, "this attribute cannot be set here", _OWN_ATTRIBUTES[name])


def _redaction(otel: Otel) -> Iterator[Fault]:
    if otel.redact and otel.content != "redacted":
        yield Fault((*_PATH, "redact"), "has no effect without `content: redacted`")
    if otel.content != "none" and not otel.traces.enabled:
        yield Fault((*_PATH, "content"), "has no effect without `traces`")
    for index, rule in enumerate(otel.redact):
        where = (*_PATH, "redact", index, "pattern")
        try:
            everywhere = re.compile(rule.pattern).match("") is not None
        except re.error as error:
            yield Fault(where, f"not a regular expression: {error.msg}")
            continue
        if everywhere:
            yield Fault(where, "matches the empty text, and so everywhere")
