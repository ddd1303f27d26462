"""`fairlead requests`: the latest requests of the ledger, and everything known of one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

from fairlead.cli.ledger import date, moment, printable, read, say, seconds, table, usd, write_json
from fairlead.cli.settings import add_config_options
from fairlead.cli.waterfall import waterfall
from fairlead.errors import UsageError
from fairlead.telemetry.anatomy import Anatomy, anatomy
from fairlead.telemetry.billing.cost import priced_by
from fairlead.telemetry.billing.db import CostHistory, Version
from fairlead.telemetry.ledger.db import Entry, Filter, Ledger
from fairlead.types import GIVEN_AGAIN, Attempt, Outcome, RequestRecord

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
    record, versions = read(args, lambda ledger: _with_costs(ledger, args.id))
    if args.json:
        write_json(record)
    else:
        sys.stdout.write(as_text(record) + _costs(versions))
    return 0


async def _with_costs(ledger: Ledger, record_id: str) -> tuple[RequestRecord, list[Version]]:
    record = await ledger.get(record_id)
    return record, await CostHistory(ledger.database).versions(record_id)


def _costs(versions: Sequence[Version]) -> str:
    """What a request cost through the recomputations that changed it."""
    if not versions:
        return ""
    head = ("COST", "USD", "PRICES")
    rows = [
        (
            f"revision {one.revision}" if one.revision else "as billed",
            usd(one.cost_microusd),
            one.prices or "-",
        )
        for one in versions
    ]
    return "\n" + table(head, rows, numbers=("USD",))


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
    usage, found = record.usage, anatomy(record)
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
        "cost": _cost(record),
        "cache": _cache(record),
        "bytes": f"{record.bytes_in} in, {record.bytes_out} out",
        "duration": seconds(record.duration_s),
        "queue": seconds(record.queue_s),
        "overhead": f"{record.overhead_s * 1000:.3f} ms",
    }
    if record.stream:
        lines["first token"] = seconds(record.first_token_s)
        lines["stream"] = f"{record.chunks} events" + _gaps(found)
    if record.trace_id:
        lines["trace"] = record.trace or record.trace_parent
    if record.client_retry:
        lines["client's retry"] = str(record.client_retry)
    width = max(map(len, lines))
    text = "".join(f"{printable(name.ljust(width))}  {printable(value)}\n" for name, value in lines.items())
    if shown := waterfall(found):
        text += "\n" + shown
    return text + ("\n" + _attempts(record.attempts) if record.attempts else "")


def _cost(record: RequestRecord) -> str:
    if record.cost_microusd is None:
        return "not known"
    source = priced_by(record)
    return f"{usd(record.cost_microusd)} USD" + (f", by the prices of {source}" if source else "")


def _cache(record: RequestRecord) -> str:
    if record.cache not in GIVEN_AGAIN:
        return record.cache or "-"
    saved = record.saved_microusd
    cost = "whose cost is not known" if saved is None else f"that cost {usd(saved)} USD"
    gpu = f" and {record.saved_gpu_s:.3f} s of GPU time" if record.saved_gpu_s else ""
    return f"{record.cache}, saved {record.saved_tokens} tokens {cost}{gpu}"


def _gaps(found: Anatomy) -> str:
    half, most = found.itl_p50_s, found.itl_p95_s
    if half is None or most is None:
        return ""
    text = f", gaps p50 {seconds(half)}, p95 {seconds(most)}, max {seconds(found.itl_max_s)}"
    if found.stalls:
        text += f", {found.stalls} stall{'s' * (found.stalls > 1)} of {seconds(found.stalled_s)} together"
    if found.tokens_per_s is not None:
        text += f", {found.tokens_per_s:.1f} tokens/s"
    return text


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
