"""The SQL of API keys.

Every change increments the revision in the same transaction, before anything
else: the lock on that row puts changes in order, on engines with concurrent
writers too. `changed_since` reads what lies above a revision, so that a
gateway pays for what changed and not for how many keys there are.

This module is an edge: it takes its chance from the system. Fail closed: a
row that cannot be understood is a revoked key.
"""

from __future__ import annotations

import ipaddress
import math
import secrets
from typing import Final

import msgspec

from fairlead.errors import Conflict, InvalidRequest, NotFound, StorageError
from fairlead.gateway.keys import ADMIN, ENTROPY_BYTES, Issued, Key, Scope, check, issue
from fairlead.storage.ports import Database, Row, Value

_Statement = tuple[str, tuple[Value, ...]]

_BUMP: Final[_Statement] = ("UPDATE api_key_revision SET revision = revision + 1 WHERE id = 1", ())
_REVISION: Final = "SELECT revision FROM api_key_revision WHERE id = 1"
_COUNT: Final = "SELECT count(*) FROM api_keys"
_SELECT: Final = """
    SELECT id, digest, name, tenant, prefix, models, endpoints, ip_ranges,
        created_at, expires_at, revoked_at, rotated_from
    FROM api_keys"""
_ALL: Final = _SELECT + " ORDER BY created_at, id"
_ONE: Final = _SELECT + " WHERE id = ?"
_SINCE: Final = _SELECT + " WHERE revision > ?"
_INSERT: Final = """
    INSERT INTO api_keys (
        id, digest, name, tenant, prefix, models, endpoints, ip_ranges,
        created_at, expires_at, revoked_at, rotated_from, revision
    )
    SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, revision
    FROM api_key_revision WHERE id = 1"""
_INSERT_FIRST: Final = _INSERT + " AND NOT EXISTS (SELECT 1 FROM api_keys)"  # noqa: S608  # all constants
_INSERT_SUCCESSOR: Final = (
    _INSERT + " AND EXISTS (SELECT 1 FROM api_keys WHERE id = ? AND revoked_at IS NULL)"  # noqa: S608  # as above
)
_END: Final = """
    UPDATE api_keys
    SET revoked_at = ?, revision = (SELECT revision FROM api_key_revision WHERE id = 1)
    WHERE id = ?"""
_REVOKE: Final = _END + " AND (revoked_at IS NULL OR revoked_at > ?)"
_RETIRE: Final = _END + " AND revoked_at IS NULL"


async def create(database: Database, scope: Scope, *, now: float) -> Issued:
    """Make and keep a key.

    Raises:
        InvalidRequest: the scope is not valid; `param` names the field.
    """
    issued = issue(check(scope, now=now), now=now, entropy=secrets.token_bytes(ENTROPY_BYTES))
    await database.transaction([_BUMP, (_INSERT, _values(issued.key))])
    return issued


async def ensure_first_key(database: Database, *, now: float) -> str | None:
    """When there has never been a key, make one that may do everything and return its secret.

    Of several processes that ask at once, one gets the secret.
    """
    ((count,),) = await database.fetch(_COUNT)
    if count:
        return None
    scope = Scope(name="first key", endpoints=("*", ADMIN))
    issued = issue(check(scope, now=now), now=now, entropy=secrets.token_bytes(ENTROPY_BYTES))
    _, inserted = await database.transaction([_BUMP, (_INSERT_FIRST, _values(issued.key))])
    return issued.secret if inserted else None


async def list_keys(database: Database) -> list[Key]:
    """Every key there ever was, oldest first."""
    return [key_of(row) for row in await database.fetch(_ALL)]


async def find(database: Database, key_id: str) -> Key:
    """One key by its id. Raises NotFound."""
    rows = await database.fetch(_ONE, (key_id,))
    if not rows:
        raise NotFound(f"there is no API key {key_id}", hint="`fairlead keys list` shows them all")
    return key_of(rows[0])


async def revoke(database: Database, key_id: str, *, now: float) -> bool:
    """End a key now. False when it had been revoked before.

    Raises:
        NotFound: there is no such key.
    """
    await find(database, key_id)
    _, changed = await database.transaction([_BUMP, (_REVOKE, (now, key_id, now))])
    return changed > 0


async def rotate(database: Database, key_id: str, *, now: float, grace_s: float = 0.0) -> Issued:
    """Replace a key by another of the same scope; the old one ends `grace_s` from now.

    Raises:
        InvalidRequest: the grace is negative or has no end.
        NotFound: there is no such key.
        Conflict: it has ended, or was rotated before.
    """
    if not 0 <= grace_s < math.inf:
        raise InvalidRequest("a rotation's grace is a number of seconds, 0 or more", param="grace_s")
    old = await find(database, key_id)
    if now >= old.ends_at:
        raise Conflict(f"API key {key_id} cannot be rotated: it is {old.state(now)}")
    if old.revoked_at is not None:
        raise Conflict(f"API key {key_id} was rotated before", hint="rotate the key that replaced it")
    issued = issue(
        check(old.scope(), now=now),
        now=now,
        entropy=secrets.token_bytes(ENTROPY_BYTES),
        rotated_from=key_id,
    )
    _, inserted, _ = await database.transaction(
        [
            _BUMP,
            (_INSERT_SUCCESSOR, (*_values(issued.key), key_id)),
            (_RETIRE, (now + grace_s, key_id)),
        ]
    )
    if not inserted:
        raise Conflict(f"API key {key_id} was rotated or revoked by somebody else just now")
    return issued


async def revision(database: Database) -> int:
    """Changes whenever a key does."""
    rows = await database.fetch(_REVISION)
    if not rows or not isinstance(rows[0][0], int):
        raise StorageError("the state store has lost the revision of its API keys")
    return rows[0][0]


async def changed_since(database: Database, revision: int) -> list[Key]:
    """Keys that were made or changed after this revision; all of them for -1."""
    return [key_of(row) for row in await database.fetch(_SINCE, (revision,))]


def _values(key: Key) -> tuple[Value, ...]:
    return (
        key.id,
        key.digest.hex(),
        key.name,
        key.tenant,
        key.prefix,
        _json(key.models),
        _json(key.endpoints),
        _json(key.ip_ranges),
        key.created_at,
        key.expires_at,
        key.revoked_at,
        key.rotated_from,
    )


def _json(values: tuple[str, ...]) -> str:
    return msgspec.json.encode(values).decode()


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """A row, for msgspec to check its types."""

    id: str
    digest: str
    name: str
    tenant: str
    prefix: str
    models: str
    endpoints: str
    ip_ranges: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    rotated_from: str | None


def key_of(row: Row) -> Key:
    """The key that a row of the table holds. One that cannot be understood is a key revoked long ago."""
    try:
        stored = msgspec.convert(row, _Stored)
        models, endpoints, ip_ranges = (
            msgspec.json.decode(text, type=tuple[str, ...])
            for text in (stored.models, stored.endpoints, stored.ip_ranges)
        )
        for cidr in ip_ranges:
            ipaddress.ip_network(cidr)
        return Key(
            id=stored.id,
            name=stored.name,
            digest=bytes.fromhex(stored.digest),
            prefix=stored.prefix,
            tenant=stored.tenant,
            models=models,
            endpoints=endpoints,
            ip_ranges=ip_ranges,
            created_at=stored.created_at,
            expires_at=stored.expires_at,
            revoked_at=stored.revoked_at,
            rotated_from=stored.rotated_from,
        )
    except ValueError:  # msgspec's errors are ValueErrors too
        return _unreadable(str(row[0]))


def _unreadable(key_id: str) -> Key:
    """Stands for a damaged row. Its digest is that of no secret."""
    return Key(
        id=key_id,
        name="(unreadable)",
        digest=b"unreadable " + key_id.encode(),
        prefix="",
        tenant="",
        models=(),
        endpoints=(),
        ip_ranges=(),
        created_at=0.0,
        revoked_at=0.0,
    )
