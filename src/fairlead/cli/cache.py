"""`fairlead cache`: what a running gateway's cache holds and has saved, and throwing answers away."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any, Final

from fairlead.cli.admin_api import KEY, add_url_option, ask
from fairlead.cli.ledger import date, moment, printable, say, table, usd, write_json
from fairlead.errors import UsageError

_HITS: Final = ("MODEL", "TENANT", "TIER", "HITS", "INPUT", "OUTPUT", "SAVED USD", "UNPRICED")
_HELD: Final = ("MODEL", "TENANT", "TIER", "ANSWERS", "BYTES")
_LOOKED_UP: Final = ("MODEL", "TENANT", "LOOKED UP", "HIT RATIO")
_REASONS: Final = ("MODEL", "WHAT", "WHY", "COUNT")
_SEMANTIC: Final = ("MODEL", "SEMANTIC", "FALSE AT MOST", "VERIFIED", "WRONG", "SERVED", "AUDITED")
_TROUBLE: Final = ("TIER", "FAILED", "COUNT")
_NUMBERS: Final = (
    "HITS", "INPUT", "OUTPUT", "SAVED USD", "UNPRICED", "ANSWERS", "BYTES", "LOOKED UP", "HIT RATIO", "COUNT",
    "FALSE AT MOST", "VERIFIED", "WRONG", "SERVED", "AUDITED",
)  # fmt: skip


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("cache", help="show what the cache holds and saves, and throw answers away")
    commands = group.add_subparsers(dest="cache_command", metavar="COMMAND", required=True)
    where = f"Asks a running gateway; the admin key is read from ${KEY}."

    stats = commands.add_parser(
        "stats",
        help="show what is kept, how often it was given again and what that saved",
        description="Show what is kept, how often it was given again and what that saved, as the worker that "
        f"answers has counted since its start. {where}",
    )
    add_url_option(stats)
    stats.add_argument("--json", action="store_true", help="write JSON to stdout; money in micro-dollars")
    stats.set_defaults(run=_stats)

    purge = commands.add_parser(
        "purge",
        help="throw kept answers away",
        description="Throw away the kept answers that meet every option, in memory and behind it, on every "
        f"worker and replica that shares them. {where}",
    )
    purge.add_argument("--tenant", metavar="T", help="only those made for requests of this tenant")
    purge.add_argument("--model", metavar="M", help="only of this entry of `models`")
    purge.add_argument(
        "--older-than", metavar="24h|DATE", help="only those made before: a time ago or a date, UTC"
    )
    purge.add_argument("--all", action="store_true", help="all of them, when nothing else is said")
    purge.add_argument("--dry-run", action="store_true", help="only count them")
    add_url_option(purge)
    purge.add_argument("--json", action="store_true", help="write JSON to stdout")
    purge.set_defaults(run=_purge)


def _stats(args: argparse.Namespace) -> int:
    answer = ask(args.url, "/admin/v1/cache")
    if args.json:
        write_json(answer)
    elif not answer["enabled"]:
        say("no model keeps answers; `cache: {}` under a model's name turns it on")
    else:
        say(f"memory: {answer['memory_bytes']:,} of {answer['memory_max_bytes']:,} bytes, "
            f"{answer['evicted']:,} answers made room for others; behind it: {answer['store']}; "
            f"counted since {date(answer['since'])}")  # fmt: skip
        sys.stdout.write(as_text(answer))
    return 0


def as_text(stats: dict[str, Any]) -> str:
    """The statistics, as the control API gives them, in one table for each kind that has something in it."""
    parts = (
        (_LOOKED_UP, [_looked_up(one) for one in stats["looked_up"]]),
        (_HITS, [_hits(one) for one in stats["hits"]]),
        (_HELD, [_held(one) for one in stats["held"]]),
        (
            _REASONS,
            [_reason(one, "not asked") for one in stats["bypassed"]]
            + [_reason(one, "not kept") for one in stats["unstored"]],
        ),
        (_SEMANTIC, [_semantic(one) for one in stats.get("semantic", ())]),
        (_TROUBLE, [(one["tier"], one["kind"], f"{one['count']:,}") for one in stats["trouble"]]),
    )
    return "\n".join(table(head, rows, numbers=_NUMBERS) for head, rows in parts if rows)


def _looked_up(one: dict[str, Any]) -> tuple[str, ...]:
    return printable(one["model"]), one["tenant"], f"{one['lookups']:,}", f"{one['hit_ratio']:.1%}"


def _hits(one: dict[str, Any]) -> tuple[str, ...]:
    numbers = (f"{one[name]:,}" for name in ("hits", "input_tokens", "output_tokens"))
    money = (usd(one["saved_microusd"]), f"{one['unpriced']:,}")
    return (printable(one["model"]), one["tenant"], one["tier"], *numbers, *money)


def _held(one: dict[str, Any]) -> tuple[str, ...]:
    return printable(one["model"]), one["tenant"], one["tier"], f"{one['entries']:,}", f"{one['bytes']:,}"


def _semantic(one: dict[str, Any]) -> tuple[str, ...]:
    numbers = (f"{one[name]:,}" for name in ("verified", "wrong", "hits", "audits"))
    return (printable(one["model"]), one["state"], f"{one['false_hit_upper95']:.2%}", *numbers)


def _reason(one: dict[str, Any], what: str) -> tuple[str, ...]:
    return printable(one["model"]), what, one["reason"], f"{one['count']:,}"


def _purge(args: argparse.Namespace) -> int:
    narrowed = (args.tenant, args.model, args.older_than) != (None, None, None)
    if narrowed is args.all:
        raise UsageError(
            "say which answers: --tenant, --model or --older-than, or --all instead of them",
            hint="with --dry-run they are only counted",
        )
    now = time.time()
    before = now if args.older_than is None else moment(args.older_than, "--older-than", now)
    if before > now:
        raise UsageError(f"--older-than: {args.older_than!r} is in the future")
    body = {"older_than_s": now - before, "dry_run": args.dry_run}
    body |= {name: value for name in ("tenant", "model") if (value := getattr(args, name)) is not None}
    answer = ask(args.url, "/admin/v1/cache/purge", body)
    if args.json:
        write_json(answer)
        return 0
    for one in answer["data"]:
        verb = "would go" if answer["dry_run"] else "gone"
        sys.stdout.write(f"{one['tier']}: {one['entries']:,} answers, {one['bytes']:,} bytes {verb}\n")
    return 0
