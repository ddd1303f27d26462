"""`fairlead config`: check, show, schema, import-litellm."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from fairlead.cli import settings
from fairlead.config import Config, files, parse, secrets
from fairlead.config.litellm import Note, import_litellm
from fairlead.config.schema import schema
from fairlead.config.tree import Problem
from fairlead.errors import ConfigError, StorageError, UsageError
from fairlead.gateway.db import list_keys
from fairlead.limits.tree import orphans_text, unknown_tenants
from fairlead.storage.connect import configured, open_existing

_STDIN: Final = "-"
_Subparsers = argparse._SubParsersAction  # what `add_subparsers` returns has no public name


def add_parser(subparsers: _Subparsers[Any]) -> None:
    """Add the group."""
    group = subparsers.add_parser(
        "config",
        help="check, show and import the configuration",
        description="Check, show and import the configuration.",
    )
    commands = group.add_subparsers(title="commands", metavar="COMMAND")
    _add_check(commands)
    _add_show(commands)
    text = "print the JSON Schema of fairlead.yaml, for editors"
    commands.add_parser("schema", help=text, description=_sentence(text)).set_defaults(run=print_schema)
    _add_import(commands)


def _add_check(commands: _Subparsers[Any]) -> None:
    text = "say whether a configuration is valid, and what is wrong with it"
    parser = commands.add_parser("check", help=text, description=_sentence(text))
    _add_file(parser)
    parser.add_argument(
        "--secrets", action="store_true", help="also look whether every secret's variable or file is there"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=check)


def _add_show(commands: _Subparsers[Any]) -> None:
    text = "print the effective configuration, secrets as references"
    parser = commands.add_parser("show", help=text, description=_sentence(text))
    _add_file(parser)
    parser.add_argument("--brief", action="store_true", help="leave out options that have their default")
    parser.set_defaults(run=show)


def _add_import(commands: _Subparsers[Any]) -> None:
    text = "turn LiteLLM's proxy configuration into a fairlead.yaml"
    parser = commands.add_parser(
        "import-litellm",
        help=text,
        description=_sentence(text),
        epilog="The new file goes to the standard output, the report of what could not be mapped to the "
        "standard error. Secrets in clear text are never copied.",
    )
    parser.add_argument("file", metavar="FILE", help="LiteLLM's config.yaml; - reads the standard input")
    parser.add_argument(
        "-o", dest="out", metavar="OUT", help="write a new file instead of the standard output"
    )
    parser.add_argument("--all", action="store_true", help="also report what was mapped exactly")
    parser.set_defaults(run=convert)


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help=f"a configuration file; - reads the standard input (default: ${settings.VARIABLE}, "
        f"./{settings.FILE_NAME}, else detected)",
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    config: Config | None
    problems: list[Problem]


def _load(args: argparse.Namespace) -> _Loaded:
    """The configuration that a command is about; a detected one is always valid."""
    if args.file == _STDIN:
        return _checked(sys.stdin.read(), "<stdin>")
    path = Path(args.file) if args.file else settings.find(args)
    if path is None:
        return _Loaded(source="detected", config=settings.detected(os.environ), problems=[])
    return _checked(files.read_config(path), str(path))


def _checked(text: str, source: str) -> _Loaded:
    config, problems = parse.check(text)
    return _Loaded(source=source, config=config, problems=problems)


def check(args: argparse.Namespace) -> int:
    """`fairlead config check`."""
    loaded = _load(args)
    problems = list(loaded.problems)
    if args.secrets and loaded.config is not None:
        problems += _missing_secrets(loaded.config)
    warnings = [] if problems or loaded.config is None else _orphaned_keys(loaded.config)
    if args.json:
        result = {"file": loaded.source, "valid": not problems, "problems": problems, "warnings": warnings}
        print(msgspec.json.format(msgspec.json.encode(result)).decode())
        return 0 if not problems else ConfigError.exit_status
    if problems:
        raise parse.failure(problems, loaded.source)
    assert loaded.config is not None
    providers, models = len(loaded.config.providers), len(loaded.config.models)
    print(f"{loaded.source}: valid ({_count(providers, 'provider')}, {_count(models, 'model')})")
    for warning in warnings:
        print(f"fairlead: warning: {warning}", file=sys.stderr)
    return 0


def _missing_secrets(config: Config) -> list[Problem]:
    problems = []
    for path, secret in secrets.references(config):
        try:
            secrets.resolve(secret, os.environ, files.read_secret)
        except ConfigError as error:
            problems.append(Problem(message=error.message, hint=error.hint, path=parse.path_text(path)))
    return problems


def _orphaned_keys(config: Config) -> list[str]:
    """What is to be told of keys in the state store whose tenants this configuration does not have."""
    if not config.tenants:
        return []

    async def tenants() -> dict[str, str]:
        store = await open_existing(configured(config.storage, config.state.dir, settings.secret_value))
        if store is None:
            return {}
        try:
            now = time.time()
            return {key.id: key.tenant for key in await list_keys(store) if now < key.ends_at}
        finally:
            await store.close()

    try:
        orphans = unknown_tenants(config, asyncio.run(tenants()))
    except StorageError as error:
        return [f"whether every key has a tenant could not be checked: {error.message}"]
    return [orphans_text(orphans)] if orphans else []


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def show(args: argparse.Namespace) -> int:
    """`fairlead config show`."""
    loaded = _load(args)
    if loaded.config is None:
        raise parse.failure(loaded.problems, loaded.source)
    print(f"# {loaded.source}")
    print(parse.dump(loaded.config, defaults=not args.brief), end="")
    return 0


def print_schema(_args: argparse.Namespace) -> int:
    """`fairlead config schema`."""
    print(json.dumps(schema(), indent=2))
    return 0


def convert(args: argparse.Namespace) -> int:
    """`fairlead config import-litellm`."""
    if args.file == _STDIN:
        source, given = "<stdin>", sys.stdin.read()
    else:
        source, given = args.file, files.read_config(Path(args.file))
    text, notes = import_litellm(given, source, os.environ)
    if args.out is None:
        print(text, end="")
    else:
        _write_new(Path(args.out), text)
    print(report(notes, everything=args.all), end="", file=sys.stderr)
    return 0


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"`{path}` exists already", hint="name another file, or remove this one") from error
    except OSError as error:
        raise UsageError(f"cannot write `{path}`: {error.strerror}") from error


def report(notes: list[Note], *, everything: bool) -> str:
    """What became of the imported options, one a line, and a sum at the end."""
    lines = []
    for note in notes:
        if everything or note.outcome != "mapped":
            message = f": {note.message}" if note.message else ""
            lines.append(f"{note.outcome:<12}  {note.path}{message}")
    counts = dict.fromkeys(("mapped", "approximated", "not mapped"), 0)
    for note in notes:
        counts[note.outcome] += 1
    lines.append(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    safe = ("".join(char if char.isprintable() else "?" for char in line) for line in lines)
    return "\n".join(safe) + "\n"
