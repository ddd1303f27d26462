"""Finds the configuration that a command works with.

Order: `--config FILE`, the variable FAIRLEAD_CONFIG, `fairlead.yaml` in the
working directory, else what is detected on this machine. A file that was
named and does not exist is an error, never a reason to look elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from fairlead.config import Config, Secret
from fairlead.errors import ConfigError

VARIABLE: Final = "FAIRLEAD_CONFIG"
FILE_NAME: Final = "fairlead.yaml"


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add `--config` and `--state`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"configuration file (default: ${VARIABLE}, ./{FILE_NAME}, else detected)",
    )
    parser.add_argument("--state", metavar="DIR", help="directory of the embedded stores, over `state.dir`")


def find(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The configuration file that applies, or None when the configuration is detected.

    Raises:
        ConfigError: the file that was named does not exist.
    """
    for named, by in ((getattr(args, "config", None), "--config"), (environ.get(VARIABLE), VARIABLE)):
        if named:
            path = Path(named).expanduser()
            if not path.exists():
                raise ConfigError(f"no configuration file `{named}`", hint=f"it was named by {by}")
            return path
    path = Path(FILE_NAME)
    return path if path.is_file() else None


def load(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a command; `--state` replaces `state.dir`.

    Runs an event loop of its own when it has to look for local engines, so inside a running
    one it is called in a thread.

    Raises:
        ConfigError: the file cannot be read or is not valid.
    """
    path = find(args, environ)
    config = detected(environ) if path is None else from_file(path)
    state: str | None = getattr(args, "state", None)
    if state:
        config = msgspec.structs.replace(config, state=msgspec.structs.replace(config.state, dir=state))
    return config


def stored(args: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a command that only asks the state store; `--state` replaces `state.dir`.

    Nothing is detected: engines on this machine have no say in where the state is.

    Raises:
        ConfigError: the file cannot be read or is not valid.
    """
    path = find(args, environ)
    config = Config() if path is None else from_file(path)
    if args.state:
        config = msgspec.structs.replace(config, state=msgspec.structs.replace(config.state, dir=args.state))
    return config


def secret_value(secret: Secret) -> str:
    """The value of a secret, from the environment or its file. Raises ConfigError."""
    from fairlead.config.files import read_secret
    from fairlead.config.secrets import resolve

    return resolve(secret, os.environ, read_secret)


def from_file(path: Path) -> Config:
    """The configuration in a file. Raises ConfigError."""
    from fairlead.config.files import read_config  # YAML is not needed without a file
    from fairlead.config.parse import parse

    return parse(read_config(path), str(path))


def detected(environ: Mapping[str, str]) -> Config:
    """The configuration from the environment and the engines on this machine. Raises ConfigError."""
    from fairlead.config.detect import detect  # needed without a file only
    from fairlead.config.probe import probe_local_engines

    return detect(environ, asyncio.run(probe_local_engines()))


def state_dir(config: Config) -> Path:
    """The directory of the embedded stores, absolute. It may not exist yet.

    Raises:
        ConfigError: `~` cannot be expanded.
    """
    try:
        return Path(config.state.dir).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(
            f"state.dir: `{config.state.dir}` has no home directory to begin at",
            hint="name a directory with --state",
        ) from error
