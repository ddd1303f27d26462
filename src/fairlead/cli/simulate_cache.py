"""`fairlead simulate cache`: what a semantic cache would serve of labelled pairs, and how much of it wrongly.

Reads a file of JSON lines, `{"a": text, "b": text, "same": bool}`, and prints
a row for each static threshold and for the verified policy at some limits.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fairlead.cache.semantic.audit import Rules
from fairlead.cache.semantic.embed import Embedder, Hashed
from fairlead.cache.simulate import RATES, Pair, simulate
from fairlead.cache.simulate_report import table
from fairlead.errors import UsageError

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]

_MOST_CHARS = 100_000


def add_command(commands: _Commands) -> None:
    """Add `cache` to the group `simulate`."""
    command = commands.add_parser(
        "cache",
        help="compare semantic cache policies on labelled pairs of questions",
        description="Run static thresholds and the verified policy on labelled pairs; print their errors.",
    )
    command.add_argument(
        "--pairs",
        type=Path,
        required=True,
        metavar="FILE",
        help='JSON lines: {"a": text, "b": text, "same": bool}',
    )
    command.add_argument(
        "--embedder",
        choices=("hashed", "minilm"),
        default="hashed",
        help="minilm needs `fairlead[embed]` (default: %(default)s)",
    )
    command.add_argument(
        "--model-dir",
        type=Path,
        metavar="DIR",
        help="where MiniLM's built graph is kept (default: the user's cache)",
    )
    command.add_argument(
        "--max-false-hit-rate",
        type=float,
        action="append",
        metavar="RATE",
        help=f"limit of the verified policy; may be repeated (default: {', '.join(map(str, RATES))})",
    )
    command.add_argument(
        "--audit-rate",
        type=float,
        default=Rules().audit_rate,
        help="part of hits audited (default: %(default)s)",
    )
    command.add_argument(
        "--replay", action="store_true", help="let all texts arrive one by one, and fill a cache"
    )
    command.add_argument(
        "--seed", type=int, default=1, help="of the order and of audits (default: %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print the report as JSON instead")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Simulate and print; returns the exit status."""
    rates = args.max_false_hit_rate or RATES
    if not all(0.0 < rate < 1.0 for rate in rates):
        raise UsageError("--max-false-hit-rate must lie between 0 and 1")
    if not 0.0 < args.audit_rate <= 1.0:
        raise UsageError("--audit-rate must lie between 0 and 1")
    pairs = read_pairs(args.pairs)
    embedder = _embedder(args)
    report = asyncio.run(
        simulate(pairs, embedder, rates=rates, seed=args.seed, replay=args.replay, audit_rate=args.audit_rate)
    )
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        print(table(report))
    return 0


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file.

    Raises:
        UsageError: the file cannot be read, or a line is no pair.
    """
    decoder = msgspec.json.Decoder(Pair)
    pairs = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    pair = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise UsageError(f"{path}, line {number}: {error}") from error
                if max(len(pair.a), len(pair.b)) > _MOST_CHARS:
                    raise UsageError(f"{path}, line {number}: a text of more than {_MOST_CHARS:,} characters")
                pairs.append(pair)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    if not pairs:
        raise UsageError(f"{path} holds no pairs")
    return pairs


def _embedder(args: argparse.Namespace) -> Embedder:
    if args.embedder == "hashed":
        return Hashed()
    from fairlead.cache.semantic.minilm import MiniLM  # here: it needs the extra

    cache = args.model_dir or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairlead"
    return MiniLM.open(cache)
