"""Reads the configuration file and the files that secrets name. One of the package's two edges."""

from __future__ import annotations

import errno
from pathlib import Path

from fairlead.config.tree import MAX_BYTES
from fairlead.errors import ConfigError

_MAX_SECRET_BYTES = 64 * 1024


def read_config(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: it cannot be read, is too large or is not UTF-8.
    """
    try:
        data = _read(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read `{path}`: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"`{path}` is larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"`{path}` is not UTF-8 text (byte {error.start})") from error


def read_secret(path: str) -> str:
    """The text of a secret's file; `~` is expanded. Raises OSError or UnicodeDecodeError."""
    try:
        expanded = Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "no such user or home directory", path) from error
    data = _read(expanded, _MAX_SECRET_BYTES)
    if len(data) > _MAX_SECRET_BYTES:
        raise OSError(errno.EFBIG, f"larger than {_MAX_SECRET_BYTES // 1024} KiB", path)
    return data.decode()


def _read(path: Path, limit: int) -> bytes:
    # One byte more than the limit tells too large from just fitting, without reading /dev/zero to its end.
    with path.open("rb") as file:
        return file.read(limit + 1)
