"""The offline recipient: a public key here, its private key in a safe.

The construction is HPKE (RFC 9180) in base mode with DHKEM(X25519,
HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, as `cryptography` implements it; the
canonical context is the `info`, so a key opens under the context it was wrapped
for and no other. Keys are PEM files that other tools make and read as well:

    openssl genpkey -algorithm X25519 -aes256 -out recovery.key
    openssl pkey -in recovery.key -pubout -out recovery.pub

Whoever has the public key can wrap a key of his own, so opening with this
recipient does not say who sealed a version: verify its manifest's signature.
"""

from __future__ import annotations

import hashlib
from typing import Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fairlead.errors import ConfigError, KeyRefused
from fairlead.vault.keys.port import (
    Context,
    Wrapped,
    answered_key,
    canonical,
    checked_key,
    foreign_key,
    refused_context,
)

SERVICE: Final = "recovery"
"""What a recovery recipient is called in an envelope. No configured service may have this name."""
_DOMAIN: Final = b"fairlead.dev/vault/recovery/v1\0"


class Recipient:
    """A recovery key's public half: wraps only."""

    def __init__(self, public: X25519PublicKey) -> None:
        """Wrap for this key."""
        self._public = public
        self.key_id = key_id(public)

    @classmethod
    def from_pem(cls, pem: bytes) -> Recipient:
        """Read `-----BEGIN PUBLIC KEY-----`.

        Raises:
            ConfigError: it is no X25519 public key.
        """
        try:
            public = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm):
            public = None
        if not isinstance(public, X25519PublicKey):
            raise ConfigError(
                "a recovery recipient is an X25519 public key in PEM",
                hint="openssl pkey -in recovery.key -pubout -out recovery.pub",
            )
        return cls(public)

    def wrap(self, key: bytes, context: Context) -> Wrapped:
        """Wrap a key for whoever has the private half."""
        blob = _suite().encrypt(checked_key(key), self._public, _info(context))
        return Wrapped(service=SERVICE, key_id=self.key_id, version="1", blob=blob)


class Identity:
    """A recovery key's private half: unwraps only. Never prints it."""

    def __init__(self, private: X25519PrivateKey) -> None:
        """Unwrap with this key."""
        self._private = private
        self.key_id = key_id(private.public_key())

    def __repr__(self) -> str:
        return f"Identity({self.key_id})"

    @classmethod
    def from_pem(cls, pem: bytes, passphrase: str | None = None) -> Identity:
        """Read `-----BEGIN PRIVATE KEY-----`, or an encrypted one with its passphrase.

        Raises:
            KeyRefused: it is no X25519 private key, or the passphrase is another.
        """
        password = None if passphrase is None else passphrase.encode()
        try:
            private = serialization.load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, X25519PrivateKey):
            raise KeyRefused(
                "the recovery key cannot be read: it is no X25519 key, or needs another passphrase"
            )
        return cls(private)

    def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """Give the key back.

        Raises:
            KeyRefused: it was wrapped for another key or another context, or was changed.
        """
        if wrapped.key_id != self.key_id:
            raise foreign_key(SERVICE)
        try:
            key = _suite().decrypt(wrapped.blob, self._private, _info(context))
        except (InvalidTag, ValueError):
            raise refused_context(SERVICE) from None
        return answered_key(key, SERVICE)


def key_id(public: X25519PublicKey) -> str:
    """A name for a recovery key, which says nothing else about it."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "x25519-" + hashlib.sha256(der).hexdigest()[:32]


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _info(context: Context) -> bytes:
    return _DOMAIN + canonical(context)
