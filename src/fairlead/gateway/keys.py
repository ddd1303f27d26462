"""API keys as values: their form, their scopes, their life. No I/O, no clock, no chance.

A secret is `fl-` and 46 characters of base62: an id of 8 that is public, 32
that are secret (190 bits), and a checksum of 6. The checksum lets a mistyped
or cut key be told from an unknown one, and a scanner recognise a leaked key
without asking anybody; it proves nothing, and nothing is decided by it.

Only the SHA-256 of a secret is kept. A slow hash or a salt defends secrets
that can be guessed or shared between users, such as passwords; nobody tries
2**190 secrets, and a slow hash would cost each request its milliseconds.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
import string
import zlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from fairlead.errors import InvalidRequest

PREFIX: Final = "fl-"
ENTROPY_BYTES: Final = 40
"""Chance needed for one secret: 320 bits, so that base62 of 40 characters is even to within 2**-80."""

ADMIN: Final = "admin"
"""The scope of the control API. `*` does not include it."""

ENDPOINTS: Final = (
    "*", "chat", "completions", "messages", "responses", "embeddings", "rerank", "moderations",
    "audio", "images", "files", "batches", ADMIN,
)  # fmt: skip
"""The scopes of a key; `*` is all but `admin`. The list of models is open to every key."""

DEFAULT_TENANT: Final = "default"

_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_CHARS: Final = 8
_BODY_CHARS: Final = 40
_CHECK_CHARS: Final = 6
_SECRET: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_BODY_CHARS + _CHECK_CHARS}}}")
_ID: Final = re.compile(rf"(?:{PREFIX})?([0-9A-Za-z]{{{_ID_CHARS}}})")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MAX_NAME_CHARS: Final = 100
_MAX_MODEL_CHARS: Final = 200
_MAX_LIST: Final = 1000


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is for, as its maker asks for it."""

    name: str
    tenant: str = DEFAULT_TENANT
    models: tuple[str, ...] = ("*",)
    """Names and patterns in which `*` stands for anything."""
    endpoints: tuple[str, ...] = ("*",)
    """Of `ENDPOINTS`."""
    ip_ranges: tuple[str, ...] = ()
    """CIDR ranges it may be used from; empty for anywhere."""
    expires_at: float | None = None


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One API key. Its secret is not here and nowhere else."""

    id: str
    name: str
    digest: bytes
    """SHA-256 of the secret."""
    prefix: str
    """The beginning of the secret that may be shown."""
    tenant: str
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    ip_ranges: tuple[str, ...]
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    """When it ends by revocation or rotation; in the future during a rotation's grace."""
    rotated_from: str | None = None
    """Id of the key that this one replaces."""

    @property
    def ends_at(self) -> float:
        """When it stops being valid; infinity for never."""
        expires, revoked = self.expires_at, self.revoked_at
        return min(math.inf if expires is None else expires, math.inf if revoked is None else revoked)

    def state(self, now: float) -> str:
        """`active`, `retiring` (in a rotation's grace), `revoked` or `expired`."""
        if now >= self.ends_at:
            return "revoked" if self.revoked_at == self.ends_at else "expired"
        return "active" if self.revoked_at is None else "retiring"

    def scope(self) -> Scope:
        """What it is for, to make another of its kind."""
        return Scope(
            name=self.name,
            tenant=self.tenant,
            models=self.models,
            endpoints=self.endpoints,
            ip_ranges=self.ip_ranges,
            expires_at=self.expires_at,
        )


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """A new key with its secret, which is shown once. Does not print it."""

    key: Key
    secret: str

    def __repr__(self) -> str:
        return f"Issued({self.key.prefix}...)"


# --- the secret ---------------------------------------------------------------------------------


def secret_of(entropy: bytes) -> str:
    """The secret that `ENTROPY_BYTES` random bytes make."""
    if len(entropy) < ENTROPY_BYTES:
        raise ValueError(f"a secret takes {ENTROPY_BYTES} random bytes")
    body = _base62(int.from_bytes(entropy), _BODY_CHARS)
    return PREFIX + body + _checksum(body)


def is_well_formed(secret: str) -> bool:
    """Whether this has the form of a secret and its checksum is right. Says nothing about its validity."""
    return _SECRET.fullmatch(secret) is not None and secret.endswith(
        _checksum(secret[len(PREFIX) : -_CHECK_CHARS])
    )


def digest_of(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def id_in(text: str) -> str | None:
    """The key id that somebody means who gives an id, a shown prefix, or a whole secret."""
    if is_well_formed(text):
        return text[len(PREFIX) : len(PREFIX) + _ID_CHARS]
    match = _ID.fullmatch(text)
    return match[1] if match else None


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(f"{PREFIX}{body}".encode()), _CHECK_CHARS)


def _base62(number: int, chars: int) -> str:
    """The last `chars` digits of a number in base 62."""
    digits = []
    for _ in range(chars):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


# --- issuing ------------------------------------------------------------------------------------


def issue(scope: Scope, *, now: float, entropy: bytes, rotated_from: str | None = None) -> Issued:
    """Make a key for a checked scope."""
    secret = secret_of(entropy)
    shown = len(PREFIX) + _ID_CHARS
    key = Key(
        id=secret[len(PREFIX) : shown],
        name=scope.name,
        digest=digest_of(secret),
        prefix=secret[:shown],
        tenant=scope.tenant,
        models=scope.models,
        endpoints=scope.endpoints,
        ip_ranges=scope.ip_ranges,
        created_at=now,
        expires_at=scope.expires_at,
        rotated_from=rotated_from,
    )
    return Issued(key=key, secret=secret)


def check(scope: Scope, *, now: float) -> Scope:
    """The scope in its normal form: no duplicates, ranges as networks.

    Raises:
        InvalidRequest: with `param` naming the field at fault.
    """
    name = scope.name.strip()
    if not name or len(name) > _MAX_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(f"a key's name has 1 to {_MAX_NAME_CHARS} printable characters", param="name")
    if not _TENANT.fullmatch(scope.tenant):
        raise InvalidRequest(
            f"{scope.tenant!r} cannot be a tenant",
            param="tenant",
            hint="1 to 63 letters, digits and `._-`, the first a letter or digit",
        )
    if scope.expires_at is not None and not now < scope.expires_at < math.inf:
        raise InvalidRequest("a key expires in the future", param="expires_at")
    return msgspec.structs.replace(
        scope,
        name=name,
        models=_listed(scope.models, "models", _model),
        endpoints=_listed(scope.endpoints, "endpoints", _endpoint),
        ip_ranges=_listed(scope.ip_ranges, "ip_ranges", _ip_range) if scope.ip_ranges else (),
    )


def _listed(values: Sequence[str], param: str, one: Callable[[str], str]) -> tuple[str, ...]:
    """Each value checked, in order, once."""
    if not 0 < len(values) <= _MAX_LIST:
        raise InvalidRequest(f"`{param}` has 1 to {_MAX_LIST} entries", param=param)
    return tuple(dict.fromkeys(one(value.strip()) for value in values))


def _model(pattern: str) -> str:
    if not pattern or len(pattern) > _MAX_MODEL_CHARS or not pattern.isprintable() or " " in pattern:
        raise InvalidRequest(
            f"{pattern!r} cannot be a model: 1 to {_MAX_MODEL_CHARS} printable characters, no spaces",
            param="models",
        )
    return pattern


def _endpoint(name: str) -> str:
    if name not in ENDPOINTS:
        raise InvalidRequest(
            f"there is no endpoint {name!r}", param="endpoints", hint=f"one of {', '.join(ENDPOINTS)}"
        )
    return name


def _ip_range(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidRequest(
            f"{text!r} is not an IP range", param="ip_ranges", hint="such as 10.1.0.0/16 or 2001:db8::/32"
        ) from None
    raise InvalidRequest(
        f"{text!r} has address bits behind its prefix", param="ip_ranges", hint=f"perhaps {meant} is meant"
    )
