"""Where an upstream is and how it is reached.

An `Origin` is the key of everything the client keeps per upstream: its pool,
its limits, its TLS context. Two providers with equal origins share them.
"""

from __future__ import annotations

import msgspec

from fairlead.config import UpstreamTls

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Origin(msgspec.Struct, frozen=True, kw_only=True, cache_hash=True):
    """One upstream: where, how, and how many connections at most.

    Build it once and keep it: its hash is computed once per instance.
    """

    scheme: str
    """`http` or `https`."""
    host: str
    """A name or an IP address, IPv6 without brackets."""
    port: int
    tls: UpstreamTls | None = None
    proxy: str | None = None
    """An HTTP proxy as `http://user:password@host:port`."""
    connect_timeout_s: float = 5.0
    """Bounds name, TCP, proxy and TLS together."""
    max_connections: int = 1000
    idle_timeout_s: float = 60.0

    @property
    def label(self) -> str:
        """`host:port`, for messages; never holds a credential."""
        return address_label(self.host, self.port)

    @property
    def authority(self) -> str:
        """What belongs in the `host` header: the port only when it is not the scheme's own."""
        if self.port == _DEFAULT_PORTS.get(self.scheme):
            return f"[{self.host}]" if ":" in self.host else self.host
        return self.label


def address_label(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
