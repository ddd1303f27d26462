"""Short signed grants: this principal may, until then, have this version for this purpose.

    flg1.BASE64URL(claims).BASE64URL(signature)

Claims are canonical JSON; the signature is Ed25519 over a prefix and their
bytes, so that it can pass for nothing else that is signed. A grant is bound to
the reference and the model digest, so that it opens neither another version
nor other contents under the same name. It is no bearer's secret by itself: who
shows it must be the principal it names, authenticated anew.

Checking is strict: one spelling, known fields, a known key, bounded length and
life, clocks at most `skew_s` apart. Everything wrong with a grant is the same
`GrantRefused`; its `reason` tells the audit which. Pure, the signature apart.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Collection, Mapping
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Meta

from fairlead.config.vault_policy_options import AccessPurpose
from fairlead.errors import GrantRefused
from fairlead.vault.ref import Ref

PREFIX: Final = "flg1"
DOMAIN: Final = b"fairlead.dev/vault/grant/v1\n"
MAX_GRANT_CHARS: Final = 4096
MAX_LIFE_S: Final = 3600

_Text = Annotated[str, Meta(min_length=1, max_length=768)]
_Seconds = Annotated[int, Meta(ge=0, lt=1 << 40)]


class Claims(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a grant says."""

    id: _Text
    key_id: _Text
    principal: _Text
    ref: _Text
    digest: _Text
    purpose: AccessPurpose
    issued_at: _Seconds
    expires_at: _Seconds
    """Unix seconds."""
    size_bytes: Annotated[int, Meta(ge=0, lt=1 << 53)]
    """Plaintext that was reserved of the principal's budget."""


class GrantSigner:
    """Makes grants with one key."""

    __slots__ = ("_key", "key_id", "public_key")

    def __init__(self, private_key: bytes) -> None:
        """`private_key` is the 32 bytes of an Ed25519 seed."""
        self._key = Ed25519PrivateKey.from_private_bytes(private_key)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    def __repr__(self) -> str:
        return f"GrantSigner({self.key_id})"

    def sign(self, claims: Claims) -> str:
        """The grant of these claims; ValueError when they name another key or live too long."""
        if claims.key_id != self.key_id or not 0 < claims.expires_at - claims.issued_at <= MAX_LIFE_S:
            raise ValueError("these claims are not for this key, or live longer than a grant may")
        payload = canonical(claims)
        return ".".join((PREFIX, _encode(payload), _encode(self._key.sign(DOMAIN + payload))))


class GrantKeys:
    """Public keys of those whose grants count."""

    __slots__ = ("_keys",)

    def __init__(self, public_keys: Collection[bytes]) -> None:
        self._keys: Mapping[str, Ed25519PublicKey] = {
            key_id(raw): Ed25519PublicKey.from_public_bytes(raw) for raw in public_keys
        }

    def read(self, grant: str) -> Claims:
        """The claims of a grant that one of the keys signed. Their time and subject are not looked at.

        Raises:
            GrantRefused: it is none.
        """
        if len(grant) > MAX_GRANT_CHARS or not grant.isascii():
            raise GrantRefused("form")
        parts = grant.split(".")
        if len(parts) != 3 or parts[0] != PREFIX:
            raise GrantRefused("form")
        payload, signature = _decode(parts[1]), _decode(parts[2])
        try:
            claims = msgspec.json.decode(payload, type=Claims)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise GrantRefused("form") from None
        key = self._keys.get(claims.key_id)
        if key is None:
            raise GrantRefused("unknown key")
        try:
            key.verify(signature, DOMAIN + payload)
        except InvalidSignature:
            raise GrantRefused("signature") from None
        if canonical(claims) != payload:
            raise GrantRefused("form")
        return claims

    def check(
        self,
        grant: str,
        *,
        principal: str,
        ref: Ref,
        digest: str,
        purpose: AccessPurpose,
        now: float,
        skew_s: float = 5.0,
        revoked: Collection[str] = (),
    ) -> Claims:
        """The claims of a grant that opens exactly this, now.

        Args:
            grant: as it was sent.
            principal: who was authenticated with this very request.
            ref: what is asked for.
            digest: the model digest of what lies there.
            purpose: what for.
            now: Unix seconds.
            skew_s: how far clocks may differ.
            revoked: ids of grants that were taken back.

        Raises:
            GrantRefused: it does not.
        """
        claims = self.read(grant)
        # All are compared, in constant time, before one answer is given.
        right = [
            _same(claims.principal, principal),
            _same(claims.ref, str(ref)),
            _same(claims.digest, digest),
            _same(claims.purpose, purpose),
        ]
        if not all(right):
            names = ("principal", "reference", "digest", "purpose")
            raise GrantRefused("another " + names[right.index(False)])
        life = claims.expires_at - claims.issued_at
        if not 0 < life <= MAX_LIFE_S or now < claims.issued_at - skew_s:
            raise GrantRefused("not valid yet" if now < claims.issued_at - skew_s else "life")
        if now >= claims.expires_at + skew_s:
            raise GrantRefused("expired")
        if claims.id in revoked:
            raise GrantRefused("revoked")
        return claims


def key_id(public_key: bytes) -> str:
    """The name of a public key: the beginning of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def canonical(claims: Claims) -> bytes:
    """The one spelling of claims: JSON, sorted, without spaces, ASCII."""
    return json.dumps(msgspec.to_builtins(claims), sort_keys=True, separators=(",", ":")).encode()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise GrantRefused("form") from None
    if _encode(raw) != text:
        raise GrantRefused("form")
    return raw
