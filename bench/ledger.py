"""How long percentiles over any window take, and what roll-ups cost a request.

    python -m bench.ledger                      # SQLite, 10 million requests of 7 days in 100 series
    python -m bench.ledger --database postgresql://... --requests 1000000

The ledger is built by hand: roll-ups as so many requests would have left them,
their sketches drawn from a pool of random ones of the right sizes, and `--rows`
single requests beside. What is measured is the product's own code: questions
of several windows and groups, the longest time for which the event loop stood
still meanwhile, and what writing and rolling up costs each request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

from msgspec.structs import replace

from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database, Value
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.percentiles import Measure, Question, ask
from fairlead.telemetry.ledger.rollup import MEASURES, Series
from fairlead.telemetry.ledger.rollup_db import Rollups
from fairlead.telemetry.ledger.rollup_job import catch_up
from fairlead.telemetry.ledger.sketch import encode, sketch
from fairlead.types import ITL_BOUNDS_S, Attempt, Outcome, RequestRecord, Usage

START = 1_750_032_000  # midnight, UTC
DAY_S = 86_400
SPANS_S = (60, 3600, DAY_S)
POOL = 64
ROUNDS = 7


def main() -> int:
    """Build, measure and print; JSON with `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", help="postgresql:// URL of an empty database; SQLite when left out")
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--rows", type=int, default=200_000, help="single requests beside the roll-ups")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fairlead-ledger-") as directory:
        found = asyncio.run(_run(options, options.database or directory))
        found["file_mb"] = sum(path.stat().st_size for path in Path(directory).iterdir()) // 1_000_000
    if options.json:
        json.dump(found, sys.stdout, indent=2)
    else:
        _print(found)
    return 0


async def _run(options: argparse.Namespace, place: str) -> dict[str, Any]:
    database = await open_database(place)
    began = time.monotonic()
    roll = random.Random(7)
    series = [
        Series(f"tenant{n % 10}", f"key{n % 50}", f"model{n % 4}", f"lab/model-{n % 8}", "chat", "ok")
        for n in range(options.series)
    ]
    await _build(database, options, series, roll)
    built_s = time.monotonic() - began
    questions = _questions(options.days)
    answers = [await _asked(database, name, question) for name, question in questions]
    writing = await _written(database, options.rows, roll)
    await database.close()
    return {
        "requests": options.requests,
        "days": options.days,
        "series": options.series,
        "built_s": round(built_s, 1),
        "questions": answers,
        "writing": writing,
    }


async def _build(
    database: Database, options: argparse.Namespace, series: list[Series], roll: random.Random
) -> None:
    rows = [(one.id, *one, START) for one in series]
    await database.execute_many("INSERT INTO rollup_series VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
    marks = ", ".join("?" * (6 + len(MEASURES)))
    insert = f"INSERT INTO rollups VALUES ({marks})"
    for span_s in SPANS_S:
        spans = options.days * DAY_S // span_s
        each = max(1, options.requests // (spans * len(series)))
        pool = [_sketches(min(each, 3000), each, roll) for _ in range(POOL)]
        batch: list[tuple[Value, ...]] = []
        for start_at in range(START, START + options.days * DAY_S, span_s):
            for one in series:
                batch.append(
                    (span_s, start_at, one.id, each, each * 500, each * 200, *pool[roll.randrange(POOL)])
                )
            if len(batch) >= 5000:
                await database.execute_many(insert, batch)
                batch = []
        await database.execute_many(insert, batch)


def _sketches(drawn: int, each: int, roll: random.Random) -> tuple[bytes, ...]:
    """Encoded sketches of so many requests; of many, the shape of fewer."""

    def of(mean_log: float, spread: float, number: int) -> bytes:
        return encode(
            sketch([roll.lognormvariate(mean_log, spread) for _ in range(number)]) * (each // drawn)
        )

    return (
        of(12.4, 0.7, drawn),  # 0.25 s to the first token
        of(15.0, 0.9, drawn),
        of(9.6, 0.6, drawn * 3),  # gaps of 15 ms; their sketches are spread over coarse buckets
        of(9.6, 0.4, drawn),
        of(6.2, 1.0, drawn),
        of(5.3, 1.0, drawn),
    )


def _questions(days: int) -> list[tuple[str, Question]]:
    end = START + days * DAY_S
    week = Question(since=START + 3 * 3600 + 17 * 60.0, until=end - 5 * 3600 - 43 * 60.0)
    hour = Question(since=end - 7200.0 - 60, until=end - 3600.0 - 60)
    everything: tuple[Measure, ...] = get_args(Measure)
    return [
        ("an hour, all together", hour),
        ("an hour, by tenant and model", replace(hour, by=("tenant", "model"))),
        ("any minute to any minute of the week, all together", week),
        ("the same, one tenant", replace(week, tenants=("tenant3",))),
        ("the same, by model", replace(week, by=("model",))),
        (
            "the same, by tenant, key, model and target",
            replace(week, by=("tenant", "key", "model", "target")),
        ),
        ("the same, by model and hour", replace(week, by=("model", "hour"))),
        ("the same, by model, all six measures", replace(week, by=("model",), measures=everything)),
    ]


async def _asked(database: Database, name: str, question: Question) -> dict[str, Any]:
    times_ms, cpu_ms = [], []
    for _ in range(ROUNDS):
        cpu, began = time.process_time(), time.perf_counter()
        answer = await ask(database, question)
        times_ms.append((time.perf_counter() - began) * 1000)
        cpu_ms.append((time.process_time() - cpu) * 1000)
    # Apart, since watching takes turns of its own.
    watch = asyncio.create_task(_longest_turn())
    await asyncio.sleep(0.01)
    await ask(database, question)
    watch.cancel()
    longest_ms = await watch
    return {
        "question": name,
        "groups": len(answer.groups),
        "requests": sum(group.requests for group in answer.groups),
        "median_ms": round(statistics.median(times_ms), 1),
        "worst_ms": round(max(times_ms), 1),
        "cpu_ms": round(statistics.median(cpu_ms), 1),
        "longest_turn_ms": round(longest_ms, 1),
    }


async def _longest_turn() -> float:
    """The longest time between two turns of the event loop, in milliseconds, until cancelled."""
    longest, last = 0.0, time.perf_counter()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
    except asyncio.CancelledError:
        return longest * 1000


async def _written(database: Database, count: int, roll: random.Random) -> dict[str, Any]:
    """What requests cost in processor time: taken and committed, then rolled up."""
    ledger, rollups = Ledger(database), Rollups(database)
    records = [_record(number, roll) for number in range(count)]
    cpu, wall = time.process_time(), time.monotonic()
    for start in range(0, count, 2048):
        ledger.take(records[start : start + 2048])
        await ledger.commit()
    wrote_cpu, wrote = time.process_time() - cpu, time.monotonic() - wall
    cpu, wall = time.process_time(), time.monotonic()
    await catch_up(ledger, rollups, pause_s=0)
    rolled_cpu, rolled = time.process_time() - cpu, time.monotonic() - wall
    return {
        "requests": count,
        "written_us": round(wrote / count * 1e6, 1),
        "written_cpu_us": round(wrote_cpu / count * 1e6, 1),
        "rolled_up_us": round(rolled / count * 1e6, 1),
        "rolled_up_cpu_us": round(rolled_cpu / count * 1e6, 1),
    }


def _record(number: int, roll: random.Random) -> RequestRecord:
    gaps = [0] * (len(ITL_BOUNDS_S) + 1)
    for _ in range(20):
        gaps[roll.randrange(4, 12)] += 5
    series = number % 100
    return RequestRecord(
        id=f"{number:024x}",
        started_at=START + 8 * DAY_S + number / 1000,
        endpoint="chat",
        dialect="openai",
        outcome=Outcome.OK,
        status=200,
        tenant=f"tenant{series % 10}",
        key_id=f"key{series % 50}",
        model=f"model{series % 4}",
        target=f"lab/model-{series % 8}",
        stream=True,
        first_token_s=roll.lognormvariate(-1.4, 0.7),
        duration_s=roll.lognormvariate(1.2, 0.9),
        usage=Usage(input_tokens=500, output_tokens=100),
        itl_counts=tuple(gaps),
        itl_sum_s=1.5,
        attempts=(Attempt(target=f"lab/model-{series % 8}", started_s=0.0001, status=200, ended_s=1.5),),
    )


def _print(found: dict[str, Any]) -> None:
    print(
        f"{found['requests']:,} requests of {found['days']} days in {found['series']} series, "
        f"built in {found['built_s']} s, {found['file_mb']} MB\n"
    )
    print(f"{'question':<52} {'groups':>6} {'median':>8} {'worst':>8} {'CPU':>8} {'longest turn':>13}")
    for one in found["questions"]:
        print(
            f"{one['question']:<52} {one['groups']:>6} {one['median_ms']:>5} ms {one['worst_ms']:>5} ms "
            f"{one['cpu_ms']:>5} ms {one['longest_turn_ms']:>10} ms"
        )
    writing = found["writing"]
    print(
        f"\n{writing['requests']:,} requests written: {writing['written_us']} us each "
        f"({writing['written_cpu_us']} us of CPU); rolled up: {writing['rolled_up_us']} us "
        f"({writing['rolled_up_cpu_us']} us of CPU)"
    )


if __name__ == "__main__":
    sys.exit(main())
