"""`fairlead keys`: make, list, end and replace API keys.

Works on the state store itself, with or without a running gateway; running
ones follow within a second. A secret is written once, to stdout and alone, so
that `KEY=$(fairlead keys create --name app)` works; words go to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import math
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from fairlead.cli.settings import add_config_options, find, from_file, secret_value, stored
from fairlead.errors import InvalidRequest, UsageError
from fairlead.gateway import db
from fairlead.gateway.keys import ADMIN, DEFAULT_TENANT, ENDPOINTS, Issued, Key, Scope, id_in
from fairlead.limits.tree import Tree, require_tenant
from fairlead.storage.connect import open_configured
from fairlead.storage.ports import Database

T = TypeVar("T")

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,6})([smhdw])")
_OPTIONS: Final = {
    "name": "--name",
    "tenant": "--tenant",
    "models": "--models",
    "endpoints": "--endpoints",
    "ip_ranges": "--ip",
    "expires_at": "--expires",
}
"""The option behind each field of a scope."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("keys", help="make, list, revoke and rotate API keys")
    commands = group.add_subparsers(dest="keys_command", metavar="COMMAND", required=True)

    create = commands.add_parser("create", help="make a key; its secret is printed once, to stdout")
    create.add_argument("--name", required=True, help="what it is for")
    create.add_argument("--tenant", default=DEFAULT_TENANT, help="whose it is (default: %(default)s)")
    create.add_argument("--models", metavar="A,B*", help="models it may use, `*` for anything (default: all)")
    create.add_argument(
        "--endpoints",
        metavar="A,B",
        help=f"APIs it may use, of: {', '.join(ENDPOINTS)} (default: *, which is all but {ADMIN})",
    )
    create.add_argument(
        "--expires",
        metavar="30d|DATE",
        help="when it ends: a duration (s, m, h, d, w), a date, or a time with zone",
    )
    create.add_argument(
        "--ip", metavar="CIDR", action="append", default=[], help="range it may be used from; may be repeated"
    )
    create.add_argument("--admin", action="store_true", help="let it use the control API as well")
    _finish(create, _create)

    listing = commands.add_parser("list", help="show every key, without secrets")
    _finish(listing, _list)

    revoke = commands.add_parser("revoke", help="end a key now")
    revoke.add_argument("id", metavar="ID", help="its id, or a secret that has leaked")
    _finish(revoke, _revoke)

    rotate = commands.add_parser("rotate", help="replace a key by another of the same scope")
    rotate.add_argument("id", metavar="ID", help="the id of the key to replace")
    rotate.add_argument(
        "--grace", metavar="1h", default="0s", help="how long the old one stays valid (default: 0s)"
    )
    _finish(rotate, _rotate)


def _finish(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--json", action="store_true", help="write JSON to stdout")
    add_config_options(parser)
    parser.set_defaults(run=run)


# --- commands -----------------------------------------------------------------------------------


def _create(args: argparse.Namespace) -> int:
    now = time.time()
    endpoints = _split(args.endpoints) or ["*"]
    if args.tenant != DEFAULT_TENANT:
        _check_tenant(args)
    scope = Scope(
        name=args.name,
        tenant=args.tenant,
        models=tuple(_split(args.models) or ["*"]),
        endpoints=(*endpoints, ADMIN) if args.admin else tuple(endpoints),
        ip_ranges=tuple(args.ip),
        expires_at=None if args.expires is None else when(args.expires, now),
    )
    try:
        issued = _with_store(args, lambda store: db.create(store, scope, now=now))
    except InvalidRequest as error:
        raise _as_usage(error) from error
    _show_secret(issued, args, now)
    return 0


def _check_tenant(args: argparse.Namespace) -> None:
    """Refuse a tenant whose requests would be refused. Without a configuration any may have keys."""
    path = find(args)
    if path is not None:
        try:
            require_tenant(Tree(from_file(path).tenants), args.tenant)
        except InvalidRequest as error:
            raise _as_usage(error) from error


def _list(args: argparse.Namespace) -> int:
    now = time.time()
    keys = _with_store(args, db.list_keys)
    if args.json:
        _write_json([_public(key, now) for key in keys])
    elif keys:
        sys.stdout.write(table(keys, now))
    else:
        _say("there are no API keys; `fairlead keys create --name NAME` makes one")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    key_id, now = _key_id(args.id), time.time()
    changed = _with_store(args, lambda store: db.revoke(store, key_id, now=now))
    if args.json:
        _write_json({"id": key_id, "changed": changed})
    _say(
        f"revoked {key_id}; running gateways follow within a second"
        if changed
        else f"{key_id} was revoked before"
    )
    return 0


def _rotate(args: argparse.Namespace) -> int:
    key_id, now, grace_s = _key_id(args.id), time.time(), duration_s(args.grace, "--grace")
    issued = _with_store(args, lambda store: db.rotate(store, key_id, now=now, grace_s=grace_s))
    _show_secret(issued, args, now)
    _say(f"the old key {key_id} ends " + (f"at {_date(now + grace_s)}" if grace_s else "now"))
    return 0


def _with_store(args: argparse.Namespace, act: Callable[[Database], Awaitable[T]]) -> T:
    """Do one thing with the state store."""
    config = stored(args)

    async def main() -> T:
        # Durable: a revocation that a power failure undoes would be a key that is valid again.
        store = await open_configured(config.storage, config.state.dir, secret_value, durable=True)
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(main())


# --- words --------------------------------------------------------------------------------------


def when(text: str, now: float) -> float:
    """Unix time of `30d` from now, of a date (its first moment, UTC), or of a time with its zone.

    Raises:
        UsageError: it is none of these.
    """
    if _DURATION.fullmatch(text):
        return now + duration_s(text, "--expires")
    try:
        moment = datetime.datetime.fromisoformat(text)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            moment = moment.replace(tzinfo=datetime.UTC)
        if moment.tzinfo is not None:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"--expires: {text!r} is neither a duration nor a date",
        hint="such as 30d, 12h, 2030-01-31, or 2030-01-31T12:00:00Z",
    )


def duration_s(text: str, option: str) -> float:
    """Seconds of `30d`, `12h`, `90s`. Raises UsageError naming the option."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{option}: {text!r} is not a duration", hint="a number and s, m, h, d or w: 1h, 30d"
        )
    return float(int(match[1]) * _UNITS_S[match[2]])


def table(keys: Sequence[Key], now: float) -> str:
    """Keys as text in columns."""
    rows = [("ID", "NAME", "TENANT", "STATE", "MODELS", "ENDPOINTS", "FROM", "CREATED", "ENDS")]
    rows.extend(
        (
            key.id,
            key.name,
            key.tenant,
            key.state(now),
            ",".join(key.models),
            ",".join(key.endpoints),
            ",".join(key.ip_ranges) or "anywhere",
            _date(key.created_at),
            _date(key.ends_at),
        )
        for key in keys
    )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


def _show_secret(issued: Issued, args: argparse.Namespace, now: float) -> None:
    key = issued.key
    if args.json:
        _write_json({**_public(key, now), "secret": issued.secret})
    else:
        sys.stdout.write(issued.secret + "\n")
    sys.stdout.flush()
    _say(
        f"made key {key.id} ({key.name}) for tenant {key.tenant}: "
        f"models {','.join(key.models)}; endpoints {','.join(key.endpoints)}; "
        f"from {','.join(key.ip_ranges) or 'anywhere'}; ends {_date(key.ends_at)}"
    )
    _say("the secret is not kept and cannot be shown again")


def _public(key: Key, now: float) -> dict[str, object]:
    """What may be told of a key, for JSON. Times are Unix seconds."""
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "prefix": key.prefix,
        "state": key.state(now),
        "models": key.models,
        "endpoints": key.endpoints,
        "ip_ranges": key.ip_ranges,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "rotated_from": key.rotated_from,
    }


def _date(at: float) -> str:
    if math.isinf(at):
        return "never"
    try:
        return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):
        return "after the year 9999"


def _key_id(text: str) -> str:
    key_id = id_in(text)
    if key_id is None:
        # Not repeated: it may be a secret with a typing error.
        raise UsageError(
            "this is not the id of an API key", hint="ids have 8 letters and digits; see `fairlead keys list`"
        )
    return key_id


def _as_usage(error: InvalidRequest) -> UsageError:
    option = _OPTIONS.get(error.param or "", "keys create")
    return UsageError(f"{option}: {error.message}", hint=error.hint)


def _split(text: str | None) -> list[str]:
    return [] if text is None else text.split(",")


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _write_json(value: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
