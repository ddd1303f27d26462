"""What batches add up to."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.ledger.rollup import (
    COLUMNS,
    MEASURES,
    Batch,
    Place,
    Rolling,
    Rollup,
    Series,
    add_to_spans,
    batch_of,
)
from fairlead.telemetry.ledger.sketch import quantiles, size
from fairlead.types import ITL_BOUNDS_S

GAPS = tuple(2 if place == 5 else 0 for place in range(len(ITL_BOUNDS_S) + 1))
AT = 1_700_000_040.0  # a whole minute


def row(at: float = AT, **changes: object) -> list[object]:
    columns: dict[str, object] = {
        "started_at": at,
        "tenant": "acme",
        "key_id": "key1",
        "model": "small",
        "target": "lab/small",
        "endpoint": "chat",
        "outcome": "ok",
        "input_tokens": 10,
        "output_tokens": 5,
        "first_token_s": 0.2,
        "duration_s": 2.0,
    }
    return [{**columns, **changes}[name] for name in COLUMNS]


def batch(*rows: list[object], gaps: tuple[int, ...] = GAPS) -> Batch:
    values = [value for one in rows for value in one]
    places = tuple(range(len(COLUMNS)))
    return batch_of(values, len(COLUMNS), places, [gaps] * len(rows), [0.03] * len(rows))


def rolled(*batches: Batch) -> dict[tuple[int, Series], Rollup]:
    rolling = Rolling(lambda at, series: (at, series))
    for one in batches:
        rolling.add(one, 0, len(one.started_at))
    return dict(rolling.rollups())


def test_requests_of_a_minute_and_series_add_up() -> None:
    found = rolled(batch(row(), row(AT + 59.9, first_token_s=0.0, input_tokens=0)), batch(row(AT + 60.0)))

    assert [(at - int(AT), one.requests) for (at, _), one in found.items()] == [(0, 2), (60, 1)]
    first = found[int(AT), Series("acme", "key1", "small", "lab/small", "chat", "ok")]
    assert (first.input_tokens, first.output_tokens) == (10, 10)
    sizes = dict(zip(MEASURES, map(size, first.sketches), strict=True))
    assert sizes == {"ttft": 1, "duration": 2, "gap": 4, "pace": 2, "prompt": 1, "output": 2}
    assert quantiles(first.sketches[MEASURES.index("ttft")], [0.5]) == [pytest.approx(0.2e6, rel=0.02)]
    assert quantiles(first.sketches[MEASURES.index("pace")], [0.5]) == [pytest.approx(0.015e6, rel=0.02)]


def test_a_batch_survives_its_stored_form() -> None:
    stored = msgspec.msgpack.encode(batch(row(), row(AT + 1)))

    assert rolled(msgspec.msgpack.decode(stored, type=Batch)).keys() == rolled(batch(row())).keys()


def test_a_key_of_none_is_not_counted() -> None:
    rolling: Rolling[str] = Rolling(lambda _, series: None if series.tenant == "other" else "all")
    rolling.add(batch(row(), row(tenant="other"), row(AT + 7200)), 0, 3)

    assert [(key, one.requests) for key, one in rolling.rollups()] == [("all", 2)]


def test_only_the_measures_that_are_asked_for_are_made() -> None:
    rolling = Rolling(lambda at, series: (at, series))
    rolling.add(batch(row()), 0, 1)
    ((_, one),) = rolling.rollups(("duration", "output"))

    assert [size(merged) for merged in one.sketches] == [1, 1]


@pytest.mark.parametrize("at", [math.nan, -1e300, math.inf, 1e300, 0.0])
def test_a_clock_that_is_out_of_its_mind_harms_nothing(at: float) -> None:
    found = rolled(batch(row(at), row(AT)))

    assert sum(one.requests for one in found.values()) == 2
    assert all(0 <= minute < 2**40 and minute % 60 in (0, 59) for minute, _ in found)


@pytest.mark.parametrize("duration_s", [math.nan, math.inf, -1.0, 0.0])
def test_an_odd_duration_is_counted(duration_s: float) -> None:
    ((_, one),) = rolled(batch(row(duration_s=duration_s))).items()

    assert size(one.sketches[MEASURES.index("duration")]) == 1


def test_gaps_over_two_sets_of_bounds_add_up() -> None:
    older = msgspec.structs.replace(batch(row()), gap_bounds=(0.01, 0.1), gap_counts=[(1, 2, 3)])
    ((_, one),) = rolled(batch(row()), older).items()

    assert size(one.sketches[MEASURES.index("gap")]) == 8


def test_columns_of_several_lengths_are_noticed() -> None:
    assert batch(row()).whole()
    assert not msgspec.structs.replace(batch(row()), gap_sum_s=[]).whole()


def test_a_minute_counts_for_its_hour_and_its_day() -> None:
    totals: dict[Place, Rollup] = {}
    for (at, series), one in rolled(batch(row(), row(AT + 60), row(AT + 86_400))).items():
        add_to_spans(totals, at, series, one)

    found = {(span_s, at): one.requests for (span_s, at, _), one in totals.items()}
    day = int(AT) // 86_400 * 86_400
    hour = int(AT) // 3600 * 3600
    assert found == {
        (60, int(AT)): 1,
        (60, int(AT) + 60): 1,
        (60, int(AT) + 86_400): 1,
        (3600, hour): 2,
        (3600, hour + 86_400): 1,
        (86_400, day): 2,
        (86_400, day + 86_400): 1,
    }


_names = st.text(max_size=4)


@given(st.lists(st.tuples(*[_names] * 6), min_size=2, max_size=2, unique=True))
def test_two_series_have_two_ids(names: list[tuple[str, ...]]) -> None:
    first, second = (Series._make(one) for one in names)

    assert first.id != second.id
    assert -(2**63) <= first.id < 2**63
