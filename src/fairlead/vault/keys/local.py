"""Keys in a file of this machine: the default, which needs no other service.

A data key is wrapped with AES-256-GCM under the file's newest key; key id,
version and the context are authenticated with it. The file is looked at before
each use and read again when it has changed, so that a rotation, or a version
that was disabled, holds at once for every process. File and passphrase are
handled in threads: scrypt alone takes half a second.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fairlead.errors import KeyRefused
from fairlead.vault.keys.keyfile import KeyFile, Keys
from fairlead.vault.keys.port import (
    Context,
    Description,
    Wrapped,
    answered_key,
    canonical,
    checked_key,
    foreign_key,
    new_key,
    refused_context,
)
from fairlead.vault.keys.tokens import resolved

_DOMAIN: Final = b"fairlead.dev/vault/local/v1\0"
_NONCE_BYTES: Final = 12
_Read = tuple[tuple[int, ...], Keys]
"""The file's stamp, from before it was read, and what it held."""


class LocalKeys:
    """A key service on a key file."""

    def __init__(
        self, name: str, open_file: Callable[[], KeyFile], *, now: Callable[[], float] = time.time
    ) -> None:
        """Use a key file.

        Args:
            name: the service's name.
            open_file: names the file with its passphrase; called in a thread, may raise ConfigError.
            now: Unix seconds, for new versions.
        """
        self.name = name
        self._open_file = open_file
        self._now = now
        self._read_at: _Read | None = None
        self._reading = asyncio.Lock()

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        key = new_key()
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        facts = canonical(context)
        keys = await self._read()
        current = keys.current()
        version = str(current.version)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        aad = _associated(keys.id, version, facts)
        blob = nonce + AESGCM(current.key).encrypt(nonce, checked_key(key), aad)
        return Wrapped(service=self.name, key_id=keys.id, version=version, blob=blob)

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        facts = canonical(context)
        keys = await self._read()
        if keys.id != wrapped.key_id:
            raise foreign_key(self.name)
        material = keys.find(wrapped.version)
        if material is None:
            raise refused_context(self.name)
        if not material.enabled:
            raise KeyRefused(f"{self.name}: version {wrapped.version} of the key is disabled")
        nonce, sealed = wrapped.blob[:_NONCE_BYTES], wrapped.blob[_NONCE_BYTES:]
        try:
            key = AESGCM(material.key).decrypt(nonce, sealed, _associated(keys.id, wrapped.version, facts))
        except (InvalidTag, ValueError):
            raise refused_context(self.name) from None
        return answered_key(key, self.name)

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return await self.wrap(await self.unwrap(wrapped, context), context)

    async def describe(self) -> Description:
        keys = await self._read()
        return Description(
            service=self.name, kind="local", key_id=keys.id, version=str(keys.current().version)
        )

    async def create(self) -> str:
        """Make the key file; returns the key's id.

        Raises:
            Conflict: there is a file already; it was not touched.
            UsageError: the passphrase is too short.
        """
        return (await asyncio.to_thread(lambda: self._file().create(self._stamp()))).id

    async def rotate(self) -> str:
        """Add a version to the file; older ones still unwrap."""
        changed = await asyncio.to_thread(lambda: self._file().rotate(self._stamp()))
        return str(changed.current().version)

    async def disable(self, version: int) -> None:
        """Let an older version unwrap nothing any more; rewrap what it has wrapped before.

        Raises:
            UsageError: it is the current version, or there is none of this number.
        """
        await asyncio.to_thread(lambda: self._file().disable(version))

    async def _read(self) -> Keys:
        async with self._reading:
            # What cannot be read any more is used no longer either.
            read, self._read_at = self._read_at, None
            self._read_at = await asyncio.to_thread(self._look, read)
            return self._read_at[1]

    def _look(self, read: _Read | None) -> _Read:
        file = self._file()
        stamp = file.stamp()
        return read if read is not None and read[0] == stamp else (stamp, file.read())

    def _file(self) -> KeyFile:
        return resolved(self.name, self._open_file)

    def _stamp(self) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))


def _associated(key_id: str, version: str, facts: bytes) -> bytes:
    head = f"{len(key_id)}:{key_id}{len(version)}:{version}".encode()
    return _DOMAIN + head + facts
