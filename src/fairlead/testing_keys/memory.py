"""A key service in memory that can be told to fail."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.errors import KeyRefused, KeyServiceUnavailable
from fairlead.vault.keys.port import (
    Context,
    Description,
    Wrapped,
    canonical,
    checked_key,
    foreign_key,
    new_key,
    refused_context,
)


class FakeKeyService:
    """Wraps for real, with AES-256-GCM, under keys that it makes."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.key_id = f"{name}-{secrets.token_hex(4)}"
        self.versions = [AESGCM.generate_key(256)]
        self.down = False
        """Answers nothing."""
        self.denies = False
        """Refuses everything."""
        self.disabled: set[str] = set()
        """Versions that unwrap nothing."""
        self.answers: bytes | None = None
        """Unwraps everything that opens to this instead."""
        self.calls: list[str] = []
        """Operations, in order."""

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        key = new_key()
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        self._begin("wrap")
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self.versions[-1]).encrypt(nonce, checked_key(key), canonical(context))
        version = str(len(self.versions))
        return Wrapped(service=self.name, key_id=self.key_id, version=version, blob=nonce + sealed)

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        self._begin("unwrap")
        facts = canonical(context)
        if wrapped.key_id != self.key_id:
            raise foreign_key(self.name)
        if wrapped.version in self.disabled:
            raise KeyRefused(f"{self.name}: version {wrapped.version} of the key is disabled")
        try:
            kek = self.versions[int(wrapped.version) - 1]
            key = AESGCM(kek).decrypt(wrapped.blob[:12], wrapped.blob[12:], facts)
        except (InvalidTag, ValueError, IndexError):
            raise refused_context(self.name) from None
        return key if self.answers is None else self.answers

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return await self.wrap(await self.unwrap(wrapped, context), context)

    async def describe(self) -> Description:
        self._begin("describe")
        version = str(len(self.versions))
        return Description(service=self.name, kind="fake", key_id=self.key_id, version=version)

    async def rotate(self) -> str:
        """Add a version."""
        self._begin("rotate")
        self.versions.append(AESGCM.generate_key(256))
        return str(len(self.versions))

    def _begin(self, operation: str) -> None:
        self.calls.append(operation)
        if self.down:
            raise KeyServiceUnavailable(f"{self.name}: the key service cannot be asked")
        if self.denies:
            raise KeyRefused(f"{self.name}: the key service refused")
