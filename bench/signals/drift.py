"""What drift detection finds, and how often it is wrong.

Traffic is simulated (`traffic`), windows are made and compared by the product's
own code, at the level that a budget of two false alarms a month earns three
series in three hours. Each row is of many independent runs:

    a shift     starts at a random place between two comparisons; found is what is an alarm
                within 500 requests
    no change   p-values of the same comparisons, and the months of `--months` as they pass

    python -m bench.signals.drift [--embedder hashed|minilm] [--runs 60] [--months 0] [--model DIR]
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.signals.traffic import DAY_S, HOUR_S, Request, Shift, requests
from fairlead.signals.board import Policy, Stored, plan
from fairlead.signals.compare import Comparison, compare, packed
from fairlead.signals.hashed import vectors

Embed = Callable[[Sequence[str]], list[bytes]]
Make = Callable[[Sequence[str]], Any]

SERIES: Final = 3
"""Prompts, answers and behaviour of one model share the budget."""
TEST_EVERY_S: Final = 3 * HOUR_S
PER_DAY: Final = 2000
START_S: Final = 4 * DAY_S
WITHIN: Final = 500
"""Requests within which a shift is to be found."""
MONTH_DAYS: Final = 30


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Comparisons of one run."""

    alpha: float
    results: tuple[Comparison, ...]

    @property
    def found(self) -> bool:
        """Some comparison was an alarm."""
        return any(result.p_value <= self.alpha for result in self.results)


class Embedder:
    """Vectors by text, remembered: templates repeat themselves."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._known: dict[str, bytes] = {}

    def __call__(self, texts: Sequence[str]) -> list[bytes]:
        """A packed vector for each text."""
        missing = sorted({text for text in texts if text not in self._known})
        for text, row in zip(missing, self._make(missing), strict=True):
            self._known[text] = packed(row)
        return [self._known[text] for text in texts]


def run(
    seed: int,
    embed: Embed,
    *,
    policy: Policy,
    shift: tuple[float, str] | None,
    days: float = 28,
    per_day: int = PER_DAY,
    within: int = WITHIN,
) -> Run:
    """Comparisons in the `within` requests after a shift (share, topic), after some weeks without."""
    roll = random.Random(seed)
    began = START_S + days * DAY_S + roll.random() * 7 * DAY_S
    planted = None if shift is None else Shift(at=began, share=shift[0], topic=shift[1])
    length = (began - START_S) / DAY_S + 3 * within / per_day + 1
    traffic = list(requests(seed, days=length, per_day=per_day, shift=planted, start=START_S))
    first = next(place for place, request in enumerate(traffic) if request.at >= began)
    alpha = policy.level(SERIES, TEST_EVERY_S)
    assert alpha is not None
    results = []
    end = first + policy.window - roll.randrange(policy.window)
    while end <= first + within:
        result = _at(policy, alpha, traffic, end, embed, seed)
        if result is not None:
            results.append(result)
        end += policy.window
    return Run(alpha=alpha, results=tuple(results))


def month(
    seed: int, embed: Embed, *, policy: Policy, per_day: int = PER_DAY, days: float = MONTH_DAYS
) -> tuple[int, int]:
    """Comparisons and false alarms of one series in a month of unchanged traffic.

    Levels are earned as time passes.
    """
    before = policy.reference_days + policy.gap_hours / 24
    traffic = list(requests(seed, days=before + days, per_day=per_day, start=START_S))
    place = next(place for place, request in enumerate(traffic) if request.at >= START_S + before * DAY_S)
    compared_at = traffic[place].at
    done = alarms = 0
    new = 0
    while place < len(traffic):
        place += 1
        new += 1
        now = traffic[place - 1].at
        alpha = policy.level(SERIES, now - compared_at)
        if new < policy.window or alpha is None:
            continue
        result = _at(policy, alpha, traffic, place, embed, seed)
        if result is not None:
            done += 1
            alarms += result.p_value <= alpha
            compared_at, new = now, 0
    return done, alarms


def _at(
    policy: Policy, alpha: float, traffic: Sequence[Request], end: int, embed: Embed, seed: int
) -> Comparison | None:
    """The comparison that is made when the request before `end` has come."""
    now = traffic[end - policy.most_window : end]
    since, until = policy.reference_span(now[0].at)
    before = [request for request in traffic[:end] if since <= request.at < until]
    return _compare(policy, alpha, now, before, embed, seed * 100_000 + end)


def _compare(
    policy: Policy,
    alpha: float,
    window: Sequence[Request],
    reference: Sequence[Request],
    embed: Embed,
    seed: int,
) -> Comparison | None:
    texts = {request.id: request.text for request in (*window, *reference)}
    found = plan(policy, "prompt", _stored(window), _stored(reference), alpha=alpha, seed=seed)
    if found is None:
        return None
    job = found.job
    items = (*job.window, *job.reference)
    vectored = [
        msgspec.structs.replace(item, vector=vector)
        for item, vector in zip(items, embed([texts[item.id] for item in items]), strict=True)
    ]
    split = len(job.window)
    return compare(
        msgspec.structs.replace(job, window=tuple(vectored[:split]), reference=tuple(vectored[split:]))
    )


def _stored(found: Sequence[Request]) -> list[Stored]:
    return [
        Stored(id=one.id, at=one.at, user=one.user, session=one.session, digest=one.text.encode())
        for one in found
    ]


def minilm(model: Path | None, cache: Path) -> Make:
    """The sentence encoder of the extra `embed`."""
    from fairlead.cache.semantic.minilm import MiniLM

    return MiniLM.open(cache, model=model).vectors


SCENARIOS: Final[dict[str, tuple[float, str] | None]] = {
    "nothing changes": None,
    "20 % one new topic": (0.2, "health"),
    "20 % several new topics": (0.2, "*"),
    "20 % more of a known topic": (0.2, "code"),
    "10 % one new topic": (0.1, "pets"),
    "10 % several new topics": (0.1, "*"),
}


def report(
    embed: Embed, runs: int, policy: Policy, *, first_seed: int = 1, only: str = ""
) -> Iterator[dict[str, object]]:
    """A row for each scenario, or for those whose names begin with `only`."""
    for name, shift in SCENARIOS.items():
        if not name.startswith(only):
            continue
        began = time.perf_counter()
        done = [run(first_seed + at, embed, policy=policy, shift=shift) for at in range(runs)]
        p = [result.p_value for one in done for result in one.results]
        yield {
            "scenario": name,
            "runs": len(done),
            "found": sum(one.found for one in done),
            "level": round(done[0].alpha, 5),
            "comparisons": len(p),
            "p <= 0.05": sum(value <= 0.05 for value in p),
            "p <= 0.01": sum(value <= 0.01 for value in p),
            "seconds": round(time.perf_counter() - began, 1),
        }


def months(embed: Embed, count: int, policy: Policy, *, first_seed: int = 1) -> dict[str, object]:
    """False alarms in so many months, and what the budget allows one of the series."""
    began = time.perf_counter()
    done = [month(first_seed + at, embed, policy=policy) for at in range(count)]
    return {
        "scenario": "months without a change",
        "months": count,
        "comparisons": sum(one for one, _ in done),
        "false alarms": sum(alarms for _, alarms in done),
        "allowed": round(count * policy.false_alarms_per_month / SERIES, 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="what drift detection finds, and how often it is wrong")
    parser.add_argument("--embedder", choices=("hashed", "minilm"), default="hashed")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--only", default="", metavar="NAME", help="scenarios that begin so")
    parser.add_argument("--months", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, help="the directory with MiniLM's weights")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "fairlead")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    embed = Embedder(vectors if args.embedder == "hashed" else minilm(args.model, args.cache))
    rows = []
    if args.months:
        rows.append(months(embed, args.months, Policy(), first_seed=args.seed))
        print(rows[0], flush=True)
    for row in report(embed, args.runs, Policy(), first_seed=args.seed, only=args.only) if args.runs else ():
        rows.append(row)
        print(row, flush=True)
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


if __name__ == "__main__":
    main()
