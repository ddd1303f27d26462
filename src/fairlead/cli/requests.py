"""`fairlead requests`: the latest requests of the ledger, and everything known of one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

from fairlead.cli.ledger import date, moment, printable, read, say, seconds, table, usd, write_json
from fairlead.cli.settings import add_config_options
from fairlead.errors import UsageError
from fairlead.telemetry.db import Entry, Filter, Ledger
from fairlead.telemetry.histogram import quantile
from fairlead.types import GIVEN_AGAIN, ITL_BOUNDS_S, Attempt, Outcome, RequestRecord

_HEAD: Final = (
    "TIME", "ID", "TENANT", "MODEL", "TARGET", "STATUS", "OUTCOME", "CACHE", "INPUT", "OUTPUT", "USD",
    "TTFT", "DURATION",
)  # fmt: skip
_NUMBERS: Final = ("STATUS", "INPUT", "OUTPUT", "USD", "TTFT", "DURATION")
_MOST: Final = 10_000


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command group."""
    group = subparsers.add_parser("requests", help="show recent requests and how they went")
    commands = group.add_subparsers(dest="requests_command", metavar="COMMAND", required=True)

    listing = commands.add_parser("list", help="show requests, newest first")
    listing.add_argument("--tenant", help="only of this tenant")
    listing.add_argument("--key", metavar="ID", help="only made with this key")
    listing.add_argument("--model", help="only for this model, as it was asked for")
    listing.add_argument("--target", metavar="PROVIDER/MODEL", help="only answered by this target")
    listing.add_argument("--endpoint", help="only of this API: chat, messages, embeddings, ...")
    listing.add_argument(
        "--outcome", choices=[outcome.value for outcome in Outcome], help="only that ended this way"
    )
    listing.add_argument("--status", type=int, help="only with this HTTP status")
    listing.add_argument("--since", metavar="24h|DATE", help="not before: a time ago or a date, UTC")
    listing.add_argument("--until", metavar="1h|DATE", help="only before: a time ago or a date, UTC")
    listing.add_argument("--limit", type=int, default=20, help="how many (default: %(default)s)")
    listing.add_argument("--json", action="store_true", help="write JSON to stdout")
    add_config_options(listing)
    listing.set_defaults(run=_list)

    show = commands.add_parser("show", help="show everything known of one request")
    show.add_argument("id", metavar="ID", help="its id, from the list or the answer's x-request-id header")
    show.add_argument("--json", action="store_true", help="write JSON to stdout")
    add_config_options(show)
    show.set_defaults(run=_show)


def _list(args: argparse.Namespace) -> int:
    if not 1 <= args.limit <= _MOST:
        raise UsageError(f"--limit: expected 1 to {_MOST}, got {args.limit}")
    now = time.time()
    where = Filter(
        since=0.0 if args.since is None else moment(args.since, "--since", now),
        until=None if args.until is None else moment(args.until, "--until", now),
        tenant=args.tenant,
        key_id=args.key,
        model=args.model,
        target=args.target,
        endpoint=args.endpoint,
        outcome=None if args.outcome is None else Outcome(args.outcome),
        status=args.status,
    )
    entries = read(args, lambda ledger: _newest(ledger, where, args.limit))
    if args.json:
        write_json(entries)
    elif entries:
        sys.stdout.write(as_table(entries))
    else:
        say("no such requests in the ledger")
    return 0


async def _newest(ledger: Ledger, where: Filter, limit: int) -> list[Entry]:
    """Up to `limit` entries; a page may be short before the end, so pages are asked for until then."""
    page = await ledger.page(where, limit=limit)
    entries = list(page.entries)
    while page.next is not None and len(entries) < limit:
        page = await ledger.page(where, after=page.next, limit=limit - len(entries))
        entries += page.entries
    return entries


def _show(args: argparse.Namespace) -> int:
    record = read(args, lambda ledger: ledger.get(args.id))
    if args.json:
        write_json(record)
    else:
        sys.stdout.write(as_text(record))
    return 0


def as_table(entries: Sequence[Entry]) -> str:
    """Requests as text in columns."""
    rows = [
        (
            date(entry.started_at),
            entry.id,
            entry.tenant or "-",
            entry.model or "-",
            entry.target or "-",
            str(entry.status),
            entry.outcome,
            entry.cache or "-",
            str(entry.input_tokens),
            str(entry.output_tokens),
            usd(entry.cost_microusd),
            seconds(entry.first_token_s),
            seconds(entry.duration_s),
        )
        for entry in entries
    ]
    return table(_HEAD, rows, numbers=_NUMBERS)


def as_text(record: RequestRecord) -> str:
    """Everything known of one request, for people."""
    usage = record.usage
    parts = {
        "cached": usage.cache_read_tokens,
        "written to cache": usage.cache_write_tokens,
        "reasoning": usage.reasoning_tokens,
    }
    details = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    lines = {
        "request": record.id,
        "started": date(record.started_at),
        "asked for": f"{record.model or 'an unknown model'} by {record.endpoint} ({record.dialect})",
        "answered by": record.target or "nobody",
        "outcome": f"{record.outcome.value}, status {record.status}"
        + (f", error {record.error}" if record.error else ""),
        "finish": record.finish_reason or "-",
        "tenant": record.tenant or "-",
        "key": record.key_id or "-",
        "tokens": f"{usage.input_tokens} in, {usage.output_tokens} out"
        + (f" ({details})" if details else "")
        + (", estimated" if record.usage_estimated else ""),
        "cost": "not known" if record.cost_microusd is None else f"{usd(record.cost_microusd)} USD",
        "cache": _cache(record),
        "bytes": f"{record.bytes_in} in, {record.bytes_out} out",
        "duration": seconds(record.duration_s),
        "queue": seconds(record.queue_s),
        "overhead": f"{record.overhead_s * 1000:.3f} ms",
    }
    if record.stream:
        lines["first token"] = seconds(record.first_token_s)
        lines["stream"] = f"{record.chunks} events" + _gaps(record)
    if record.trace_parent:
        lines["trace"] = record.trace_parent
    if record.client_retry:
        lines["client's retry"] = str(record.client_retry)
    width = max(map(len, lines))
    text = "".join(f"{printable(name.ljust(width))}  {printable(value)}\n" for name, value in lines.items())
    return text + ("\n" + _attempts(record.attempts) if record.attempts else "")


def _cache(record: RequestRecord) -> str:
    if record.cache not in GIVEN_AGAIN:
        return record.cache or "-"
    saved = record.saved_microusd
    cost = "whose cost is not known" if saved is None else f"that cost {usd(saved)} USD"
    return f"{record.cache}, saved {record.saved_tokens} tokens {cost}"


def _gaps(record: RequestRecord) -> str:
    half = quantile(ITL_BOUNDS_S, record.itl_counts, 0.5)
    most = quantile(ITL_BOUNDS_S, record.itl_counts, 0.95)
    if half is None or most is None:
        return ""
    return f", gaps p50 {seconds(half)}, p95 {seconds(most)}, max {seconds(record.itl_max_s)}"


def _attempts(attempts: Sequence[Attempt]) -> str:
    rows = []
    for attempt in attempts:
        failure = attempt.failure
        rows.append(
            (
                printable(attempt.target) + (" (hedge)" if attempt.hedge else ""),
                f"{attempt.started_s * 1000:.1f} ms",
                seconds(attempt.connect_s),
                seconds(attempt.headers_s),
                seconds(attempt.first_token_s),
                seconds(attempt.ended_s),
                str(attempt.status or "-"),
                "ok" if failure is None else f"{failure.kind.value}: {printable(failure.message)}",
            )
        )
    head = ("ATTEMPT", "AT", "CONNECT", "HEADERS", "FIRST TOKEN", "END", "STATUS", "RESULT")
    return table(head, rows, numbers=head[1:-1])
