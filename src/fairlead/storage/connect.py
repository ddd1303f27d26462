"""Opens state stores: the only module that knows a backend."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from fairlead.errors import ConfigError, StorageDamaged, StorageUnusable
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.ports import Database
from fairlead.storage.sqlite import SqliteDatabase

if TYPE_CHECKING:
    from fairlead.storage.redis import RedisServer

_log: Final = logging.getLogger(__name__)
_FILE_NAME: Final = "fairlead.db"
_CACHE_NAME: Final = "cache.db"
_DAMAGED_SUFFIX: Final = ".damaged"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


async def open_database(url_or_dir: str, *, durable: bool = False) -> Database:
    """Open the state store, bringing its schema up to date.

    Args:
        url_or_dir: a directory, in which `fairlead.db` is kept (`~` is expanded); or
            `sqlite:///PATH` with an absolute path; or `:memory:`.
        durable: each commit waits for the disk, so that not even a power failure undoes it.

    Raises:
        ConfigError: the URL is of a kind that is not supported.
        StorageError: the store cannot be opened, or is newer than this code.
    """
    path = _path(url_or_dir)
    database = await SqliteDatabase.open(path, durable=durable)
    try:
        await migrate(database, migrations(), now=time.time(), name=database.name)
    except BaseException:
        await database.close()
        raise
    return database


async def open_existing(url_or_dir: str) -> Database | None:
    """Open the state store as it is, to read; None when there is none. Nothing is created or migrated.

    Raises:
        ConfigError: the URL is of a kind that is not supported.
        StorageError: the store cannot be opened. What it holds may be of any version.
    """
    path = _path(url_or_dir)
    if path is None or not path.is_file():
        return None
    return await SqliteDatabase.open(path)


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
            param="state.dir",
            hint="give a directory, or sqlite:///PATH",
        )
    if not rest.startswith("/") or not rest.strip("/") or "?" in rest or "#" in rest:
        raise ConfigError(
            f"{url_or_dir!r} is not the URL of a SQLite file",
            param="state.dir",
            hint="write sqlite:///PATH with an absolute path and no options",
        )
    return Path("/" + unquote(rest).lstrip("/"))
