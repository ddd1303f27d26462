"""Keys in an HSM or a smart card, through PKCS#11. Needs the extra `fairlead[pkcs11]`.

The key-encryption key is an AES key of 256 bits that never leaves the token: a
key that could be extracted, or that is not marked as sensitive, is refused. A
data key is encrypted with AES-GCM inside the token; the context is its
associated data. Labels tell the versions of a key apart: `LABEL` and then
`LABEL.2`, `LABEL.3`; the highest one wraps.

PKCS#11 calls block and a session serves one of them at a time: they run in one
thread of their own, and a call that takes too long is given up, while the
thread still waits for it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable
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

if TYPE_CHECKING:
    import pkcs11

T = TypeVar("T")
_NONCE_BYTES: Final = 12
_TAG_BITS: Final = 128
_VERSION: Final = re.compile(r"[1-9][0-9]{0,5}")


class Pkcs11Keys:
    """A key service on one key of a token."""

    def __init__(
        self,
        name: str,
        *,
        module: str,
        token_label: str,
        key: str,
        pin: Callable[[], str],
        timeout_s: float,
    ) -> None:
        """Name a key; the module is loaded at the first use.

        Args:
            name: the service's name.
            module: path of the HSM's PKCS#11 library.
            token_label: which token.
            key: the key's label.
            pin: gives the user's PIN, or raises ConfigError.
            timeout_s: for one call.

        Raises:
            ConfigError: the extra is not installed.
        """
        try:
            import pkcs11
        except ImportError as error:
            raise ConfigError(
                "a key service of type `pkcs11` needs the extra `pkcs11`",
                hint="pip install 'fairlead[pkcs11]'",
            ) from error
        self.name = name
        self._api = pkcs11
        self._module = module
        self._token_label = token_label
        self._label = key
        self._key_id = f"{token_label}/{key}"
        self._pin = pin
        self._timeout_s = timeout_s
        self._session: pkcs11.Session | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pkcs11")

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        key = new_key()
        return key, await self.wrap(key, context)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        facts, nonce = canonical(context), secrets.token_bytes(_NONCE_BYTES)
        plain = checked_key(key)

        def seal(session: pkcs11.Session) -> tuple[str, bytes]:
            version, kek = self._newest(session)
            sealed = kek.encrypt(
                plain,
                mechanism=self._api.Mechanism.AES_GCM,
                mechanism_param=self._parameters(nonce, version, facts),
            )
            return version, bytes(sealed)

        version, sealed = await self._run(seal)
        return Wrapped(service=self.name, key_id=self._key_id, version=version, blob=nonce + sealed)

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        facts = canonical(context)
        if wrapped.key_id != self._key_id:
            raise foreign_key(self.name)
        nonce, sealed = wrapped.blob[:_NONCE_BYTES], wrapped.blob[_NONCE_BYTES:]
        if not _VERSION.fullmatch(wrapped.version) or len(sealed) != 48:
            raise refused_context(self.name)

        def open_(session: pkcs11.Session) -> bytes:
            kek = self._checked(self._find(session, wrapped.version))
            try:
                plain = kek.decrypt(
                    sealed,
                    mechanism=self._api.Mechanism.AES_GCM,
                    mechanism_param=self._parameters(nonce, wrapped.version, facts),
                )
            except self._refusals():
                raise refused_context(self.name) from None
            return bytes(plain)

        return answered_key(await self._run(open_), self.name)

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        return await self.wrap(await self.unwrap(wrapped, context), context)

    async def describe(self) -> Description:
        version, _ = await self._run(self._newest)
        return Description(service=self.name, kind="pkcs11", key_id=self._key_id, version=version)

    async def rotate(self) -> str:
        """Make the next version inside the token; the first one, too, when there is none yet."""

        def make(session: pkcs11.Session) -> str:
            versions = self._versions(session)
            version = str(max(versions, default=0) + 1)
            session.generate_key(
                self._api.KeyType.AES,
                256,
                label=self._label_of(version),
                id=self._label_of(version).encode(),
                store=True,
                capabilities=self._api.MechanismFlag.ENCRYPT | self._api.MechanismFlag.DECRYPT,
                template={
                    self._api.Attribute.SENSITIVE: True,
                    self._api.Attribute.EXTRACTABLE: False,
                },
            )
            return version

        return await self._run(make)

    async def close(self) -> None:
        """Log out."""
        session, self._session = self._session, None
        if session is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, session.close)
        self._thread.shutdown(wait=False)

    # --- in the thread --------------------------------------------------------------------------

    async def _run(self, work: Callable[[pkcs11.Session], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await loop.run_in_executor(self._thread, self._with_session, work)
        except TimeoutError as error:
            raise KeyServiceUnavailable(f"{self.name}: the token did not answer in time") from error

    def _with_session(self, work: Callable[[pkcs11.Session], T]) -> T:
        errors = self._api.exceptions
        try:
            if self._session is None:
                self._session = self._opened()
            try:
                return work(self._session)
            except (errors.UserNotLoggedIn, errors.SessionHandleInvalid, errors.SessionClosed):
                # Another user of the token in this process has logged out, or the token was reset.
                # Nothing was done, so it is done again, once.
                self._session = self._opened()
                return work(self._session)
        except errors.PKCS11Error as error:
            self._session = None
            what = type(error).__name__
            if isinstance(error, errors.PinIncorrect | errors.PinLocked | errors.PinExpired):
                raise KeyRefused(f"{self.name}: the token refused the PIN ({what})") from error
            raise KeyServiceUnavailable(f"{self.name}: the token failed ({what})") from error

    def _opened(self) -> pkcs11.Session:
        try:
            library = self._api.lib(self._module)
        except RuntimeError as error:
            raise KeyServiceUnavailable(f"{self.name}: cannot load {self._module}") from error
        token = library.get_token(token_label=self._token_label)
        pin = resolved(self.name, self._pin)
        try:
            return token.open(rw=True, user_pin=pin)
        except self._api.exceptions.UserAlreadyLoggedIn:
            # A login holds for all sessions of a process with the token.
            return token.open(rw=True)

    def _newest(self, session: pkcs11.Session) -> tuple[str, Any]:
        versions = self._versions(session)
        if not versions:
            raise KeyRefused(f"{self.name}: the token has no AES key labelled `{self._label}`")
        version = str(max(versions))
        return version, self._checked(self._find(session, version))

    def _versions(self, session: pkcs11.Session) -> list[int]:
        attribute, prefix = self._api.Attribute, self._label + "."
        found = []
        for key in session.get_objects(
            {
                attribute.CLASS: self._api.ObjectClass.SECRET_KEY,
                attribute.KEY_TYPE: self._api.KeyType.AES,
            }
        ):
            label = str(key[attribute.LABEL])
            if label == self._label:
                found.append(1)
            elif label.startswith(prefix) and _VERSION.fullmatch(label.removeprefix(prefix)):
                found.append(int(label.removeprefix(prefix)))
        return found

    def _find(self, session: pkcs11.Session, version: str) -> Any:
        errors = self._api.exceptions
        try:
            return session.get_key(
                object_class=self._api.ObjectClass.SECRET_KEY,
                key_type=self._api.KeyType.AES,
                label=self._label_of(version),
            )
        except errors.NoSuchKey:
            raise refused_context(self.name) from None
        except errors.MultipleObjectsReturned:
            raise KeyRefused(
                f"{self.name}: the token has several keys labelled `{self._label_of(version)}`"
            ) from None

    def _checked(self, key: Any) -> Any:
        attribute = self._api.Attribute
        if key[attribute.EXTRACTABLE] or not key[attribute.SENSITIVE]:
            raise KeyRefused(
                f"{self.name}: the token's key can be taken out of it",
                hint="generate one that is sensitive and not extractable",
            )
        return key

    def _label_of(self, version: str) -> str:
        return self._label if version == "1" else f"{self._label}.{version}"

    def _parameters(self, nonce: bytes, version: str, facts: bytes) -> Any:
        aad = f"{len(self._key_id)}:{self._key_id}{len(version)}:{version}".encode() + facts
        return self._api.GCMParams(nonce, aad=aad, tag_bits=_TAG_BITS)

    def _refusals(self) -> tuple[type[Exception], ...]:
        """What tokens answer to a wrong tag: the standard leaves it open, and they differ."""
        errors = self._api.exceptions
        return (
            errors.EncryptedDataInvalid,
            errors.EncryptedDataLenRange,
            errors.DataInvalid,
            errors.SignatureInvalid,
            errors.GeneralError,
        )
