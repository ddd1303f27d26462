"""Google Cloud KMS: symmetric encrypt and decrypt with additional authenticated data.

Every request carries CRC-32C sums and every answer is held against its own, as
Google asks of its clients: a bit that flips between them would otherwise make a
key that can never be unwrapped. KMS has no call that re-encrypts, so a rewrap
is an unwrap and a wrap.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Final

import msgspec

from fairlead.config.vault_rules import GCP_KEY
from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable, Tampered
from fairlead.vault.keys.crc32c import crc32c
from fairlead.vault.keys.http import Answer, Post, Wire, decoded
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
from fairlead.vault.keys.tokens import Bearer

_HINTS: Final = {
    401: "the token is not valid any more",
    403: "the identity may not use this key",
    404: "there is no such key",
}


class _Encrypted(msgspec.Struct, frozen=True):
    name: str
    ciphertext: str
    sum: str = msgspec.field(name="ciphertextCrc32c")
    verified: bool = msgspec.field(name="verifiedPlaintextCrc32c", default=False)
    verified_context: bool = msgspec.field(name="verifiedAdditionalAuthenticatedDataCrc32c", default=False)


class _Decrypted(msgspec.Struct, frozen=True):
    plaintext: str
    sum: str = msgspec.field(name="plaintextCrc32c")


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    state: str


class _Key(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    purpose: str = ""
    primary: _Version | None = None


class _Failure(msgspec.Struct, frozen=True):
    status: str = ""


class _FailureAnswer(msgspec.Struct, frozen=True):
    error: _Failure = _Failure()


class GcpKms:
    """A key service on one key of Google Cloud KMS."""

    def __init__(
        self, name: str, wire: Wire, bearer: Bearer, *, key: str, previous_keys: tuple[str, ...] = ()
    ) -> None:
        """Use a key.

        Args:
            name: the service's name.
            wire: the API's address.
            bearer: access tokens.
            key: `projects/P/locations/L/keyRings/R/cryptoKeys/K`.
            previous_keys: keys that unwrap as well.

        Raises:
            ConfigError: a key is not named in full.
        """
        for each in (key, *previous_keys):
            if not GCP_KEY.match(each):
                raise ConfigError(
                    "vault.keys: a key of Google Cloud KMS is named in full",
                    hint="`projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version",
                )
        self.name = name
        self._wire = wire
        self._bearer = bearer
        self._key = key
        self._known = frozenset((key, *previous_keys))

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        key = new_key()
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        body = {**_sent("plaintext", checked_key(key)), **_associated(context)}
        answer = await self._ask(f"/v1/{self._key}:encrypt", body)
        made = decoded(self._fine(answer), _Encrypted, self.name)
        if not (made.verified and made.verified_context):
            raise KeyServiceUnavailable(f"{self.name}: the request's checksums were not verified")
        key_id, slash, version = made.name.partition("/cryptoKeyVersions/")
        if key_id != self._key or not slash:
            raise Tampered(f"{self.name}: the key service answered for another key than it was asked")
        blob = self._received(made.ciphertext, made.sum)
        try:
            return Wrapped(service=self.name, key_id=key_id, version=version, blob=blob)
        except ValueError:
            raise KeyServiceUnavailable(
                f"{self.name}: the key service's answer is not one of its API"
            ) from None

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        if wrapped.key_id not in self._known:
            raise foreign_key(self.name)
        body = {**_sent("ciphertext", wrapped.blob), **_associated(context)}
        answer = await self._ask(f"/v1/{wrapped.key_id}:decrypt", body)
        if answer.status == 400 and _status(answer) == "INVALID_ARGUMENT":
            raise refused_context(self.name)
        opened = decoded(self._fine(answer), _Decrypted, self.name)
        return answered_key(self._received(opened.plaintext, opened.sum), self.name)

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return await self.wrap(await self.unwrap(wrapped, context), context)

    async def describe(self) -> Description:
        answer = await self._ask(f"/v1/{self._key}", None)
        key = decoded(self._fine(answer), _Key, self.name)
        primary = key.primary
        usable = key.purpose == "ENCRYPT_DECRYPT" and primary is not None and primary.state == "ENABLED"
        return Description(
            service=self.name,
            kind="gcp-kms",
            key_id=self._key,
            version="" if primary is None else primary.name.rpartition("/")[2][:64],
            usable=usable,
            warnings=() if usable else ("the key's primary version is not enabled",),
        )

    async def _ask(self, target: str, body: dict[str, str] | None) -> Answer:
        for attempt in (1, 2):
            token = await self._bearer.token()
            headers = (
                (b"authorization", b"Bearer " + token.encode("latin-1", "replace")),
                (b"content-type", b"application/json"),
            )
            post = Post(target=target, headers=headers, method="GET" if body is None else "POST")
            if body is not None:
                post = msgspec.structs.replace(post, body=msgspec.json.encode(body))
            answer = await self._wire.ask(post)
            if answer.status != 401 or attempt == 2 or not self._bearer.forget(token):
                break
        return answer

    def _fine(self, answer: Answer) -> Answer:
        if not answer.fine:
            what = _status(answer) or str(answer.status)
            raise KeyRefused(
                f"{self.name}: the key service refused with {what}", hint=_HINTS.get(answer.status)
            )
        return answer

    def _received(self, text: str, sum_: str) -> bytes:
        try:
            data = base64.b64decode(text, validate=True)
            right = int(sum_) == crc32c(data)
        except ValueError:
            right = False
        if not right:
            raise Tampered(f"{self.name}: the key service's answer does not match its checksum")
        return data


def _sent(field: str, data: bytes) -> dict[str, Any]:
    return {field: base64.b64encode(data).decode(), f"{field}Crc32c": str(crc32c(data))}


def _associated(context: Context) -> dict[str, Any]:
    return _sent("additionalAuthenticatedData", canonical(context))


def _status(answer: Answer) -> str:
    """The status word of a failure; empty when the answer has none."""
    try:
        status = msgspec.json.decode(answer.body, type=_FailureAnswer).error.status
    except (msgspec.DecodeError, ValueError):
        return ""
    return status if re.fullmatch(r"[A-Z_]{1,40}", status) else ""
