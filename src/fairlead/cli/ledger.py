"""What `fairlead usage`, `requests` and `explain` share: the ledger, times, money and tables.

They read the state store itself, with or without a running gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from fairlead.cli.settings import find, from_file, secret_value, stored
from fairlead.config.fault import nearest
from fairlead.errors import UsageError
from fairlead.limits.tree import Tree
from fairlead.storage.connect import open_configured
from fairlead.telemetry.ledger.db import Ledger

T = TypeVar("T")

_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")


def read(args: argparse.Namespace, ask: Callable[[Ledger], Awaitable[T]]) -> T:
    """Ask the ledger one thing. Raises ConfigError and StorageError."""
    config = stored(args)

    async def main() -> T:
        store = await open_configured(config.storage, config.state.dir, secret_value)
        try:
            return await ask(Ledger(store))
        finally:
            await store.close()

    return asyncio.run(main())


def with_those_below(args: argparse.Namespace) -> tuple[str, ...]:
    """The tenant that is asked for and its sub-tenants, as far as the configuration knows them."""
    path = find(args)
    tree = Tree({} if path is None else from_file(path).tenants)
    if not tree.knows(args.tenant):
        # Its past is in the ledger all the same.
        hint = nearest(args.tenant, tree.names())
        say(f"no tenant is named `{printable(args.tenant)}` any more" + (f"; {hint}" if hint else ""))
    return tree.below(args.tenant)


def moment(text: str, option: str, now: float) -> float:
    """Unix time of `24h` ago, of a date (its first moment, UTC), or of a time with its zone.

    Raises:
        UsageError: naming the option.
    """
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _UNITS_S[ago[2]]
    try:
        at = datetime.datetime.fromisoformat(text)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            at = at.replace(tzinfo=datetime.UTC)
        if at.tzinfo is not None:
            return at.timestamp()
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"{option}: {text!r} is neither a time ago nor a date",
        hint="such as 24h, 7d, 2030-01-31, or 2030-01-31T12:00:00Z",
    )


def date(at: float) -> str:
    """Unix seconds as text, in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(duration_s: float | None) -> str:
    """A duration for people; `-` for none."""
    if not duration_s:
        return "-"
    return f"{duration_s * 1000:.0f} ms" if duration_s < 10 else f"{duration_s:.1f} s"


def usd(microusd: int | None) -> str:
    """Micro-dollars as dollars, exact; `-` for what is not known."""
    if microusd is None:
        return "-"
    sign, microusd = ("-", -microusd) if microusd < 0 else ("", microusd)
    return f"{sign}{microusd // 1_000_000:,}.{microusd % 1_000_000:06d}"


def printable(text: str) -> str:
    """`text` with `?` for what does not print: names and messages from outside must not move the cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> str:
    """Rows in columns; those named in `numbers` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = [name in numbers for name in head]
    return "".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        + "\n"
        for row in (head, *rows)
    )


def write_json(value: object) -> None:
    """`value` as JSON on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def say(line: str) -> None:
    """A line for people, apart from the output."""
    print(line, file=sys.stderr)
