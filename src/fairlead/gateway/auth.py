"""Who is calling, and may they: decided in memory from a snapshot of all keys.

`KeySnapshot.authenticate` finds the key of a request's headers, `authorise`
compares its scopes with what is asked. Both are pure and take about a
microsecond however many keys there are; `key_watch` keeps the snapshot fresh.

What a message may tell: that a key was revoked or has expired is told only to
who sends its very secret. To everybody else every key is unknown; that it is
mistyped is told from its form alone.

A secret is looked up by its SHA-256, so the time a lookup takes depends on
digests that a caller cannot steer, and tells nothing of the secrets held.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from fairlead.errors import Forbidden, StorageError, Unauthenticated
from fairlead.gateway.keys import ADMIN, DEFAULT_TENANT, PREFIX, Key, is_well_formed

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ALWAYS: Final = frozenset({"models"})
_INCLUDED: Final[Mapping[str, frozenset[str]]] = {"messages": frozenset({"count_tokens"})}
"""Endpoints that a scope brings along."""

_KEY_HEADERS: Final = (b"x-api-key", b"api-key", b"x-goog-api-key")
"""Anthropic's, Azure's and Google's clients."""

_SHOWN_CHARS: Final = 100


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request acts for."""

    key_id: str
    tenant: str
    name: str
    scopes: frozenset[str]
    """The key's endpoints, as it was given them."""
    is_admin: bool


ANONYMOUS: Final = Caller(
    key_id="", tenant=DEFAULT_TENANT, name="anonymous", scopes=frozenset({"*"}), is_admin=False
)
"""The caller of a gateway that requires no keys. Never an administrator."""


class Grant:
    """One key, prepared for fast checks. Immutable."""

    __slots__ = (
        "_endpoints",
        "_every_endpoint",
        "_every_model",
        "_models",
        "_networks",
        "_patterns",
        "caller",
        "ends_at",
        "key",
    )

    def __init__(self, key: Key) -> None:
        """Raises ValueError when an IP range of the key is none."""
        scopes = frozenset(key.endpoints)
        self.key = key
        self.ends_at = key.ends_at
        self.caller = Caller(
            key_id=key.id, tenant=key.tenant, name=key.name, scopes=scopes, is_admin=ADMIN in scopes
        )
        self._every_endpoint = "*" in scopes
        self._endpoints = scopes.union(_ALWAYS, *(_INCLUDED.get(scope, ()) for scope in scopes))
        self._every_model = "*" in key.models
        self._models = frozenset(model for model in key.models if "*" not in model)
        self._patterns = tuple(tuple(model.split("*")) for model in key.models if "*" in model)
        self._networks: tuple[_Network, ...] = tuple(ipaddress.ip_network(cidr) for cidr in key.ip_ranges)

    def covers_endpoint(self, endpoint: str) -> bool:
        """Whether the key is for this endpoint."""
        return endpoint in self._endpoints or (self._every_endpoint and endpoint != ADMIN)

    @property
    def covers_every_model(self) -> bool:
        """Whether the key is for any model at all."""
        return self._every_model

    def covers_model(self, model: str) -> bool:
        """Whether the key is for this model."""
        return self._every_model or model in self._models or any(_fits(p, model) for p in self._patterns)

    def covers_peer(self, peer: str) -> bool:
        """Whether the key may be used from this address. What is not an address is nowhere."""
        if not self._networks:
            return True
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)


class KeySnapshot:
    """All keys as they were at one revision. Immutable: a change makes another snapshot."""

    __slots__ = ("_grants", "_ids", "mark", "revision")

    def __init__(self, keys: Iterable[Key] = (), revision: int = -1) -> None:
        """A snapshot of these keys; a negative revision says that none was loaded yet."""
        self.revision = revision
        self.mark = object()
        """Stands for this snapshot where something is remembered of it, without keeping all keys alive."""
        self._grants: dict[bytes, Grant] = {}
        self._ids: dict[str, bytes] = {}
        self._add(keys)

    def __len__(self) -> int:
        return len(self._grants)

    def valid(self, now: float) -> Iterator[Key]:
        """Every key that has not ended at `now` (Unix seconds)."""
        return (grant.key for grant in self._grants.values() if now < grant.ends_at)

    def changed(self, keys: Iterable[Key], revision: int) -> KeySnapshot:
        """This snapshot with some keys added or replaced."""
        snapshot = KeySnapshot((), revision)
        snapshot._grants = self._grants.copy()
        snapshot._ids = self._ids.copy()
        snapshot._add(keys)
        return snapshot

    def _add(self, keys: Iterable[Key]) -> None:
        for key in keys:
            former = self._ids.get(key.id)
            if former is not None:
                del self._grants[former]
            self._grants[key.digest] = Grant(key)
            self._ids[key.id] = key.digest

    def authenticate(self, headers: Mapping[bytes, bytes], now: float) -> Grant:
        """The valid key that the headers carry.

        `authorization: Bearer`, then `x-api-key`, `api-key` and
        `x-goog-api-key`. A header whose key is unknown is passed over, since
        some clients insist on a placeholder in one and let the user set
        another; the first known key decides, valid or not.

        Args:
            headers: names in lower case.
            now: Unix seconds.

        Raises:
            Unauthenticated: there is no valid key.
            StorageError: the keys have not been loaded yet.
        """
        value = headers.get(b"authorization")
        if value is not None and value[:7] == b"Bearer ":
            grant = self._grants.get(hashlib.sha256(value[7:]).digest())
            if grant is not None and now < grant.ends_at:
                return grant
        return self._search(headers, now)

    def _search(self, headers: Mapping[bytes, bytes], now: float) -> Grant:
        """The key among all that the headers offer; explains when there is none."""
        offered = list(_credentials(headers))
        for secret in offered:
            grant = self._grants.get(hashlib.sha256(secret).digest())
            if grant is not None:
                if now >= grant.ends_at:
                    raise _ended(grant, now)
                return grant
        if self.revision < 0:
            raise StorageError("The API keys have not been loaded yet.", retry_after_s=1.0)
        raise _unknown(offered, headers)


def authorise(grant: Grant, endpoint: str, model: str | None, peer: str, now: float) -> Caller:
    """The caller, when its key covers what is asked.

    Args:
        grant: from `KeySnapshot.authenticate`.
        endpoint: `chat`, `embeddings`, `admin`, ...
        model: the name asked for; None where the endpoint has none or it is not known yet.
        peer: the client's address.
        now: Unix seconds. A slow body may arrive after the key has ended.

    Raises:
        Unauthenticated: the key has ended since.
        Forbidden: naming what it does not cover.
    """
    if now >= grant.ends_at:
        raise _ended(grant, now)
    if not grant.covers_endpoint(endpoint):
        raise Forbidden(f"This API key may not use `{endpoint}`.")
    if model is not None and not grant.covers_model(model):
        raise Forbidden(f"This API key may not use the model `{model[:_SHOWN_CHARS]}`.", param="model")
    if not grant.covers_peer(peer):
        raise Forbidden(f"This API key may not be used from {peer or 'this connection'}.")
    return grant.caller


def _credentials(headers: Mapping[bytes, bytes]) -> Iterable[bytes]:
    """Secrets that the headers offer, in order of precedence."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, secret = authorization.strip().partition(b" ")
        if scheme.lower() == b"bearer" and secret:
            yield secret.strip()
    for name in _KEY_HEADERS:
        value = headers.get(name)
        if value and (value := value.strip()):
            yield value


def _ended(grant: Grant, now: float) -> Unauthenticated:
    if grant.key.state(now) == "expired":
        return Unauthenticated("This API key has expired.", hint="ask for another, or rotate it in time")
    return Unauthenticated("This API key was revoked.", hint="ask for another")


def _unknown(offered: list[bytes], headers: Mapping[bytes, bytes]) -> Unauthenticated:
    """Why none of the offered secrets is a key, from their form alone."""
    if not offered:
        if headers.get(b"authorization", b"").strip():
            return Unauthenticated("The `authorization` header is not of the form `Bearer KEY`.")
        return Unauthenticated("No API key was given.")
    secret = offered[0].decode("latin-1")
    if not secret.startswith(PREFIX):
        return Unauthenticated(
            f"This is not an API key of this gateway: those begin with `{PREFIX}`.",
            hint="providers' keys go into the gateway's configuration; `fairlead keys create` makes its own",
        )
    if not is_well_formed(secret):
        return Unauthenticated("This API key is mistyped or incomplete: its checksum does not match.")
    return Unauthenticated("This API key is not known.")


def _fits(pieces: tuple[str, ...], model: str) -> bool:
    """Whether a pattern, split at its stars, matches all of `model`.

    Taking each piece at its first place is enough when anything may stand
    between them, and keeps the work linear, unlike a regular expression.
    """
    first, *middle, last = pieces
    if not model.startswith(first):
        return False
    place = len(first)
    for piece in middle:
        found = model.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return len(model) - place >= len(last) and model.endswith(last)
