"""What is posted to a receiver, and what a receiver's renderer is given."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver with its secrets resolved. Never logged."""

    url: str
    hmac_key: str = ""
    token: str = ""
    routing_key: str = ""
    resend_s: float = 60.0
    """How often what fires is sent again, for receivers that forget."""

    def __repr__(self) -> str:
        return "Settings(...)"


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One POST of JSON."""

    url: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __repr__(self) -> str:
        return f"Post({len(self.body)} bytes)"


def bearer(token: str) -> tuple[tuple[bytes, bytes], ...]:
    """The header that carries a token; none without one."""
    return ((b"authorization", b"Bearer " + token.encode()),) if token else ()
