"""Brings a database to the schema of this version of the code.

A migration is a numbered file of SQL in `schema/`, applied once, in one
transaction with the row that records it. The row is written first: of several
processes that start together one gets it, and the others wait for its commit
and then find the number taken. A schema with a migration that this version
does not know is refused, since older code would misread it.

Migrations are written in the SQL that every engine accepts, and a file that
has been released is never edited: its digest is recorded.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import Final

import msgspec

from fairlead.errors import StatementRejected, StorageUnusable
from fairlead.storage.ports import Database, Value

_FILE_NAME: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_TOKEN: Final = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | ; | [^;'"/-]+ | .""", re.DOTALL | re.VERBOSE
)
_CREATE_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        version INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        digest TEXT NOT NULL,
        applied_at DOUBLE PRECISION NOT NULL
    )"""
_RECORD: Final = "INSERT INTO schema_migrations (version, name, digest, applied_at) VALUES (?, ?, ?, ?)"
_APPLIED: Final = "SELECT version, name, digest FROM schema_migrations ORDER BY version"


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the schema."""

    version: int
    name: str
    statements: tuple[str, ...]
    digest: str
    """SHA-256 of the file, in hexadecimal."""


def migrations(folder: str = "schema") -> list[Migration]:
    """The migrations of this version of the code, in order; each kind of database has its `folder`."""
    found = [
        migration(int(match[1]), match[2], file.read_bytes())
        for file in (resources.files("fairlead.storage") / folder).iterdir()
        if (match := _FILE_NAME.fullmatch(file.name))
    ]
    return sorted(found, key=lambda step: step.version)


def migration(version: int, name: str, script: bytes) -> Migration:
    """One migration from the text of its file."""
    return Migration(
        version=version,
        name=name,
        statements=tuple(split(script.decode())),
        digest=hashlib.sha256(script).hexdigest(),
    )


def split(script: str) -> list[str]:
    """The statements of a script, without comments. Semicolons in quotes and comments do not count."""
    statements, current = [], ""
    for piece in _TOKEN.findall(script):
        if piece == ";":
            statements.append(current.strip())
            current = ""
        elif not piece.startswith(("--", "/*")):
            current += piece
    statements.append(current.strip())
    return [statement for statement in statements if statement]


async def migrate(
    database: Database,
    known: list[Migration],
    *,
    now: float,
    name: str,
    guard: tuple[str, tuple[Value, ...]] | None = None,
) -> int:
    """Apply what is missing and return how many migrations this call applied.

    Safe to run by any number of processes at once.

    Args:
        database: to be brought up to date.
        known: the migrations, in order.
        now: Unix seconds.
        name: the store's, for messages.
        guard: a statement that every transaction begins with: it takes the lock of an engine on which
            two processes cannot make the same table at once.

    Raises:
        StorageUnusable: the schema is newer than this code, or an applied migration was edited.
        StorageError: the store failed; what was applied until then stays applied.
    """
    first = [guard] if guard is not None else []
    if guard is None:
        await database.execute(_CREATE_TABLE)  # waits for nobody when the table is there
    else:
        await database.transaction([guard, (_CREATE_TABLE, ())])
    applied = await _applied(database)
    _refuse_unknown(applied, known, name)
    count = 0
    for step in known:
        if step.version in applied:
            continue
        record = (_RECORD, (step.version, step.name, step.digest, now))
        try:
            await database.transaction([*first, record, *((statement, ()) for statement in step.statements)])
            count += 1
        except StatementRejected:
            # Either somebody else applied it meanwhile, or its SQL is wrong: the table knows.
            applied = await _applied(database)
            _refuse_unknown(applied, known, name)
            if step.version not in applied:
                raise
    return count


async def _applied(database: Database) -> dict[int, tuple[str, str]]:
    rows = await database.fetch(_APPLIED)
    return {int(version or 0): (str(name), str(digest)) for version, name, digest in rows}


def _refuse_unknown(applied: dict[int, tuple[str, str]], known: list[Migration], name: str) -> None:
    """Raise StorageUnusable unless every applied migration is one of the known, unedited."""
    by_version = {step.version: step for step in known}
    for version, (step_name, digest) in applied.items():
        step = by_version.get(version)
        if step is None:
            raise StorageUnusable(
                f"state store {name} has schema {version:04d}_{step_name}, which this version of Fairlead "
                f"does not know; it knows up to {max(by_version, default=0):04d}",
                hint="run the newer Fairlead that wrote it, or restore the backup made before the upgrade",
            )
        if step.digest != digest:
            raise StorageUnusable(
                f"state store {name} was built with another edition of schema {version:04d}_{step_name}",
                hint="run the Fairlead that wrote it, or start afresh with another `state.dir`",
            )
