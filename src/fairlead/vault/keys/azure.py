"""Azure Key Vault: wrapKey and unwrapKey with RSA-OAEP-256.

RSA takes no associated data, so the context's digest is wrapped together with
the key (`port.bind`) and compared after unwrapping. Two things follow that the
other services do not have: another context is noticed here and not in the
service, and whoever has the public key can wrap a key of his own under any
context; that a version is the publisher's own is for its manifest's signature
to say.

Key Vault has no call that re-wraps, so a rewrap is an unwrap and a wrap.
"""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable, Tampered
from fairlead.vault.keys.http import Answer, Post, Wire, decoded
from fairlead.vault.keys.port import (
    Context,
    Description,
    Wrapped,
    bind,
    foreign_key,
    new_key,
    refused_context,
    unbind,
)
from fairlead.vault.keys.tokens import Bearer

NAME: Final = re.compile(r"[A-Za-z0-9-]{1,127}")
_API: Final = "?api-version=7.4"
_ALGORITHM: Final = "RSA-OAEP-256"
_VERSION: Final = re.compile(r"[0-9a-f]{32}")
_HINTS: Final = {
    401: "the token is not valid any more",
    403: "the key is disabled, or the identity may not use it",
    404: "there is no such key or version",
}


class _Result(msgspec.Struct, frozen=True):
    kid: str
    value: str


class _Jwk(msgspec.Struct, frozen=True):
    kid: str


class _Attributes(msgspec.Struct, frozen=True):
    enabled: bool = False
    exportable: bool = False


class _Bundle(msgspec.Struct, frozen=True):
    key: _Jwk
    attributes: _Attributes = _Attributes()


class AzureKeys:
    """A key service on one RSA key of an Azure Key Vault."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        bearer: Bearer,
        *,
        url: str,
        key: str,
        previous_keys: tuple[str, ...] = (),
    ) -> None:
        """Use a key.

        Args:
            name: the service's name.
            wire: the vault.
            bearer: access tokens.
            url: the vault's URL, which key ids begin with.
            key: the key's name.
            previous_keys: names of keys of the same vault that unwrap as well.

        Raises:
            ConfigError: a key's name is not one.
        """
        for each in (key, *previous_keys):
            if not NAME.fullmatch(each):
                raise ConfigError("vault.keys: a key of Azure Key Vault is letters, digits and `-`")
        self.name = name
        self._wire = wire
        self._bearer = bearer
        self._host = (urlsplit(url).hostname or "").lower()
        self._key = key
        self._known = {self._id(each): each for each in (key, *previous_keys)}

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        key = new_key()
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        payload = bind(key, context)
        version, _ = await self._current()
        value = await self._call(self._key, version, "wrapkey", payload)
        try:
            return Wrapped(service=self.name, key_id=self._id(self._key), version=version, blob=value)
        except ValueError:
            raise self._nonsense() from None

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        key = self._known.get(wrapped.key_id)
        if key is None:
            raise foreign_key(self.name)
        if not _VERSION.fullmatch(wrapped.version):
            raise refused_context(self.name)
        payload = await self._call(key, wrapped.version, "unwrapkey", wrapped.blob)
        return unbind(payload, context, self.name)

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return await self.wrap(await self.unwrap(wrapped, context), context)

    async def describe(self) -> Description:
        version, attributes = await self._current()
        warnings = () if attributes.enabled else ("the key is disabled",)
        if attributes.exportable:
            warnings = (*warnings, "the key is exportable")
        return Description(
            service=self.name,
            kind="azure-key-vault",
            key_id=self._id(self._key),
            version=version,
            usable=attributes.enabled,
            warnings=warnings,
        )

    # --- requests ------------------------------------------------------------------------------

    async def _current(self) -> tuple[str, _Attributes]:
        answer = await self._ask(Post(method="GET", target=f"/keys/{self._key}{_API}"))
        bundle = decoded(self._fine(answer), _Bundle, self.name)
        return self._version(bundle.key.kid, self._key), bundle.attributes

    async def _call(self, key: str, version: str, operation: str, value: bytes) -> bytes:
        body = {"alg": _ALGORITHM, "value": base64.urlsafe_b64encode(value).decode().rstrip("=")}
        target = f"/keys/{key}/{version}/{operation}{_API}"
        answer = await self._ask(Post(target=target, body=msgspec.json.encode(body)))
        if answer.status == 400 and operation == "unwrapkey":
            raise refused_context(self.name)
        result = decoded(self._fine(answer), _Result, self.name)
        if self._version(result.kid, key) != version:
            raise self._another_key()
        try:
            return base64.urlsafe_b64decode(result.value + "=" * (-len(result.value) % 4))
        except ValueError:
            raise self._nonsense() from None

    async def _ask(self, post: Post) -> Answer:
        for attempt in (1, 2):
            token = await self._bearer.token()
            headers = (
                (b"authorization", b"Bearer " + token.encode("latin-1", "replace")),
                (b"content-type", b"application/json"),
            )
            answer = await self._wire.ask(msgspec.structs.replace(post, headers=headers))
            if answer.status != 401 or attempt == 2 or not self._bearer.forget(token):
                break
        return answer

    def _fine(self, answer: Answer) -> Answer:
        if not answer.fine:
            raise KeyRefused(
                f"{self.name}: the key service refused with {answer.status}", hint=_HINTS.get(answer.status)
            )
        return answer

    def _id(self, key: str) -> str:
        return f"{self._host}/keys/{key}"

    def _version(self, kid: str, key: str) -> str:
        """The version in a key id of an answer, which must be of the key that was asked for."""
        parts = urlsplit(kid)
        prefix, slash, version = parts.path.rpartition("/")
        if (parts.hostname or "").lower() != self._host or prefix != f"/keys/{key}":
            raise self._another_key()
        if not slash or not _VERSION.fullmatch(version):
            raise self._nonsense()
        return version

    def _another_key(self) -> Tampered:
        return Tampered(f"{self.name}: the key service answered for another key than it was asked")

    def _nonsense(self) -> KeyServiceUnavailable:
        return KeyServiceUnavailable(f"{self.name}: the key service's answer is not one of its API")
