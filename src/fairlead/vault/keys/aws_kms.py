"""AWS KMS: GenerateDataKey, Encrypt, Decrypt and ReEncrypt, signed with Signature Version 4.

The key's context is KMS's encryption context, which is authenticated and
appears in CloudTrail. A request always names the key, and the answer must name
the same one: a ciphertext may have been made with a key of somebody else's
account who lets us use it. Keys are therefore configured by their full ARN;
an alias could be pointed elsewhere.

KMS never returns failures that tell a wrong context from a changed ciphertext,
and its error codes, not its messages, decide what is raised here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.config.vault_rules import AWS_KEY
from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable, Tampered
from fairlead.net.sigv4 import Credentials, sign
from fairlead.vault.keys.http import Answer, Post, T, Wire, decoded
from fairlead.vault.keys.port import (
    Context,
    Description,
    Wrapped,
    answered_key,
    canonical,
    checked_key,
    foreign_key,
    refused_context,
)
from fairlead.vault.keys.tokens import resolved

_CODE: Final = re.compile(r"[A-Za-z]{1,64}")
_BUSY: Final = frozenset(
    {
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "KMSInternalException",
        "DependencyTimeoutException",
        "KeyUnavailableException",
        "InternalFailure",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
_REFUSES_BLOB: Final = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
_HINTS: Final = {
    "AccessDeniedException": "the identity's or the key's policy does not allow this call",
    "DisabledException": "the key is disabled",
    "KMSInvalidStateException": "the key is disabled, or waits for its deletion",
    "NotFoundException": "there is no such key in this account and region",
    "UnrecognizedClientException": "the access key is not valid",
    "ExpiredTokenException": "the credentials have expired",
    "InvalidSignatureException": "the secret access key is wrong, or this machine's clock is",
}


class _Error(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="__type", default="")


class _Generated(msgspec.Struct, frozen=True, rename="pascal"):
    key_id: str
    ciphertext_blob: str
    plaintext: str


class _Encrypted(msgspec.Struct, frozen=True, rename="pascal"):
    key_id: str
    ciphertext_blob: str


class _Decrypted(msgspec.Struct, frozen=True, rename="pascal"):
    key_id: str
    plaintext: str


class _Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    arn: str
    key_state: str
    key_usage: str = "ENCRYPT_DECRYPT"


class _Described(msgspec.Struct, frozen=True, rename="pascal"):
    key_metadata: _Metadata


class AwsKms:
    """A key service on one key of AWS KMS."""

    def __init__(
        self,
        name: str,
        wire: Wire,
        credentials: Callable[[], Credentials],
        *,
        key: str,
        now: Callable[[], float],
        previous_keys: tuple[str, ...] = (),
    ) -> None:
        """Use a key.

        Args:
            name: the service's name.
            wire: the endpoint of the key's region.
            credentials: resolved at each request; may raise ConfigError.
            key: its ARN.
            now: Unix seconds.
            previous_keys: ARNs of keys that unwrap as well.

        Raises:
            ConfigError: the key is no ARN.
        """
        self.name = name
        self._wire = wire
        self._credentials = credentials
        self._key = key
        self._region = region_of(key)
        self._known = frozenset((key, *previous_keys))
        self._now = now

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        facts = _facts(context)
        body = {"KeyId": self._key, "KeySpec": "AES_256", "EncryptionContext": facts}
        made = await self._call("GenerateDataKey", body, _Generated)
        return self._plain(made.plaintext), self._wrapped(made.key_id, made.ciphertext_blob)

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        plain = base64.b64encode(checked_key(key)).decode()
        body = {"KeyId": self._key, "Plaintext": plain, "EncryptionContext": _facts(context)}
        made = await self._call("Encrypt", body, _Encrypted)
        return self._wrapped(made.key_id, made.ciphertext_blob)

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        self._check(wrapped)
        blob = base64.b64encode(wrapped.blob).decode()
        body = {"KeyId": wrapped.key_id, "CiphertextBlob": blob, "EncryptionContext": _facts(context)}
        opened = await self._call("Decrypt", body, _Decrypted)
        if opened.key_id != wrapped.key_id:
            raise self._another_key()
        return self._plain(opened.plaintext)

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        self._check(wrapped)
        facts = _facts(context)
        body = {
            "CiphertextBlob": base64.b64encode(wrapped.blob).decode(),
            "SourceKeyId": wrapped.key_id,
            "SourceEncryptionContext": facts,
            "DestinationKeyId": self._key,
            "DestinationEncryptionContext": facts,
        }
        made = await self._call("ReEncrypt", body, _Encrypted)
        return self._wrapped(made.key_id, made.ciphertext_blob)

    async def describe(self) -> Description:
        found = (await self._call("DescribeKey", {"KeyId": self._key}, _Described)).key_metadata
        if found.arn != self._key:
            raise self._another_key()
        usable = found.key_state == "Enabled" and found.key_usage == "ENCRYPT_DECRYPT"
        warnings = () if usable else (f"the key's state is {_code(found.key_state)}",)
        return Description(
            service=self.name, kind="aws-kms", key_id=self._key, usable=usable, warnings=warnings
        )

    async def rotate(self) -> str:
        """Give the key new material at once; KMS keeps the old and tells no version."""
        await self._call("RotateKeyOnDemand", {"KeyId": self._key}, dict)
        return ""

    # --- requests ------------------------------------------------------------------------------

    async def _call(self, operation: str, body: object, kind: type[T]) -> T:
        encoded = msgspec.json.encode(body)
        credentials = resolved(self.name, self._credentials)
        headers = sign(
            method="POST",
            host=self._wire.authority,
            target="/",
            headers=(
                (b"content-type", b"application/x-amz-json-1.1"),
                (b"x-amz-target", b"TrentService." + operation.encode()),
            ),
            body=encoded,
            credentials=credentials,
            region=self._region,
            service="kms",
            now=self._now(),
        )
        post = Post(target="/", body=encoded, headers=headers, repeatable=operation != "RotateKeyOnDemand")
        answer = await self._wire.ask(post, busy=_is_busy)
        if not answer.fine:
            raise self._refusal(answer)
        return decoded(answer, kind, self.name)

    def _refusal(self, answer: Answer) -> KeyRefused:
        code = _error_code(answer)
        if code in _REFUSES_BLOB:
            return refused_context(self.name)
        return KeyRefused(
            f"{self.name}: the key service refused with {code or answer.status}", hint=_HINTS.get(code)
        )

    # --- what goes in and comes out -------------------------------------------------------------

    def _check(self, wrapped: Wrapped) -> None:
        if wrapped.key_id not in self._known:
            raise foreign_key(self.name)

    def _wrapped(self, key_id: str, blob: str) -> Wrapped:
        if key_id != self._key:
            raise self._another_key()
        try:
            return Wrapped(service=self.name, key_id=key_id, blob=base64.b64decode(blob, validate=True))
        except ValueError:
            raise KeyServiceUnavailable(
                f"{self.name}: the key service's answer is not one of its API"
            ) from None

    def _plain(self, text: str) -> bytes:
        try:
            return answered_key(base64.b64decode(text, validate=True), self.name)
        except ValueError:
            raise Tampered(
                f"{self.name}: the key service answered with something that is no data key"
            ) from None

    def _another_key(self) -> Tampered:
        return Tampered(f"{self.name}: the key service answered for another key than it was asked")


def region_of(key: str) -> str:
    """The region of a key's ARN.

    Raises:
        ConfigError: it is no ARN of a key.
    """
    found = AWS_KEY.match(key)
    if found is None:
        raise ConfigError(
            "vault.keys: a key of AWS KMS is named by its ARN",
            hint="for example `arn:aws:kms:eu-central-1:111122223333:key/1234abcd-...`, and no alias",
        )
    return found[1]


def _facts(context: Context) -> dict[str, str]:
    canonical(context)  # refuses what is empty or too large
    return dict(context)


def _is_busy(answer: Answer) -> bool:
    return answer.status >= 400 and _error_code(answer) in _BUSY


def _error_code(answer: Answer) -> str:
    try:
        return _code(msgspec.json.decode(answer.body, type=_Error).type.rpartition("#")[2])
    except (msgspec.DecodeError, ValueError):
        return ""


def _code(text: str) -> str:
    """A code, which is fit for a message; empty when it is something else."""
    return text if _CODE.fullmatch(text) else ""
