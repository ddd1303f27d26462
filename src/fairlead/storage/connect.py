"""Opens state stores: the only module that knows a backend."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from fairlead.errors import ConfigError
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.ports import Database
from fairlead.storage.sqlite import SqliteDatabase

_FILE_NAME: Final = "fairlead.db"
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
