"""Two readings of an engine, and what they say of the time between."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.scrapers.engine import (
    INTERVAL_S,
    KEPT_S,
    EngineMeans,
    EngineReading,
    Interval,
    Total,
    Work,
    means,
    rise,
    since,
    work,
)


def reading(requests: float = 0, **fields: object) -> EngineReading:
    """An engine that has ended so many requests, each of 0.1, 0.2 and 3 s, and of 100 and 50 tokens."""
    plain = EngineReading(
        engine="vllm",
        running=1,
        waiting=0,
        prompt_tokens=100 * requests,
        generation_tokens=50 * requests,
        queue=Total(0.1 * requests, requests),
        prefill=Total(0.2 * requests, requests),
        decode=Total(3.0 * requests, requests),
    )
    return msgspec.structs.replace(plain, **fields)


def test_means_are_of_what_ended_in_between() -> None:
    found = means(reading(10), reading(14))

    assert found.queue_s == pytest.approx(0.1)
    assert found.prefill_s == pytest.approx(0.2)
    assert found.decode_s == pytest.approx(3.0)
    assert found.first_token_s is None


def test_nothing_ended_nothing_is_known() -> None:
    assert means(reading(10), reading(10)) == EngineMeans()


def test_a_restarted_engine_counts_from_zero() -> None:
    found = means(reading(1000), reading(2))

    assert found.decode_s == pytest.approx(3.0)
    assert work(reading(1000), reading(2)) == Work(
        prefill_s=pytest.approx(0.4), decode_s=pytest.approx(6.0), prompt_tokens=200, output_tokens=100
    )


def test_phases_without_a_histogram_are_what_is_left() -> None:
    before = EngineReading(engine="sglang", queue=Total(), first_token=Total(), whole=Total())
    after = EngineReading(engine="sglang", queue=Total(1, 10), first_token=Total(3, 10), whole=Total(23, 10))

    found = means(before, after)

    assert (found.prefill_s, found.decode_s) == (pytest.approx(0.2), pytest.approx(2.0))


def test_an_engine_that_only_knows_its_batches_has_a_decode_too() -> None:
    before = EngineReading(engine="tgi", queue=Total(), prefill=Total(), whole=Total())
    after = EngineReading(engine="tgi", queue=Total(1, 10), prefill=Total(2, 10), whole=Total(23, 10))

    assert means(before, after).decode_s == pytest.approx(2.0)


def test_work_leaves_cached_tokens_out_and_prefers_the_engines_own_seconds() -> None:
    before = reading(0, cached_tokens=0.0, prefill_work_s=0.0, decode_work_s=0.0)
    after = reading(10, cached_tokens=400.0, prefill_work_s=0.5, decode_work_s=9.0)

    assert work(before, after) == Work(prefill_s=0.5, decode_s=9.0, prompt_tokens=600, output_tokens=500)


def test_an_engine_without_times_has_shown_no_work() -> None:
    bare = EngineReading(engine="vllm", prompt_tokens=0.0, generation_tokens=0.0)

    assert work(bare, msgspec.structs.replace(bare, prompt_tokens=10.0, generation_tokens=9.0)) == Work()


def test_an_interval_lasts_long_enough_to_hold_something() -> None:
    interval = Interval()
    for step in range(int(INTERVAL_S / 0.5)):
        interval.saw(reading(step), step * 0.5)
    assert interval.means(9.5) is None

    interval.saw(reading(40), INTERVAL_S)

    known = interval.means(INTERVAL_S)
    assert known is not None
    assert known.prefill_s == pytest.approx(0.2)
    assert interval.work.output_tokens == 40 * 50


def test_means_hold_while_nothing_ends_but_not_for_ever() -> None:
    interval = Interval()
    interval.saw(reading(0), 0.0)
    interval.saw(reading(5), 10.0)
    interval.saw(reading(5), 30.0)

    assert interval.means(30.0) is not None
    assert interval.means(10.0 + KEPT_S + 1) is None


def test_a_clock_that_goes_back_and_another_engine_begin_anew() -> None:
    interval = Interval()
    interval.saw(reading(0), 100.0)
    interval.saw(reading(5), 5.0)
    interval.saw(reading(6), 20.0)
    assert interval.work.output_tokens == 50

    interval.saw(reading(60, engine="sglang"), 40.0)
    assert interval.work.output_tokens == 50


_count = st.none() | st.floats(0, 1e12)
_total = st.none() | st.builds(Total, st.floats(0, 1e9), st.floats(0, 1e9))
_readings = st.builds(
    EngineReading, engine=st.just("vllm"), prompt_tokens=_count, cached_tokens=_count,
    generation_tokens=_count, queue=_total, prefill=_total, decode=_total, first_token=_total,
    inter_token=_total, whole=_total,
    prefill_work_s=_count, decode_work_s=_count,
)  # fmt: skip


@given(st.lists(st.tuples(_readings, st.floats(0, 1e6)), max_size=8))
def test_whatever_an_engine_says_no_figure_is_negative(said: list[tuple[EngineReading, float]]) -> None:
    interval = Interval()
    for one, now in said:
        interval.saw(one, now)
        known = interval.means(now)
        if known is not None:
            assert all(value is None or 0 <= value < math.inf for value in msgspec.structs.astuple(known))
        assert all(value >= 0 for value in msgspec.structs.astuple(interval.work))


def test_what_is_new_on_a_page_says_nothing_of_the_interval() -> None:
    assert since(None, Total(5, 5)) == Total()
    assert rise(None, 5.0) == 0.0
    assert rise(7.0, 5.0) == 5.0
    assert rise(7.0, None) is None
