"""`/admin/v1/latency`: what its query may be, and what it answers."""

from __future__ import annotations

import asyncio
import re

import msgspec
import pytest
from tests.unit.telemetry.records import NOW, record

from fairlead.gateway.admin_latency import LatencyQuery, LatencyView, latency_view
from fairlead.storage.connect import open_database
from fairlead.telemetry.ledger.db import Ledger


def answer(query: LatencyQuery, tenants: tuple[str, ...] | None = None) -> LatencyView:
    async def main() -> LatencyView:
        database = await open_database(":memory:")
        ledger = Ledger(database)
        ledger.take(record(number, duration_s=2.0, first_token_s=0.1) for number in range(30))
        ledger.take([record(99, tenant="other")])
        await ledger.commit()
        found = await latency_view(database, query, tenants, NOW + 600)
        await database.close()
        return found

    return asyncio.run(main())


def test_groups_come_with_their_percentiles_by_number() -> None:
    found = answer(LatencyQuery(group_by="tenant", percentiles="50,99.9", measures="duration"))

    assert [(one.names, one.requests) for one in found.data] == [
        ({"tenant": "acme"}, 30),
        ({"tenant": "other"}, 1),
    ]
    duration = found.data[0].measures["duration"]
    assert duration.count == 30
    assert list(duration.percentiles) == ["50", "99.9"]
    assert duration.percentiles["50"] == pytest.approx(2.0, rel=found.relative_error)


def test_without_an_end_it_is_now_and_a_tenant_stands_for_those_below() -> None:
    found = answer(LatencyQuery(since=NOW - 100), ("other",))

    assert [one.requests for one in found.data] == [1]
    assert found.until >= NOW + 600
    assert set(found.data[0].measures) == {"ttft", "gap", "duration"}


def test_a_repeated_name_counts_once() -> None:
    found = answer(LatencyQuery(group_by="model,tenant,model"))

    assert list(found.data[0].names) == ["model", "tenant"]


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "colour"},
        {"group_by": "model,"},
        {"percentiles": ""},
        {"percentiles": "101"},
        {"percentiles": "-1"},
        {"percentiles": "50,,99"},
        {"percentiles": ",".join(["50"] * 11)},
        {"measures": "speed"},
        {"since": "-1"},
    ],
)
def test_what_is_no_query_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(query, LatencyQuery, strict=False)


def test_a_line_break_at_the_end_is_no_part_of_a_name() -> None:
    assert answer(msgspec.convert({"group_by": "model\n"}, LatencyQuery)).data[0].names == {"model": "small"}


def test_the_patterns_are_what_a_schema_may_say() -> None:
    for field in msgspec.json.schema_components([LatencyQuery])[1]["LatencyQuery"]["properties"].values():
        assert re.compile(field.get("pattern", ""))
