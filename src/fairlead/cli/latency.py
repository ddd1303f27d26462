"""`fairlead latency`: percentiles of latencies and tokens over any window, from the ledger's roll-ups."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final, get_args

import msgspec

from fairlead.cli.ledger import (
    date,
    moment,
    printable,
    read,
    say,
    seconds,
    table,
    with_those_below,
    write_json,
)
from fairlead.cli.settings import add_config_options
from fairlead.errors import UsageError
from fairlead.telemetry.ledger.percentiles import TOKENS, Answer, Field, Group, Measure, Question, ask
from fairlead.telemetry.ledger.sketch import ERROR
from fairlead.types import Outcome

_TITLES: Final[dict[Measure, str]] = {
    "ttft": "TTFT",
    "gap": "GAP",
    "pace": "PACE",
    "duration": "DURATION",
    "prompt": "PROMPT",
    "output": "OUTPUT",
}
_MOST: Final = 10


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "latency",
        help="show percentiles of latencies over any window",
        description="Percentiles from the ledger's roll-ups, at most 2 % off. TTFT is the time to the first "
        "token, GAP that between two tokens, PACE the mean gap of a request; PROMPT and OUTPUT are tokens. "
        "Times are UTC; a window begins and ends on whole minutes, or hours or days where it is long ago.",
    )
    parser.add_argument("--tenant", metavar="T", help="only of this tenant and its sub-tenants")
    parser.add_argument("--key", metavar="ID", help="only made with this key")
    parser.add_argument("--model", help="only for this model, as it was asked for")
    parser.add_argument("--target", metavar="PROVIDER/MODEL", help="only answered by this target")
    parser.add_argument("--endpoint", help="only of this API: chat, messages, embeddings, ...")
    parser.add_argument(
        "--outcome", choices=[outcome.value for outcome in Outcome], help="only that ended this way"
    )
    parser.add_argument(
        "--by",
        metavar="A,B",
        default="model",
        help=f"how to group: {', '.join(get_args(Field))} (default: %(default)s; '' for all together)",
    )
    parser.add_argument(
        "--measures",
        metavar="A,B",
        default="ttft,gap,duration",
        help=f"what to show: {', '.join(_TITLES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--percentiles", metavar="P,P", default="50,95,99", help="which (default: %(default)s)"
    )
    parser.add_argument(
        "--since",
        metavar="24h|DATE",
        default="24h",
        help="beginning: a time ago or a date (default: %(default)s)",
    )
    parser.add_argument("--until", metavar="1h|DATE", help="end, not included (default: now)")
    parser.add_argument("--json", action="store_true", help="write JSON to stdout")
    add_config_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show percentiles."""
    now = time.time()
    percentiles = _numbers(args.percentiles)
    question = Question(
        since=moment(args.since, "--since", now),
        until=now if args.until is None else moment(args.until, "--until", now),
        tenants=None if args.tenant is None else with_those_below(args),
        key_id=args.key,
        model=args.model,
        target=args.target,
        endpoint=args.endpoint,
        outcome=args.outcome,
        by=msgspec.convert(_words(args.by, "--by", get_args(Field)), tuple[Field, ...]),
        percentiles=tuple(map(float, percentiles)),
        measures=msgspec.convert(_words(args.measures, "--measures", get_args(Measure)), tuple[Measure, ...]),
    )
    answer = read(args, lambda ledger: ask(ledger.database, question))
    if args.json:
        write_json(_public(answer, percentiles))
    elif answer.groups:
        sys.stdout.write(as_table(question, answer, percentiles))
        say(f"from {date(answer.since)} to before {date(answer.until)}")
    else:
        say(f"no requests since {args.since}")
    return 0


def as_table(question: Question, answer: Answer, percentiles: Sequence[str]) -> str:
    """The answer as text in columns."""
    measures = [name for name in get_args(Measure) if name in question.measures]
    numbers = ["REQUESTS", *(f"{_TITLES[name]} P{number}" for name in measures for number in percentiles)]
    rows = [_row(question, group, measures, len(percentiles)) for group in answer.groups]
    return table([*(name.upper() for name in question.by), *numbers], rows, numbers=numbers)


def _row(question: Question, group: Group, measures: Sequence[Measure], width: int) -> list[str]:
    cells = [printable(group.names[name]) or "-" for name in question.by]
    cells.append(f"{group.requests:,}")
    for measure in measures:
        values = group.measures[measure].values
        shown = [f"{value:,.0f}" if measure in TOKENS else seconds(value) for value in values]
        cells += shown or ["-"] * width
    return cells


def _public(answer: Answer, percentiles: Sequence[str]) -> dict[str, object]:
    """For JSON: as the control API answers."""
    return {
        "since": answer.since,
        "until": answer.until,
        "relative_error": ERROR,
        "data": [
            {
                "names": group.names,
                "requests": group.requests,
                "input_tokens": group.input_tokens,
                "output_tokens": group.output_tokens,
                "measures": {
                    name: {
                        "count": one.count,
                        "percentiles": dict(zip(percentiles, one.values, strict=False)),
                    }
                    for name, one in group.measures.items()
                },
            }
            for group in answer.groups
        ],
    }


def _words(text: str, option: str, known: Sequence[str]) -> list[str]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise UsageError(f"{option}: `{printable(word)}` is none of {', '.join(known)}")
    return list(dict.fromkeys(words))


def _numbers(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        try:
            within = 0 <= float(word) <= 100
        except ValueError:
            within = False
        if not within:
            raise UsageError(f"--percentiles: {word!r} is no number from 0 to 100", hint="such as 50,95,99.9")
    if len(words) > _MOST:
        raise UsageError(f"--percentiles: at most {_MOST} at a time")
    return words
