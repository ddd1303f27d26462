"""The key of a request: a digest of everything that changes its answer.

Two requests have the same key when they are the same JSON value, asked by the
same scope of the same route, less the fields that `IGNORED` names. Everything
that is not named there counts, fields nobody knows included.

- The order of names in objects, white space, and how a character is escaped do
  not count. The order of lists and all text do, letter for letter.
- Numbers count by value, as JSON's own canonical form (RFC 8785) has it: 1, 1.0
  and 1e0 are one. Integers are exact however long; other numbers are the 64-bit
  floats that every reader makes of them.
- `null` is not the same as a missing field: that costs a miss at worst.
- An object that names a field twice has no key, because readers differ in which
  of the two they take; nor has a number that is no 64-bit float.

The scope is always a part. Nothing here knows how tenants come to share one:
`Spaces` reads that from the configuration.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from fairlead import config as cfg
from fairlead.config.cache_rules import EVERYONE

VERSION: Final = 1
"""Of the canonical form: another one makes every key another."""
KEY_BYTES: Final = 32

IGNORED: Final[dict[str, frozenset[str]]] = {
    "chat": frozenset(
        {
            "stream", "stream_options", "user", "metadata", "store", "safety_identifier",
            "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
        }
    ),
    "completions": frozenset({"stream", "stream_options", "user"}),
    # A `response` repeats nearly all of its request, `user` and `metadata` too: they are part of the answer.
    "responses": frozenset({"stream", "stream_options"}),
    "messages": frozenset({"stream", "metadata", "cache_control"}),
    "embeddings": frozenset({"user", "encoding_format"}),
    "rerank": frozenset({"user"}),
    "moderations": frozenset({"user"}),
}  # fmt: skip
"""By API: the top-level fields that do not change what is answered. `store: true`, which makes the
provider remember, is not cached at all (`policy`). An API that is not named here is not cached."""

_FRAMED_API: Final = {api: f"{len(api)}:{api}".encode() for api in IGNORED}
_EXACT: Final = 2.0**53
_BACKSLASH: Final = 0x5C
"""A number: looking for one byte takes a tenth of the time that looking for two does."""
_ESCAPED_COLON: Final = re.compile(rb"\\u003[aA]")
_MOST_SPACES: Final = 20_000


class Canonical(NamedTuple):
    """One request in the form that its key is made of."""

    api: str
    text: bytes
    fields: dict[str, Any]
    """The top-level fields that count, decoded."""
    ignored: dict[str, Any]
    """Those that do not."""


class _NotANumber(ValueError):
    """A number too large for a float: what readers make of it is anybody's guess."""


def _number(text: str) -> int | float:
    value = float(text)
    if -_EXACT < value < _EXACT:
        whole = int(value)
        return whole if whole == value else value
    if value - value != 0.0:
        raise _NotANumber(text[:40])
    return value


_decode: Final = msgspec.json.Decoder(dict[str, Any], float_hook=_number).decode
_encode: Final = msgspec.json.Encoder(order="sorted").encode


def read(api: str, body: bytes) -> Canonical | None:
    """The canonical form of a body; None when it has none, and then no answer may be kept for it.

    Args:
        api: the API's name, as in `IGNORED`.
        body: the client's, as it came.
    """
    unimportant = IGNORED.get(api)
    if unimportant is None:
        return None
    try:
        fields = _decode(body)
        ignored = {name: fields.pop(name) for name in unimportant.intersection(fields)}
        text = _encode(fields)
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError):
        return None
    # Every name brings one colon, and what the decoder dropped of a repeated one is missing here. Only an
    # escaped colon, which nobody writes, could make up for it.
    colons = text.count(b":")
    if ignored:
        colons += _encode(ignored).count(b":")
    if colons != body.count(b":") or (_BACKSLASH in body and _ESCAPED_COLON.search(body)):
        return None
    return Canonical(api, text, fields, ignored)


class Space:
    """Where the answers of one route and scope are, as one tenant sees it."""

    __slots__ = ("_prefix", "model", "scope", "tenant")

    def __init__(self, scope: str, tenant: str, model: str, route: bytes) -> None:
        """Fix what all keys of the space have in common.

        Args:
            scope: `tenant:NAME`, or `shared:NAME` of a scope of the configuration.
            tenant: who asks; of what it pays for in a shared scope it is the owner.
            model: the route's name in the configuration.
            route: everything else that the route's keys depend on.
        """
        self.scope = scope
        self.tenant = tenant
        self.model = model
        self._prefix = _digest(b"".join(_framed((scope.encode(), model.encode(), route))))

    @property
    def mark(self) -> bytes:
        """A digest of what all keys of the space have in common: scope, route, targets and `version`."""
        return self._prefix

    def key(self, request: Canonical, headers: bytes = b"") -> bytes:
        """The digest. `headers` are the client's lines that are sent upstream and change what it answers."""
        # The space as a digest and the two others behind their lengths: no two requests have the same bytes.
        return _digest(
            b"".join((self._prefix, _FRAMED_API[request.api], b"%d:" % len(headers), headers, request.text))
        )

    def alike(self, text: bytes) -> bytes:
        """The digest of what a request is in every dialect. It is no request's own key."""
        return _digest(b"".join((self._prefix, b"*", text)))


class Spaces:
    """The spaces of one configuration."""

    def __init__(self, config: cfg.Config) -> None:
        self._routes = {
            name: _route(name, model, config) for name, model in config.models.items() if model.cache
        }
        self._scopes = {
            name: (model.cache.scope, frozenset(config.cache.scopes[model.cache.scope].tenants))
            for name, model in config.models.items()
            if model.cache and model.cache.scope is not None
        }
        self._known: dict[tuple[str, str], Space] = {}

    def of(self, route: str, tenant: str) -> Space | None:
        """The space that a tenant's requests for a route are kept in; None when nothing is."""
        space = self._known.get((route, tenant))
        return space if space is not None else self._make(route, tenant)

    def _make(self, route: str, tenant: str) -> Space | None:
        facts = self._routes.get(route)
        if facts is None:
            return None
        scope = f"tenant:{tenant}"
        shared = self._scopes.get(route)
        if shared is not None and (tenant in shared[1] or EVERYONE in shared[1]):
            scope = f"shared:{shared[0]}"
        if len(self._known) >= _MOST_SPACES:
            self._known.clear()
        space = self._known[route, tenant] = Space(scope, tenant, route, facts)
        return space


def targets_mark(model: cfg.Model, config: cfg.Config) -> str:
    """A digest of who answers for a model: where, and with which model of theirs."""
    targets = sorted(
        b"".join(_framed(_target(target, config.providers[target.provider]))) for target in model.targets
    )
    return _digest(b"".join(_framed((b"targets", *targets)))).hex()[:16]


def _route(name: str, model: cfg.Model, config: cfg.Config) -> bytes:
    """What an answer of this route depends on besides the request: its targets, and the operator's word."""
    assert model.cache is not None
    targets = sorted(
        b"".join(_framed(_target(target, config.providers[target.provider]))) for target in model.targets
    )
    return b"".join(_framed((b"%d" % VERSION, model.cache.version.encode(), *targets)))


def _target(target: cfg.Target, provider: cfg.Provider) -> Iterator[bytes]:
    yield target.provider.encode()
    for option in (
        target.model, provider.type, provider.base_url, provider.api_version, provider.region,
        provider.responses_api,
    ):  # fmt: skip
        yield b"-" if option is None else f"+{option}".encode()
    for header, value in sorted(provider.headers.items()):
        yield f"{header.lower()}={value}".encode()  # a secret shows as its reference


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=KEY_BYTES, person=b"fairlead-cache").digest()


def _framed(parts: tuple[bytes, ...] | Iterator[bytes]) -> Iterator[bytes]:
    """Each part behind its length, so that no two lists of parts have the same bytes."""
    for part in parts:
        yield b"%d:%b" % (len(part), part)
