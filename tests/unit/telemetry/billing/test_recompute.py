"""A past period under another price table: the difference, the revision, and what stays readable."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.unit.telemetry.records import NOW, record

from fairlead.config.parse import parse
from fairlead.errors import NotFound, UsageError
from fairlead.storage.connect import open_database
from fairlead.telemetry.billing.db import CostHistory
from fairlead.telemetry.billing.prices import Table
from fairlead.telemetry.billing.recompute import BATCH, Difference, Repricer, recompute
from fairlead.telemetry.billing.report import report
from fairlead.telemetry.ledger.db import Ledger
from fairlead.types import Attempt, Failure, FailureKind, Outcome, RequestRecord, Usage

CONFIG = """\
providers:
  cloud: {type: openai, api_key: env:K}
  lab: {type: vllm}
models:
  small: {targets: [{provider: cloud, model: gpt-x}]}
  wild: {targets: [{provider: cloud}]}
  ours: {targets: [{provider: cloud, model: gpt-ours, input_usd_per_mtok: 1}]}
"""
TEN = Usage(input_tokens=1000, output_tokens=10)


def awaited(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """A test that runs in an event loop of its own."""

    @functools.wraps(test)
    def run_it(tmp_path: Path) -> None:
        asyncio.run(test(tmp_path))

    return run_it


def table(input_usd: float, name: str = "next") -> Table:
    lists = {"openai": {"gpt-x": {"input": input_usd, "output": 10}}, "gone": {"m": {"input": 5}}}
    return Table(json.dumps({"format": 1, "version": name, "lists": lists}).encode(), name="t")


def attempt(target: str = "cloud/gpt-x", usage: Usage | None = TEN, **fields: Any) -> Attempt:
    return Attempt(target=target, started_s=0.0, usage=usage, **fields)


def one(number: int, *attempts: Attempt, cost: int | None, **fields: Any) -> RequestRecord:
    return record(number, attempts=attempts, cost_microusd=cost, usage=TEN, **fields)


@asynccontextmanager
async def ledger_of(directory: Path, records: Sequence[RequestRecord]) -> AsyncIterator[Ledger]:
    store = await open_database(str(directory))
    ledger = Ledger(store)
    ledger.take(records)
    await ledger.commit()
    yield ledger
    await store.close()


def repricer(input_usd: float = 3.0) -> Repricer:
    return Repricer(parse(CONFIG, "test"), table(input_usd))


async def run(ledger: Ledger, how: Repricer, *, apply: bool) -> tuple[list[Difference], int | None]:
    history = CostHistory(ledger.database) if apply else None
    return await recompute(ledger, how, since=NOW, until=NOW + 1000, history=history, now=lambda: NOW + 2000)


@pytest.mark.parametrize(
    ("attempts", "before", "after", "kept"),
    [
        ((attempt(cost_microusd=2100),), 2100, 3100, False),
        # The failed attempt is priced again too.
        ((attempt(cost_microusd=2100), attempt(cost_microusd=2100)), 4200, 6200, False),
        # A wildcard's target is priced by the model that it was asked for.
        ((attempt("cloud/*", model="gpt-x", cost_microusd=2100),), 2100, 3100, False),
        ((attempt("cloud/*", cost_microusd=2100),), 2100, 2100, True),
        # What the configuration prices is not the table's business.
        ((attempt("cloud/gpt-ours", cost_microusd=77),), 77, 1000, False),
        # The table does not know it: it costs what it did.
        ((attempt("cloud/gpt-unknown", cost_microusd=42),), 42, 42, True),
        ((attempt("lab/gpt-x", cost_microusd=None),), None, None, True),
        ((attempt(cost_microusd=2100), attempt("cloud/gpt-unknown", cost_microusd=42)), 2142, 3142, True),
        # It had no price when it was made.
        ((attempt(cost_microusd=None),), None, 3100, False),
        # The provider is in the configuration no more.
        ((attempt("gone/m", cost_microusd=1),), 1, 5000, False),
        ((attempt(usage=None, cost_microusd=0),), 0, 0, False),
    ],
)
def test_one_request(
    attempts: tuple[Attempt, ...], before: int | None, after: int | None, kept: bool
) -> None:
    again = repricer().recost(one(1, *attempts, cost=before))

    assert (again.cost_microusd, again.kept) == (after, kept)


RECORDS = [
    one(1, attempt(cost_microusd=2100, priced_by="old"), cost=2100),
    one(2, attempt(cost_microusd=2100, priced_by="old"), cost=2100),
    one(3, attempt("cloud/gpt-unknown", cost_microusd=42), cost=42, model="other"),
    one(4, attempt(cost_microusd=None), cost=None, model="wild"),
    record(5, attempts=(), outcome=Outcome.REFUSED, status=429, usage=Usage()),
    one(2000, attempt(cost_microusd=9), cost=9),  # after the period
]


@awaited
async def test_the_difference_is_shown_by_model_and_nothing_is_changed(tmp_path: Path) -> None:
    async with ledger_of(tmp_path, RECORDS) as ledger:
        found, revision = await run(ledger, repricer(), apply=False)

        assert revision is None
        assert [(d.name, d.requests, d.changed, d.kept, d.difference_microusd) for d in found] == [
            ("other", 1, 0, 1, 0),
            ("small", 2, 2, 0, 2000),
            ("wild", 1, 1, 0, 3100),
        ]
        assert [(await ledger.get(r.id)).cost_microusd for r in RECORDS[:4]] == [2100, 2100, 42, None]
        assert await CostHistory(ledger.database).revisions() == []


@awaited
async def test_applied_costs_are_a_revision_and_the_old_ones_stay(tmp_path: Path) -> None:
    async with ledger_of(tmp_path, RECORDS) as ledger:
        _, first = await run(ledger, repricer(3.0), apply=True)
        _, second = await run(ledger, repricer(4.0), apply=True)
        history = CostHistory(ledger.database)

        assert (first, second) == (1, 2)
        assert [(await ledger.get(r.id)).cost_microusd for r in RECORDS] == [4100, 4100, 42, 4100, None, 9]
        versions = await history.versions(RECORDS[0].id)
        assert [(v.revision, v.cost_microusd) for v in versions] == [(0, 2100), (1, 3100), (2, 4100)]
        assert versions[0].prices == "old"
        assert versions[1].prices.startswith("next#")
        assert await history.versions(RECORDS[2].id) == []
        assert [(r.revision, r.changed, r.ended_at) for r in await history.revisions()] == [
            (1, 3, NOW + 2000),
            (2, 3, NOW + 2000),
        ]


@awaited
async def test_usage_as_of_every_revision(tmp_path: Path) -> None:
    async with ledger_of(tmp_path, RECORDS) as ledger:
        await run(ledger, repricer(3.0), apply=True)
        await run(ledger, repricer(4.0), apply=True)

        async def sums(revision: int | None, by: Any = "model") -> dict[str, tuple[int, int]]:
            found = await report(ledger, by, until=NOW + 1000, revision=revision)
            return {s.name: (s.cost_microusd, s.unpriced) for s in found}

        assert await sums(0) == {"other": (42, 0), "small": (4200, 0), "wild": (0, 1)}
        assert await sums(1) == {"other": (42, 0), "small": (6200, 0), "wild": (3100, 0)}
        assert await sums(2) == await sums(None) == {"other": (42, 0), "small": (8200, 0), "wild": (4100, 0)}
        assert await sums(0, "day") == {"2023-11-14": (4242, 1)}
        with pytest.raises(NotFound):
            await sums(3)
        with pytest.raises(UsageError):
            await sums(1, "request")


@awaited
async def test_the_same_table_again_changes_nothing(tmp_path: Path) -> None:
    async with ledger_of(tmp_path, RECORDS) as ledger:
        await run(ledger, repricer(), apply=True)
        found, _ = await run(ledger, repricer(), apply=True)

        assert sum(d.changed for d in found) == 0
        assert (await CostHistory(ledger.database).revisions())[1].changed == 0


@awaited
async def test_a_table_that_knows_less_keeps_what_an_earlier_one_said(tmp_path: Path) -> None:
    empty = Table(b'{"format":1,"version":"none","lists":{}}', name="none")
    async with ledger_of(tmp_path, RECORDS) as ledger:
        await run(ledger, repricer(), apply=True)
        found, _ = await run(ledger, Repricer(parse(CONFIG, "test"), empty), apply=True)

        assert sum(d.changed for d in found) == 0
        assert (await ledger.get(RECORDS[0].id)).cost_microusd == 3100


@awaited
async def test_a_long_period_is_read_in_batches(tmp_path: Path) -> None:
    many = [
        one(n, attempt(cost_microusd=2100), cost=2100, started_at=NOW + (n // 7))
        for n in range(2 * BATCH + 3)
    ]
    async with ledger_of(tmp_path, many) as ledger:
        found, _ = await run(ledger, repricer(), apply=True)

        assert [(d.requests, d.changed) for d in found] == [(len(many), len(many))]
        (total,) = await report(ledger, "model")
        assert total.cost_microusd == len(many) * 3100


@awaited
async def test_revisions_are_forgotten_with_their_requests(tmp_path: Path) -> None:
    async with ledger_of(tmp_path, RECORDS) as ledger:
        await run(ledger, repricer(), apply=True)
        await ledger.expire(NOW + 2, pause_s=0.0)

        history = CostHistory(ledger.database)
        assert await history.versions(RECORDS[0].id) == []
        assert len(await history.versions(RECORDS[1].id)) == 2


@awaited
async def test_the_dearest_requests(tmp_path: Path) -> None:
    failure = Failure(kind=FailureKind.CUT, message="cut")
    records = [
        one(1, attempt(cost_microusd=5), cost=5),
        one(2, attempt(cost_microusd=900, failure=failure), cost=900, outcome=Outcome.CUT),
        one(3, attempt(), cost=None),
        one(4, attempt(cost_microusd=30), cost=30, tenant="other"),
        one(7000, attempt(cost_microusd=40), cost=40),
    ]
    async with ledger_of(tmp_path, records) as ledger:
        found = await report(ledger, "request", most=3)
        assert [(s.name[-4:], s.cost_microusd, s.failed) for s in found] == [
            ("0002", 900, 1),
            ("1b58", 40, 0),
            ("0004", 30, 0),
        ]
        theirs = await report(ledger, "request", tenants=("other",))
        assert [s.cost_microusd for s in theirs] == [30]
        assert await report(ledger, "request", since=NOW + 8000) == []
