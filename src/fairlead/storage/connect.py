"""Opens state stores: the only module that knows a backend."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from fairlead.config import Secret, Storage
from fairlead.errors import ConfigError, StorageDamaged, StorageUnusable
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.ports import Database
from fairlead.storage.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from fairlead.storage.postgres import PostgresDatabase
    from fairlead.storage.redis import RedisServer

_log: Final = logging.getLogger(__name__)
_FILE_NAME: Final = "fairlead.db"
_CACHE_NAME: Final = "cache.db"
_DAMAGED_SUFFIX: Final = ".damaged"
_POSTGRES: Final = ("postgres", "postgresql")
_MIGRATION_S: Final = 3600.0
"""Longest time of a step of the schema: an index over every request takes minutes."""
_LOCK: Final = 0x66_61_69_72_6C_65_61_64
"""Of Postgres' advisory locks: ours."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


async def open_database(
    url_or_dir: str, *, durable: bool = False, connections: int = 4, timeout_s: float = 10.0
) -> Database:
    """Open the state store, bringing its schema up to date.

    Args:
        url_or_dir: a directory, in which `fairlead.db` is kept (`~` is expanded); or
            `sqlite:///PATH` with an absolute path; or `:memory:`; or `postgresql://...`.
        durable: each commit waits for the disk, so that not even a power failure undoes it. With
            Postgres the server decides.
        connections: most connections to Postgres.
        timeout_s: longest time for one call to Postgres.

    Raises:
        ConfigError: the URL is of a kind that is not supported, or its client library is missing.
        StorageError: the store cannot be opened, or is newer than this code.
    """
    if is_postgres(url_or_dir):
        return await _open_postgres(url_or_dir, connections=connections, timeout_s=timeout_s)
    path = _path(url_or_dir)
    database = await SqliteDatabase.open(path, durable=durable)
    try:
        await migrate(database, migrations(), now=time.time(), name=database.name)
    except BaseException:
        await database.close()
        raise
    return database


async def open_configured(
    options: Storage, directory: str, resolve: Callable[[Secret], str], *, durable: bool = False
) -> Database:
    """Open the state store that a configuration names: `storage.database`, else the file in `state.dir`.

    Args:
        options: the section `storage`.
        directory: `state.dir`.
        resolve: gives the value of a secret.
        durable: as of `open_database`.

    Raises:
        ConfigError: the secret is missing, or is no URL of a database.
        StorageError: as of `open_database`.
    """
    return await open_database(
        configured(options, directory, resolve),
        durable=durable,
        connections=options.connections,
        timeout_s=options.timeout_s,
    )


def configured(options: Storage, directory: str, resolve: Callable[[Secret], str]) -> str:
    """What `open_database` and `open_existing` take, by a configuration.

    Raises:
        ConfigError: the secret is missing, or is no URL of a database.
    """
    if options.database is None:
        return directory
    url = resolve(options.database)
    if _SCHEME.match(url) is None:
        raise ConfigError(
            f"what `{options.database}` holds is no URL of a database",
            param="storage.database",
            hint="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
        )
    return url


async def open_existing(url_or_dir: str) -> Database | None:
    """Open the state store as it is, to read; None when there is none. Nothing is created or migrated.

    Raises:
        ConfigError: the URL is of a kind that is not supported.
        StorageError: the store cannot be opened. What it holds may be of any version.
    """
    if is_postgres(url_or_dir):
        database = await _postgres().open(url_or_dir, connections=1)
        if await database.fetch("SELECT 1 FROM information_schema.tables WHERE table_name = 'api_keys'"):
            return database
        await database.close()
        return None
    path = _path(url_or_dir)
    if path is None or not path.is_file():
        return None
    return await SqliteDatabase.open(path)


def is_postgres(url_or_dir: str) -> bool:
    """Is this the URL of a Postgres database?"""
    match = _SCHEME.match(url_or_dir)
    return match is not None and match[1].lower() in _POSTGRES


async def _open_postgres(url: str, *, connections: int, timeout_s: float) -> Database:
    kind = _postgres()
    # A connection of its own, as a step of the schema may take longer than anything else may.
    migrating = await kind.open(url, connections=1, timeout_s=_MIGRATION_S)
    try:
        guard = ("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        await migrate(migrating, migrations(), now=time.time(), name=migrating.name, guard=guard)
    finally:
        await migrating.close()
    return await kind.open(url, connections=connections, timeout_s=timeout_s)


def _postgres() -> type[PostgresDatabase]:
    try:
        from fairlead.storage.postgres import PostgresDatabase
    except ImportError as error:
        raise ConfigError(
            "the client library of Postgres is not installed",
            param="storage.database",
            hint="pip install 'fairlead[postgres]'",
        ) from error
    return PostgresDatabase


async def open_cache_file(url_or_dir: str, *, now: float) -> Database | None:
    """Open the file of kept answers, `cache.db` beside the state store; None where that is in memory.

    What it holds can be had again, so a damaged file is set aside (as
    `cache.db.damaged`, in place of an older one) and an empty one begun.

    Raises:
        ConfigError: the URL is of a kind that is not supported.
        StorageError: it cannot be opened, or is newer than this code.
    """
    beside = _path(url_or_dir)
    if beside is None:
        return None
    path = beside.with_name(_CACHE_NAME)
    try:
        return await _open_cache(path, now)
    except StorageDamaged as error:
        _log.warning(
            "the file of kept answers is damaged; a new one is begun", extra={"error": error.message}
        )
        try:
            path.replace(f"{path}{_DAMAGED_SUFFIX}")
            for companion in ("-wal", "-shm"):
                path.with_name(_CACHE_NAME + companion).unlink(missing_ok=True)
        except OSError as failure:
            raise StorageUnusable(
                f"state store {path} is damaged and cannot be set aside: {failure.strerror}"
            ) from failure
        return await _open_cache(path, now)


async def _open_cache(path: Path, now: float) -> Database:
    database = await SqliteDatabase.open(path, busy_timeout_s=1.0)
    try:
        await migrate(database, migrations("schema_cache"), now=now, name=database.name)
    except BaseException:
        await database.close()
        raise
    return database


def redis_server(
    url: str, *, timeout_s: float = 0.5, cluster: bool = False, option: str = "limits.redis.url"
) -> RedisServer:
    """A Redis or Valkey server, not connected to yet. Call it in a running event loop.

    Args:
        url: of the server, or of any node of a cluster.
        timeout_s: longest wait for one answer.
        cluster: whether it is a cluster.
        option: what to mend in the configuration when the URL is wrong.

    Raises:
        ConfigError: the URL is not one of a Redis server, or its client library is not installed.
    """
    try:
        from fairlead.storage.redis import RedisServer
    except ImportError as error:
        raise ConfigError(
            "the client library of Redis is not installed",
            param=f"{option.partition('.')[0]}.store",
            hint="pip install 'fairlead[redis]'",
        ) from error
    return RedisServer(url, timeout_s=timeout_s, cluster=cluster, option=option)


def _path(url_or_dir: str) -> Path | None:
    """The SQLite file that is meant; None is memory."""
    if url_or_dir == ":memory:":
        return None
    match = _SCHEME.match(url_or_dir)
    if match is None:
        if not url_or_dir.strip():
            raise ConfigError("the state store's directory is empty", param="state.dir")
        try:
            return Path(url_or_dir).expanduser().absolute() / _FILE_NAME
        except RuntimeError as error:
            raise ConfigError(
                f"`~` in {url_or_dir!r} cannot be expanded: this user has no home directory",
                param="state.dir",
                hint="write the directory in full",
            ) from error
    scheme, rest = match[1].lower(), match[2]
    if scheme != "sqlite":
        raise ConfigError(
            f"state stores of kind `{scheme}` are not supported",
            param="storage.database",
            hint="give postgresql://..., or sqlite:///PATH",
        )
    if not rest.startswith("/") or not rest.strip("/") or "?" in rest or "#" in rest:
        raise ConfigError(
            f"{url_or_dir!r} is not the URL of a SQLite file",
            param="state.dir",
            hint="write sqlite:///PATH with an absolute path and no options",
        )
    return Path("/" + unquote(rest).lstrip("/"))
