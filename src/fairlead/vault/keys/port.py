"""What a key service does, and what it is handed and gives back.

A service holds key-encryption keys and never gives them away. It wraps keys of
32 bytes under a context: flat facts such as tenant, model and version, which
must be the same again for the key to be unwrapped. An empty context is refused,
so no key is ever wrapped that is bound to nothing.

Three outcomes other than success, which callers keep apart:

* `KeyServiceUnavailable`: no usable answer; the same call may succeed later;
* `KeyRefused`: the service will not: disabled, denied, another context, another key;
* `Tampered`: what was answered is not what was wrapped.

In every one of them nothing was decrypted.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

import msgspec

from fairlead.errors import InvalidRequest, KeyRefused, Tampered

KEY_BYTES: Final = 32
MAX_BLOB_BYTES: Final = 16_384
MAX_NAME_CHARS: Final = 1024
MAX_FACTS: Final = 16
MAX_CONTEXT_BYTES: Final = 8192
"""AWS KMS takes no more than 8 KiB of encryption context."""

Context = Mapping[str, str]
"""What a key is bound to; `vault.context.Context.mapping()` makes one."""


class Wrapped(msgspec.Struct, frozen=True, kw_only=True):
    """A key as a service has wrapped it. Not secret; kept beside what the key opens."""

    service: str
    """The service's name in the configuration."""
    key_id: str
    """Which key-encryption key."""
    version: str = ""
    """Which version of it; empty where the service does not tell."""
    blob: bytes

    def __post_init__(self) -> None:
        """Bound what comes from storage before anybody copies it into a request."""
        if not 0 < len(self.blob) <= MAX_BLOB_BYTES:
            raise ValueError("a wrapped key is 1 to 16384 bytes")
        for text in (self.service, self.key_id, self.version):
            if len(text) > MAX_NAME_CHARS or not text.isascii() or not (text.isprintable()):
                raise ValueError("names in a wrapped key are printable ASCII, at most 1024 characters")


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a service says of its current key."""

    service: str
    kind: str
    """The service's type, as in the configuration."""
    key_id: str
    version: str = ""
    """The version that new keys are wrapped with."""
    usable: bool = True
    """It wraps and unwraps at present."""
    warnings: tuple[str, ...] = ()
    """What an operator should mend, such as a key that can be exported."""


class KeyService(Protocol):
    """Wraps and unwraps data keys. One instance serves any number of tasks."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    async def generate(self, context: Context) -> tuple[bytes, Wrapped]:
        """Make a new key and wrap it.

        Raises:
            InvalidRequest: the context is empty or too large (so for the methods below).
            KeyServiceUnavailable: the service cannot be asked.
            KeyRefused: the service will not.
        """
        ...

    async def wrap(self, key: bytes, context: Context) -> Wrapped:
        """Wrap a key of 32 bytes, with the newest version of the service's key."""
        ...

    async def unwrap(self, wrapped: Wrapped, context: Context) -> bytes:
        """Give the key back.

        Raises:
            KeyServiceUnavailable: the service cannot be asked.
            KeyRefused: the service will not, or the context is another.
            Tampered: the service answered with something else than a key that it wrapped.
        """
        ...

    async def rewrap(self, wrapped: Wrapped, context: Context) -> Wrapped:
        """Wrap the same key again with the newest version; inside the service where it can do that."""
        ...

    async def describe(self) -> Description:
        """Say which key is in use and what is wrong with it, if anything."""
        ...


@runtime_checkable
class Rotating(Protocol):
    """A service whose key can be given a new version from here."""

    async def rotate(self) -> str:
        """Make a new version, which wraps from now on; returns it. Older versions still unwrap."""
        ...


def canonical(context: Context) -> bytes:
    """The one spelling of a context: JSON, sorted, without spaces, UTF-8; as `jq -cS` prints it.

    Raises:
        InvalidRequest: it is empty, too large, or holds an empty or unprintable text.
    """
    if not context or len(context) > MAX_FACTS:
        raise InvalidRequest(f"a key's context has 1 to {MAX_FACTS} facts, not {len(context)}")
    for name, value in context.items():
        if not (name and value and name.isprintable() and value.isprintable()):
            raise InvalidRequest("a key's context holds an empty or unprintable text")
    text = json.dumps(dict(context), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    encoded = text.encode()
    if len(encoded) > MAX_CONTEXT_BYTES:
        raise InvalidRequest(f"a key's context is larger than {MAX_CONTEXT_BYTES} bytes")
    return encoded


def checked_key(key: bytes) -> bytes:
    """The key itself, when it has the right length.

    Raises:
        ValueError: it has not; the caller's fault.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a data key has {KEY_BYTES} bytes")
    return key


def answered_key(key: bytes, service: str) -> bytes:
    """A key that a service has answered, when it can be one.

    Raises:
        Tampered: it cannot.
    """
    if len(key) != KEY_BYTES or not any(key):
        raise Tampered(f"{service}: the key service answered with something that is no data key")
    return key


def new_key() -> bytes:
    """A data key from this machine's own generator."""
    return secrets.token_bytes(KEY_BYTES)


def bind(key: bytes, context: Context) -> bytes:
    """A payload that carries the context's digest with the key, for mechanisms without associated data."""
    return b"\x01" + hashlib.sha256(canonical(context)).digest() + checked_key(key)


def unbind(payload: bytes, context: Context, service: str) -> bytes:
    """The key of a payload that `bind` made for this context.

    Raises:
        KeyRefused: it was made for another context.
    """
    digest = hashlib.sha256(canonical(context)).digest()
    if len(payload) != 33 + KEY_BYTES or not secrets.compare_digest(payload[:33], b"\x01" + digest):
        raise refused_context(service)
    return payload[33:]


def refused_context(service: str) -> KeyRefused:
    """The refusal of a key that does not open: services do not tell which of the reasons it is."""
    return KeyRefused(
        f"{service}: this wrapped key does not open here",
        hint="it was changed, or wrapped for another tenant, name or version, or with another key",
    )


def foreign_key(service: str) -> KeyRefused:
    """The refusal of a key-encryption key that the configuration does not name."""
    return KeyRefused(
        f"{service}: this key was wrapped with a key that the service is not configured for",
        hint="if it is an older one of yours, name it under `previous_keys`",
    )
