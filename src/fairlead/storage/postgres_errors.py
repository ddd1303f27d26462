"""What a failure of Postgres means for the caller, decided by its SQLSTATE, never by its text.

Three answers: the statement is wrong (`StatementRejected`), somebody has to
mend the server or its settings (`StorageUnusable`), or it may work the next
time (`StorageError`). A message names the server and what went wrong; the URL,
which holds the password, is not in it.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from fairlead.errors import StatementRejected, StorageError, StorageUnusable

READ_ONLY: Final = "25006"

_REJECTED: Final = frozenset(
    {"0A", "0B", "20", "21", "22", "23", "24", "25", "27", "2B", "2F", "38", "39", "42", "44", "P0"}
)
"""Classes of SQLSTATE in which the statement, or what it was given, is at fault."""

_Meaning = tuple[type[StorageError], str, str | None]

_MEANINGS: Final[dict[str, _Meaning]] = {
    "28P01": (
        StorageUnusable,
        "refused the password",
        "check what `storage.database` refers to, and the server's pg_hba.conf",
    ),
    "28000": (
        StorageUnusable,
        "refused this user",
        "check what `storage.database` refers to, and the server's pg_hba.conf",
    ),
    "3D000": (StorageUnusable, "has no such database", "make it with `createdb`"),
    "3F000": (StorageUnusable, "has no schema to make tables in", "check `search_path` of the user"),
    "42501": (
        StorageUnusable,
        "does not let this user do that",
        "let the user own the database, or grant it CREATE and USAGE on the schema",
    ),
    "53100": (StorageError, "cannot grow: its disk is full", "free space on the server"),
    "53300": (
        StorageError,
        "has no connection left",
        "raise `max_connections` there, or lower `storage.connections`",
    ),
    "57014": (StorageError, "took too long for a statement", "look for locks and load on the server"),
    "57P03": (StorageError, "is starting or stopping", None),
    READ_ONLY: (
        StorageError,
        "is read-only",
        "it may be a standby: add `target_session_attrs=read-write` to the URL",
    ),
}


def translate(error: Exception, name: str) -> StorageError:
    """The StorageError that a failure of the client library means; `name` is the store's."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, asyncpg.DataError) or type(error) is OverflowError:
        return StatementRejected(f"state store {name} rejected a value ({error})")
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            return StorageError(f"state store {name} has a new schema meanwhile ({error})")
        default: _Meaning = (
            (StatementRejected, "rejected a statement", None)
            if state[:2] in _REJECTED
            else (StorageError, "failed", None)
        )
        kind, meaning, hint = _MEANINGS.get(state, default)
        return kind(f"state store {name} {meaning} ({_first_line(error)})", hint=hint)
    if isinstance(error, TimeoutError):
        return StorageError(f"state store {name} did not answer in time")
    return StorageError(f"state store {name} cannot be reached ({_first_line(error)})")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:300]
