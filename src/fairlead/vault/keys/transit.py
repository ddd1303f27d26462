"""The transit engine of HashiCorp Vault and OpenBao.

Two ways to bind the context, because the engine has two and neither does
everything. `associated-data` (the default) authenticates it with each wrapped
key; the engine's `rewrap` knows no associated data, so a rewrap is then an
unwrap and a wrap, and the data key passes through this process. `derived-key`
lets the engine derive one key per context from a key made with `derived=true`;
`rewrap` then happens inside. The engine silently ignores a context where the
key is not derived, so this is checked before anything is wrapped.

A key is wrapped by `encrypt`, never by `datakey`: an engine too old for
associated data would ignore it there and make a key that cannot be opened.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable, Tampered
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
from fairlead.vault.keys.tokens import Bearer, resolved

Binding = Literal["associated-data", "derived-key"]
_BLOB: Final = re.compile(rb"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]+={0,2})")


class _Encrypted(msgspec.Struct, frozen=True):
    ciphertext: str


class _Decrypted(msgspec.Struct, frozen=True):
    plaintext: str


class _Key(msgspec.Struct, frozen=True):
    latest_version: int
    type: str = ""
    derived: bool = False
    exportable: bool = False
    allow_plaintext_backup: bool = False
    deletion_allowed: bool = False
    min_decryption_version: int = 1
    supports_encryption: bool = True
    supports_decryption: bool = True


class _EncryptedAnswer(msgspec.Struct, frozen=True):
    data: _Encrypted


class _DecryptedAnswer(msgspec.Struct, frozen=True):
    data: _Decrypted


class _KeyAnswer(msgspec.Struct, frozen=True):
    data: _Key


class _Auth(msgspec.Struct, frozen=True):
    client_token: str
    lease_duration: int = 0


class _LoginAnswer(msgspec.Struct, frozen=True):
    auth: _Auth


class KubernetesLogin:
    """Tokens for a ServiceAccount, kept for two thirds of their lease."""

    def __init__(
        self,
        service: str,
        wire: Wire,
        *,
        mount: str,
        role: str,
        jwt: Callable[[], str],
        headers: tuple[tuple[bytes, bytes], ...],
        clock: Callable[[], float],
    ) -> None:
        """Log in at `auth/MOUNT/login`.

        Args:
            service: the service's name, for messages.
            wire: where to.
            mount: of the Kubernetes auth method.
            role: to log in as.
            jwt: gives the ServiceAccount's token, which Kubernetes renews; may raise ConfigError.
            headers: a namespace.
            clock: seconds that count up.
        """
        self._service = service
        self._wire = wire
        self._target = f"/v1/auth/{quote(mount)}/login"
        self._role = role
        self._jwt = jwt
        self._headers = headers
        self._clock = clock
        self._token: str | None = None
        self._until = 0.0

    async def token(self) -> str:
        if self._token is None or self._clock() >= self._until:
            body = msgspec.json.encode({"role": self._role, "jwt": resolved(self._service, self._jwt)})
            answer = await self._wire.ask(Post(target=self._target, body=body, headers=self._headers))
            if not answer.fine:
                raise KeyRefused(
                    f"{self._service}: the login as `{self._role}` was refused with {answer.status}"
                )
            auth = decoded(answer, _LoginAnswer, self._service).auth
            self._token = auth.client_token
            self._until = self._clock() + auth.lease_duration * 2 / 3
        return self._token

    def forget(self, token: str) -> bool:
        if token == self._token:
            self._token = None
        return True


class TransitKeys:
    """A key service on one key of a transit engine."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        bearer: Bearer,
        *,
        key: str,
        mount: str = "transit",
        binding: Binding = "associated-data",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        previous_keys: tuple[str, ...] = (),
    ) -> None:
        """Use a key.

        Args:
            name: the service's name.
            wire: the server.
            bearer: tokens.
            key: the key's name.
            mount: where the engine is mounted.
            binding: how the context is bound.
            headers: a namespace.
            previous_keys: names of keys that unwrap as well.
        """
        self.name = name
        self._wire = wire
        self._bearer = bearer
        self._mount = quote(mount)
        self._key_id = f"{mount}/{key}"
        self._keys = {f"{mount}/{each}": each for each in (key, *previous_keys)}
        self._binding = binding
        self._headers = headers
        self._checked: set[str] = set()

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        key = new_key()
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        facts = self._facts(context)
        await self._check_derived(self._key_id)
        plain = base64.b64encode(checked_key(key)).decode()
        answer = await self._post("encrypt", self._key_id, {"plaintext": plain, **facts})
        return self._wrapped(decoded(self._fine(answer), _EncryptedAnswer, self.name).data.ciphertext)

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        body = {"ciphertext": self._ciphertext(wrapped), **self._facts(context)}
        await self._check_derived(wrapped.key_id)
        answer = await self._post("decrypt", wrapped.key_id, body)
        if answer.status == 400:
            # Another context, a version below `min_decryption_version`, a changed blob: only the
            # text of the answer would tell which.
            raise refused_context(self.name)
        plain = decoded(self._fine(answer), _DecryptedAnswer, self.name).data.plaintext
        try:
            return answered_key(base64.b64decode(plain, validate=True), self.name)
        except ValueError:
            raise Tampered(
                f"{self.name}: the key service answered with something that is no data key"
            ) from None

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        if self._binding == "associated-data" or wrapped.key_id != self._key_id:
            return await self.wrap(await self.unwrap(wrapped, context), context)
        body = {"ciphertext": self._ciphertext(wrapped), **self._facts(context)}
        await self._check_derived(self._key_id)
        answer = await self._post("rewrap", self._key_id, body)
        if answer.status == 400:
            raise refused_context(self.name)
        return self._wrapped(decoded(self._fine(answer), _EncryptedAnswer, self.name).data.ciphertext)

    async def describe(self) -> Description:
        key = await self._read(self._key_id)
        warnings = [
            text
            for found, text in (
                (key.exportable, "the key is exportable: who may export it needs no audit to decrypt"),
                (key.allow_plaintext_backup, "the key may be backed up in plaintext"),
                (key.deletion_allowed, "the key may be deleted, and with it everything it wraps"),
                (
                    self._binding == "derived-key" and not key.derived,
                    "the key is not derived, so it binds no context",
                ),
            )
            if found
        ]
        usable = key.supports_encryption and key.supports_decryption
        return Description(
            service=self.name,
            kind="transit",
            key_id=self._key_id,
            version=str(key.latest_version),
            usable=usable and (self._binding == "associated-data" or key.derived),
            warnings=tuple(warnings),
        )

    async def rotate(self) -> str:
        """Make a new version of the key; the engine's own auto-rotation does the same."""
        self._fine(await self._post("rotate", self._key_id, {}))
        return str((await self._read(self._key_id)).latest_version)

    # --- requests ------------------------------------------------------------------------------

    async def _post(self, operation: str, key_id: str, body: dict[str, str]) -> Answer:
        key = quote(self._keys[key_id], safe="")
        target = f"/v1/{self._mount}/" + (
            f"keys/{key}/rotate" if operation == "rotate" else f"{operation}/{key}"
        )
        return await self._ask(
            Post(target=target, body=msgspec.json.encode(body), repeatable=operation != "rotate")
        )

    async def _read(self, key_id: str) -> _Key:
        target = f"/v1/{self._mount}/keys/{quote(self._keys[key_id], safe='')}"
        answer = await self._ask(Post(method="GET", target=target))
        return decoded(self._fine(answer), _KeyAnswer, self.name).data

    async def _ask(self, post: Post) -> Answer:
        """Ask with a token, and once more with another one when the first is not accepted any more."""
        for attempt in (1, 2):
            token = await self._bearer.token()
            try:
                value = token.encode("ascii")
            except UnicodeEncodeError:
                raise KeyServiceUnavailable(
                    f"{self.name}: the token holds what no header can carry"
                ) from None
            headers = (*self._headers, (b"x-vault-token", value), (b"x-vault-request", b"true"))
            answer = await self._wire.ask(msgspec.structs.replace(post, headers=headers))
            if answer.status != 403 or attempt == 2 or not self._bearer.forget(token):
                break
        return answer

    def _fine(self, answer: Answer) -> Answer:
        if not answer.fine:
            hint = {
                400: "the key may be missing, or of a type that cannot do this",
                403: "the token is not valid, or its policy does not allow this",
                404: "the mount, the namespace or the key does not exist",
            }.get(answer.status)
            raise KeyRefused(f"{self.name}: the key service refused with {answer.status}", hint=hint)
        return answer

    # --- what goes in and comes out -------------------------------------------------------------

    def _facts(self, context: Context) -> dict[str, str]:
        field = "associated_data" if self._binding == "associated-data" else "context"
        return {field: base64.b64encode(canonical(context)).decode()}

    def _ciphertext(self, wrapped: Wrapped) -> str:
        if wrapped.key_id not in self._keys:
            raise foreign_key(self.name)
        found = _BLOB.fullmatch(wrapped.blob)
        if found is None or found[1].decode() != wrapped.version:
            raise refused_context(self.name)
        return wrapped.blob.decode()

    def _wrapped(self, ciphertext: str) -> Wrapped:
        found = _BLOB.fullmatch(ciphertext.encode())
        if found is None:
            raise KeyServiceUnavailable(f"{self.name}: the key service's answer is not one of its API")
        return Wrapped(
            service=self.name, key_id=self._key_id, version=found[1].decode(), blob=ciphertext.encode()
        )

    async def _check_derived(self, key_id: str) -> None:
        if self._binding == "associated-data" or key_id in self._checked:
            return
        if not (await self._read(key_id)).derived:
            raise KeyRefused(
                f"{self.name}: the key is not derived, so the engine would ignore what it is bound to",
                hint="make a key with `derived=true`, or leave `binding` out",
            )
        self._checked.add(key_id)


def namespace_headers(namespace: str | None) -> tuple[tuple[bytes, bytes], ...]:
    """The header that names a namespace, if there is one.

    Raises:
        ConfigError: the name cannot stand in a header.
    """
    if namespace is None:
        return ()
    if not namespace.isascii() or not namespace.isprintable():
        raise ConfigError("vault.keys: a namespace is printable ASCII")
    return ((b"x-vault-namespace", namespace.encode()),)
