"""HTTP proxies: when one applies, and what is said to it.

Pure: environment variables and bytes are handed in. A proxy's credential is
never part of an error.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from fairlead.errors import ConfigError, UpstreamUnreachable
from fairlead.net.origin import Origin, address_label
from fairlead.types import Headers

MAX_REPLY_BYTES: Final = 16_384
"""Longest answer to CONNECT that is read."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP proxy."""

    host: str
    port: int
    authorization: bytes | None = None
    """Value of the `proxy-authorization` header."""

    @property
    def label(self) -> str:
        return address_label(self.host, self.port)

    def __repr__(self) -> str:
        return f"Proxy({self.label})"


def parse_proxy(url: str) -> Proxy:
    """Parse `http://user:password@host:port`; the scheme may be left out.

    Raises:
        ConfigError: it is not the URL of an HTTP proxy. The message does not quote it.
    """
    parts = _split(url if "://" in url else f"http://{url}")
    if parts is None or not parts.hostname:
        raise ConfigError("the proxy is not a valid URL", hint="write it as http://host:port")
    if parts.scheme != "http":
        raise ConfigError(
            f"a proxy of the kind {parts.scheme}:// is not supported", hint="write it as http://host:port"
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode())
    return Proxy(host=parts.hostname, port=parts.port or 80, authorization=authorization)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is no number
    except ValueError:
        return None
    return parts


def absolute_form(origin: Origin) -> tuple[str, Headers]:
    """What a plain `http` request through a proxy needs: a prefix of its path, and headers.

    Both are empty without a proxy, and for `https`, where a tunnel hides the
    request from the proxy.
    """
    if origin.proxy is None or origin.scheme != "http":
        return "", []
    proxy = parse_proxy(origin.proxy)
    headers = [(b"proxy-authorization", proxy.authorization)] if proxy.authorization else []
    return f"http://{origin.authority}", headers


def connect_request(proxy: Proxy, host: str, port: int) -> bytes:
    """Build the request that asks for a tunnel."""
    authority = address_label(host, port).encode("ascii", "replace")
    lines = [b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n" % (authority, authority)]
    if proxy.authorization is not None:
        lines.append(b"proxy-authorization: %b\r\n" % proxy.authorization)
    return b"".join([*lines, b"\r\n"])


def tunnel_open(proxy: Proxy, label: str, reply: bytes) -> bool:
    """Whether the proxy's reply, as far as it has come, opens the tunnel; False while it is incomplete.

    Raises:
        UpstreamUnreachable: the proxy refused, or does not speak HTTP.
    """
    end = reply.find(b"\r\n\r\n")
    if end < 0:
        if len(reply) > MAX_REPLY_BYTES:
            raise UpstreamUnreachable(f"proxy {proxy.label} sent more than an answer to CONNECT")
        return False
    found = _STATUS_LINE.match(reply)
    if found is None:
        raise UpstreamUnreachable(f"proxy {proxy.label} does not answer in HTTP")
    status = int(found[1])
    if status == 407:
        raise UpstreamUnreachable(
            f"proxy {proxy.label} does not accept the credentials (status 407)",
            hint="give them in the proxy's URL: http://user:password@host:port",
        )
    if not 200 <= status < 300:
        raise UpstreamUnreachable(f"proxy {proxy.label} refused a tunnel to {label} (status {status})")
    if len(reply) > end + 4:
        # The upstream waits for our first byte, so this is not from it; inside TLS it would be a forgery.
        raise UpstreamUnreachable(f"proxy {proxy.label} sent bytes of its own into the tunnel to {label}")
    return True


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """The proxy that the environment prescribes for an upstream, or None.

    `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` count in lower
    case first, then in upper case; an empty one means none. `HTTP_PROXY` in
    upper case is ignored under CGI, where a client's `Proxy:` header would
    set it. Loopback addresses are never proxied.

    Entries of `no_proxy` are separated by commas or spaces: `*`, a domain
    (matches its subdomains too, with or without a leading dot), an IP
    address, a network in CIDR notation; each may end in `:port`.
    """
    if _is_loopback(host):
        return None
    name = f"{scheme}_proxy"
    url = environ.get(name)
    if url is None and not (scheme == "http" and "REQUEST_METHOD" in environ):
        url = environ.get(name.upper())
    if url is None:
        url = environ.get("all_proxy", environ.get("ALL_PROXY", ""))
    if not url or _is_exempt(host, port, environ.get("no_proxy", environ.get("NO_PROXY", ""))):
        return None
    return url


def _is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    address = _ip(name)
    if address is not None:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    name = host.rstrip(".").lower()
    address = _ip(name)
    for entry in re.split(r"[,\s]+", no_proxy.lower()):
        pattern, wanted_port = _entry(entry)
        if not pattern or (wanted_port is not None and wanted_port != port):
            continue
        if pattern == "*":
            return True
        network = _network(pattern)
        if address is not None:
            if network is not None and address in network:
                return True
        elif network is None:
            domain = pattern.removeprefix("*").lstrip(".").rstrip(".")
            if domain and (name == domain or name.endswith("." + domain)):
                return True
    return False


def _entry(entry: str) -> tuple[str, int | None]:
    """Split `pattern:port`; an IPv6 address needs brackets for a port."""
    bracketed = re.fullmatch(r"\[([^]]*)\](?::(\d+))?", entry)
    if bracketed is not None:
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    pattern, colon, port = entry.rpartition(":")
    if colon and ":" not in pattern and port.isdecimal():
        return pattern, int(port)
    return entry, None


def _ip(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return None
