"""Percentiles over windows, against the requests themselves."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Collection, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.records import record

from fairlead.errors import InvalidRequest
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database
from fairlead.telemetry.ledger import percentiles
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.percentiles import Answer, Question, ask, cover, widened
from fairlead.telemetry.ledger.rollup_db import Rollups
from fairlead.telemetry.ledger.rollup_job import catch_up
from fairlead.telemetry.ledger.sketch import ERROR
from fairlead.types import ITL_BOUNDS_S, Outcome, RequestRecord, Usage

DAY = 86_400
START = 1_699_920_000  # midnight, UTC
NOTHING_DELETED = {60: 0, 3600: 0, DAY: 0}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def database(runner: asyncio.Runner) -> Iterator[Database]:
    database = runner.run(open_database(":memory:"))
    yield database
    runner.run(database.close())


def requests(count: int = 600) -> list[RequestRecord]:
    """Requests of three days, of several kinds."""
    roll = random.Random(5)
    gaps = tuple(1 if 4 < place < 9 else 0 for place in range(len(ITL_BOUNDS_S) + 1))
    return [
        record(
            number,
            started_at=START + roll.random() * 3 * DAY,
            tenant=roll.choice(["acme", "acme/lab", "other"]),
            key_id=roll.choice(["k1", "k2"]),
            model=roll.choice(["small", "large"]),
            outcome=roll.choice([Outcome.OK, Outcome.OK, Outcome.FAILED]),
            first_token_s=roll.choice([0.0, roll.lognormvariate(-1, 1)]),
            duration_s=roll.lognormvariate(1, 1),
            usage=Usage(input_tokens=roll.randrange(5000), output_tokens=roll.randrange(900)),
            itl_counts=gaps,
            itl_sum_s=0.04,
        )
        for number in range(count)
    ]


def fill(
    runner: asyncio.Runner, database: Database, records: list[RequestRecord], *, journal: int = 0
) -> None:
    """Write them; the last `journal` are not rolled up."""
    ledger = Ledger(database)
    ledger.take(records[: len(records) - journal])
    runner.run(ledger.commit())
    runner.run(catch_up(ledger, Rollups(database), pause_s=0))
    ledger.take(records[len(records) - journal :])
    runner.run(ledger.commit())


def exact(values: Collection[float], percentile: float) -> float:
    return sorted(values)[max(1, math.ceil(percentile / 100 * len(values) - 1e-9)) - 1]


@pytest.mark.parametrize("journal", [0, 200, 600])
@pytest.mark.parametrize(
    ("since", "until"),
    [(0, 3 * DAY), (61, 3 * DAY - 61), (DAY - 30, DAY + 30), (5 * 3600, 6 * 3600), (100, 2 * DAY + 7000)],
)
def test_a_window_has_the_percentiles_of_its_requests(
    runner: asyncio.Runner, database: Database, journal: int, since: int, until: int
) -> None:
    records = requests()
    fill(runner, database, records, journal=journal)
    question = Question(since=START + since, until=START + until, percentiles=(50, 95, 99.9))

    answer = runner.run(ask(database, question))

    assert answer.since <= question.since < answer.since + 60
    assert answer.until - 60 < question.until <= answer.until
    inside = [one for one in records if answer.since <= one.started_at < answer.until]
    if not inside:
        assert answer.groups == ()
        return
    (group,) = answer.groups
    assert group.requests == len(inside)
    assert group.input_tokens == sum(one.usage.input_tokens for one in inside)
    expected = {
        "ttft": [one.first_token_s for one in inside if one.first_token_s],
        "duration": [one.duration_s for one in inside],
    }
    for name, values in expected.items():
        found = group.measures[name]
        assert found.count == len(values)
        wanted = [exact(values, percentile) for percentile in question.percentiles] if values else []
        assert list(found.values) == [pytest.approx(value, rel=ERROR * 1.000001) for value in wanted]
    assert group.measures["gap"].count == 4 * len(inside)


def test_groups_are_told_apart_and_add_up(runner: asyncio.Runner, database: Database) -> None:
    records = requests()
    fill(runner, database, records, journal=100)
    question = Question(until=START + 3 * DAY, by=("tenant", "outcome"))

    answer = runner.run(ask(database, question))

    found = {(one.names["tenant"], one.names["outcome"]): one.requests for one in answer.groups}
    expected: dict[tuple[str, str], int] = {}
    for one in records:
        key = (one.tenant, one.outcome.value)
        expected[key] = expected.get(key, 0) + 1
    assert found == expected
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("by", "first", "length"), [("day", "2023-11-14", 10), ("hour", "2023-11-14T00:00Z", 17)]
)
def test_groups_in_time(runner: asyncio.Runner, database: Database, by: str, first: str, length: int) -> None:
    records = [record(number, started_at=START + number * 600.0) for number in range(432)]
    fill(runner, database, records, journal=30)

    answer = runner.run(ask(database, Question(until=START + 3 * DAY, by=(by, "model"))))  # type: ignore[arg-type]  # a word of the literal

    each = 144 if by == "day" else 6
    assert [one.requests for one in answer.groups] == [each] * (432 // each)
    assert answer.groups[0].names == {by: first, "model": "small"}
    assert len(first) == length


@pytest.mark.parametrize("journal", [0, 600])
@pytest.mark.parametrize(
    ("narrow", "matches"),
    [
        ({"tenants": ("acme", "acme/lab")}, lambda one: one.tenant != "other"),
        ({"tenants": ()}, lambda _: False),
        ({"model": "large", "key_id": "k1"}, lambda one: one.model == "large" and one.key_id == "k1"),
        ({"outcome": "failed"}, lambda one: one.outcome == Outcome.FAILED),
        ({"target": "lab/small-1", "endpoint": "chat"}, lambda _: True),
        ({"target": "nowhere"}, lambda _: False),
    ],
)
def test_only_what_is_asked_for_counts(
    runner: asyncio.Runner, database: Database, journal: int, narrow: dict[str, object], matches: object
) -> None:
    records = requests()
    fill(runner, database, records, journal=journal)

    answer = runner.run(ask(database, Question(until=START + 3 * DAY, **narrow)))  # type: ignore[arg-type]  # by the table

    assert sum(one.requests for one in answer.groups) == sum(map(matches, records))  # type: ignore[arg-type]  # a function


def test_measures_come_in_one_order_whatever_was_asked(runner: asyncio.Runner, database: Database) -> None:
    fill(runner, database, requests(50), journal=20)
    question = Question(until=START + 3 * DAY, measures=("output", "ttft", "pace", "prompt"))

    (group,) = runner.run(ask(database, question)).groups

    assert list(group.measures) == ["ttft", "pace", "prompt", "output"]
    assert group.measures["pace"].values[0] == pytest.approx(0.01, rel=ERROR)
    assert 100 < group.measures["output"].values[0] < 900


def test_too_many_groups_are_refused(
    runner: asyncio.Runner, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(percentiles, "MOST_GROUPS", 2)
    fill(runner, database, requests(100))

    with pytest.raises(InvalidRequest, match="more than 2 groups"):
        runner.run(ask(database, Question(until=START + 3 * DAY, by=("tenant",))))


def test_a_row_of_the_journal_that_cannot_be_read_is_left_out(
    runner: asyncio.Runner, database: Database
) -> None:
    fill(runner, database, requests(10), journal=5)
    runner.run(database.execute("INSERT INTO rollup_journal (id, batch) VALUES ('bad', ?)", (b"\xc1",)))

    (group,) = runner.run(ask(database, Question(until=START + 3 * DAY))).groups
    assert group.requests == 10


def test_where_minutes_are_gone_hours_answer_and_where_these_are_gone_days(
    runner: asyncio.Runner, database: Database
) -> None:
    records = requests()
    fill(runner, database, records)
    rollups = Rollups(database)
    kept = {60: START + 2 * DAY, 3600: START + DAY, DAY: START}
    for _ in range(2):
        runner.run(rollups.expire(kept, pause_s=0))

    def answer(since: float, until: float) -> Answer:
        found = runner.run(ask(database, Question(since=START + since, until=START + until)))
        inside = [one for one in records if found.since <= one.started_at < found.until]
        assert sum(one.requests for one in found.groups) == len(inside)
        return found

    assert answer(2 * DAY + 61, 2 * DAY + 119).since == START + 2 * DAY + 60
    hours = answer(DAY + 5000, 2 * DAY + 90)
    assert (hours.since, hours.until) == (START + DAY + 3600, START + 2 * DAY + 120)
    days = answer(7000, DAY - 5)
    assert (days.since, days.until) == (START, START + DAY)
    by_hour = runner.run(ask(database, Question(until=START + 3 * DAY, by=("hour",))))
    assert by_hour.since == START + DAY


_moments = st.integers(0, 20 * DAY)


@given(_moments, _moments, st.sampled_from([60, 3600, DAY]))
def test_the_stretches_of_a_window_are_the_window(start: int, length: int, coarsest: int) -> None:
    start, stop = start // 60 * 60, (start + length) // 60 * 60
    found = sorted(cover(start, stop, coarsest), key=lambda stretch: stretch.start)

    at = start
    for stretch in found:
        assert stretch.start == at
        assert stretch.span_s <= coarsest
        assert stretch.start % stretch.span_s == stretch.stop % stretch.span_s == 0
        at = stretch.stop
    assert at == max(stop, start)
    minutes = sum((one.stop - one.start) // 60 for one in found if one.span_s == 60)
    assert coarsest == 60 or minutes <= 118


@given(st.floats(0, 20 * DAY), st.floats(0, 20 * DAY), st.integers(0, 20), st.integers(0, 20))
def test_a_window_is_widened_no_more_than_is_needed(
    since: float, until: float, minutes_from: int, hours_from: int
) -> None:
    kept = {60: max(minutes_from, hours_from) * DAY, 3600: hours_from * DAY, DAY: 0}
    start, stop = widened(since, until, kept)

    assert start <= since
    assert stop >= until or stop == start
    unit = 60 if since >= kept[60] else 3600 if since >= kept[3600] else DAY
    assert start % unit == 0
    assert since - start < unit
