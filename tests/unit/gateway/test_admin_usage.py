"""`/admin/v1/usage`: groups, the dearest requests, and the costs of earlier revisions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.gateway.test_admin import Answered, Open
from tests.unit.telemetry.records import NOW, record

from fairlead.errors import FairleadError, InvalidRequest, NotFound
from fairlead.gateway.admin import Admin
from fairlead.limits.tree import Tree
from fairlead.storage.connect import open_database
from fairlead.telemetry.billing.db import Change, CostHistory
from fairlead.telemetry.billing.report import Group
from fairlead.telemetry.ledger.db import Ledger

RECORDS = [
    record(1, cost_microusd=100, key_id="k1"),
    record(2, cost_microusd=900, key_id="k2", model="large"),
    record(3, cost_microusd=None, key_id="k1"),
]


def ask(query: str) -> Any:
    """The answer, or the error, of one call; the first request's cost was 40 before it was recomputed."""

    async def scenario() -> Any:
        store = await open_database(":memory:")
        ledger = Ledger(store)
        ledger.take(RECORDS)
        await ledger.commit()
        history = CostHistory(store)
        revision = await history.begin("next", NOW, NOW + 9, NOW)
        change = Change(
            request_id=RECORDS[0].id,
            started_at=RECORDS[0].started_at,
            before_microusd=40,
            before_prices="old",
            after_microusd=100,
        )
        await history.change(revision, "next", [change])
        limiter = SimpleNamespace(tree=Tree({}))
        facts: Any = SimpleNamespace(pipeline=Open, ledger=ledger, limiter=lambda: limiter)
        call: Any = Answered("GET", f"/usage?{query}", b"")
        try:
            await Admin(facts).handle(call)
            return call.answer["data"]
        except FairleadError as error:
            return error
        finally:
            await store.close()

    return asyncio.run(scenario())


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("model", [("large", 900, 0), ("small", 100, 1)]),
        ("key", [("k1", 100, 1), ("k2", 900, 0)]),
        ("tenant", [("acme", 1000, 1)]),
        ("target", [("lab/small-1", 1000, 1)]),
        ("day", [("2023-11-14", 1000, 1)]),
        ("request", [(RECORDS[1].id, 900, 0), (RECORDS[0].id, 100, 0)]),
    ],
)
def test_every_group(by: Group, expected: list[tuple[str, int, int]]) -> None:
    found = ask(f"by={by}")

    assert [(one["name"], one["cost_microusd"], one["unpriced"]) for one in found] == expected


def test_the_dearest_requests_have_a_limit() -> None:
    assert [one["cost_microusd"] for one in ask("by=request&limit=1")] == [900]


def test_costs_as_of_an_earlier_revision() -> None:
    assert [one["cost_microusd"] for one in ask("revision=0")] == [900, 40]
    assert [one["cost_microusd"] for one in ask("revision=1")] == [900, 100]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("revision=7", NotFound),
        ("revision=-1", InvalidRequest),
        ("by=request&limit=0", InvalidRequest),
        ("by=request&limit=100000", InvalidRequest),
    ],
)
def test_what_cannot_be_answered(query: str, error: type[FairleadError]) -> None:
    assert isinstance(ask(query), error)
