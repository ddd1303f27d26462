"""Metrics folded from records."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.records import full_record, record, records

from fairlead.telemetry.metrics.cells import DURATION_BOUNDS_S, RATE_BOUNDS
from fairlead.telemetry.metrics.histogram import coarsened, quantile
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.readings import Reading
from fairlead.telemetry.metrics.samples import Exemplar, Family, Series
from fairlead.telemetry.metrics.views import SHOWN_ITL_BOUNDS_S
from fairlead.types import ITL_BOUNDS_S, Attempt, Failure, FailureKind, Outcome, RequestRecord, Usage


def families(*served: RequestRecord, metrics: Metrics | None = None) -> dict[str, Family]:
    metrics = metrics or Metrics(version="1.2.3")
    metrics.take(iter(served))
    return {family.name: family for family in metrics.families()}


def values(family: Family) -> dict[tuple[str, ...], Any]:
    return {series.labels: series.value for series in family.series}


def failed(kind: FailureKind, target: str = "lab/a") -> Attempt:
    return Attempt(target=target, started_s=0.0, failure=Failure(kind=kind, message="m"))


def test_requests_are_counted_by_model_endpoint_outcome_and_status_class() -> None:
    found = families(
        record(), record(target="lab/small-2"), record(outcome=Outcome.REFUSED, status=429, model="")
    )

    assert values(found["fairlead_requests_total"]) == {
        ("small", "chat", "ok", "2xx"): 2,
        ("", "chat", "refused", "4xx"): 1,
    }


def test_a_request_that_was_refused_has_no_overhead_and_no_wait() -> None:
    found = families(record(outcome=Outcome.REFUSED, attempts=()))

    assert sum(found["fairlead_overhead_seconds"].series[0].counts) == 0
    assert found["fairlead_queue_wait_seconds"].series == ()
    assert found["fairlead_attempts_total"].series == ()


def test_tokens_are_counted_by_type() -> None:
    found = families(full_record(), record(model="large", usage=Usage(input_tokens=1)))

    assert values(found["fairlead_tokens_total"]) == {
        ("input", "large"): 101,
        ("output", "large"): 50,
        ("cached", "large"): 30,
        ("cache_write", "large"): 20,
        ("reasoning", "large"): 7,
    }


def test_attempts_are_counted_by_target_and_reason() -> None:
    found = families(
        full_record(), record(attempts=(failed(FailureKind.TIMEOUT), Attempt(target="b", started_s=0.0)))
    )

    assert values(found["fairlead_attempts_total"]) == {
        ("lab/large-1", "overloaded"): 1,
        ("lab/large-2", "cut"): 1,
        ("lab/a", "timeout"): 1,
        ("b", "ok"): 1,
    }


@pytest.mark.parametrize(
    ("outcome", "attempts", "expected"),
    [
        (Outcome.OK, (), "complete"),
        (Outcome.CUT, (failed(FailureKind.CUT),), "cut"),
        (Outcome.CUT, (), "cut"),
        (Outcome.CUT, (failed(FailureKind.CUT), failed(FailureKind.TIMEOUT)), "stalled"),
        (Outcome.CLIENT_GONE, (), "client_gone"),
        (Outcome.FAILED, (), "failed"),
        (Outcome.REFUSED, (), None),
        (Outcome.UPSTREAM_REFUSED, (), None),
    ],
)
def test_streams_are_counted_by_how_they_ended(
    outcome: Outcome, attempts: tuple[Attempt, ...], expected: str | None
) -> None:
    found = families(record(stream=True, outcome=outcome, attempts=attempts))

    assert values(found["fairlead_stream_outcome_total"]) == ({(expected,): 1} if expected else {})


def test_an_answer_that_was_not_streamed_has_no_token_times() -> None:
    found = families(record(first_token_s=0.3))

    assert found["fairlead_ttft_seconds"].series == ()
    assert found["fairlead_itl_seconds"].series == ()
    assert found["fairlead_stream_outcome_total"].series == ()


def test_gaps_between_tokens_add_up_over_requests_and_batches() -> None:
    counts = tuple(range(len(ITL_BOUNDS_S) + 1))
    stream = record(stream=True, first_token_s=0.2, itl_counts=counts, itl_sum_s=1.5)
    metrics = Metrics()
    families(stream, stream, record(), metrics=metrics)

    found = families(stream, metrics=metrics)["fairlead_itl_seconds"]

    assert found.series == (
        Series(
            labels=("small", "lab/small-1"),
            value=4.5,
            counts=coarsened(ITL_BOUNDS_S, [3 * count for count in counts], SHOWN_ITL_BOUNDS_S),
        ),
    )


def test_a_gap_histogram_of_another_size_is_left_out() -> None:
    found = families(record(stream=True, itl_counts=(1, 2, 3), itl_sum_s=1.0))

    assert found["fairlead_itl_seconds"].series == ()


def test_a_duration_on_a_bound_belongs_below_it() -> None:
    found = families(record(duration_s=0.02), record(duration_s=0.020001), record(duration_s=10_000.0))

    counts = found["fairlead_request_duration_seconds"].series[0].counts
    assert counts[DURATION_BOUNDS_S.index(0.02)] == 1
    assert counts[DURATION_BOUNDS_S.index(0.04)] == 1
    assert counts[-1] == 1


@given(st.lists(records, max_size=30))
def test_every_record_is_counted_once(served: list[RequestRecord]) -> None:
    found = families(*served)

    assert sum(values(found["fairlead_requests_total"]).values()) == len(served)
    durations = found["fairlead_request_duration_seconds"].series
    assert sum(sum(series.counts) for series in durations) == len(served)
    assert sum(series.value for series in durations) == pytest.approx(sum(one.duration_s for one in served))
    assert sum(values(found["fairlead_attempts_total"]).values()) == sum(len(one.attempts) for one in served)
    tokens = values(found["fairlead_tokens_total"])
    assert sum(count for (kind, _), count in tokens.items() if kind == "input") == sum(
        one.usage.input_tokens for one in served
    )


def test_ten_thousand_junk_names_make_a_bounded_number_of_series() -> None:
    metrics = Metrics(max_names=50)
    for number in range(10_000):
        metrics.take(
            [record(number, model=f"junk-{number}", target=f"lab/junk-{number}", stream=True, attempts=())]
        )

    found = families(metrics=metrics)

    assert sum(len(family.series) for family in found.values()) < 600
    assert sum(values(found["fairlead_requests_total"]).values()) == 10_000
    assert values(found["fairlead_requests_total"])["other", "chat", "ok", "2xx"] == 10_000 - 50
    assert found["fairlead_metrics_overflow_total"].series[0].value == 10_000 - 50


def test_junk_targets_of_attempts_are_bounded_too() -> None:
    served = [record(n, attempts=(failed(FailureKind.TIMEOUT, f"lab/{n}"),)) for n in range(1000)]
    metrics = Metrics(max_names=10)

    counted = values(families(*served, metrics=metrics)["fairlead_attempts_total"])

    assert len(counted) == 10, "nine, since one name is the record's own target, and `other`"
    assert sum(counted.values()) == 1000


def test_combinations_of_labels_are_bounded() -> None:
    metrics = Metrics(max_cells=20)
    served = [record(model=f"m{n % 10}", target=f"t{n % 7}", endpoint=f"e{n % 3}") for n in range(210)]

    found = families(*served, metrics=metrics)

    assert len(found["fairlead_ttft_seconds"].series) <= 21
    counted = values(found["fairlead_requests_total"])
    assert len(counted) == 21
    assert sum(counted.values()) == 210
    assert counted["other", "other", "ok", "2xx"] == found["fairlead_metrics_overflow_total"].series[0].value


def test_names_that_cannot_be_printed_share_a_series_with_their_clean_form() -> None:
    found = families(record(model="a\nb"), record(model="a\nb"), record(model="a?b"))

    assert values(found["fairlead_requests_total"]) == {("a?b", "chat", "ok", "2xx"): 3}


def test_a_median_can_be_read_from_the_metrics() -> None:
    found = families(*(record(duration_s=0.1) for _ in range(99)), record(duration_s=60.0))

    family = found["fairlead_request_duration_seconds"]
    median = quantile(family.bounds, family.series[0].counts, 0.5)
    assert median is not None
    assert 0.08 < median < 0.16


def test_stalls_and_the_pace_of_streams_are_counted() -> None:
    counts = (1,) + (0,) * len(ITL_BOUNDS_S)
    stream = record(
        stream=True,
        itl_counts=counts,
        itl_sum_s=2.0,
        stalls=2,
        stalled_s=3.5,
        usage=Usage(input_tokens=9, output_tokens=81),
    )
    found = families(stream, stream, record(stream=True))

    assert values(found["fairlead_stalls_total"]) == {("small", "lab/small-1"): 4}
    assert values(found["fairlead_stall_seconds_total"]) == {("small", "lab/small-1"): 7.0}
    (rate,) = found["fairlead_output_tokens_per_second"].series
    assert (rate.value, sum(rate.counts)) == (80.0, 2)
    assert rate.counts[RATE_BOUNDS.index(40)] == 2


def test_the_time_at_upstreams_is_told_apart_where_it_is_known() -> None:
    told = record(
        connect_s=0.02,
        engine_queue_s=0.1,
        prefill_s=0.2,
        decode_s=0.3,
        network_s=0.04,
        engine_source="response",
    )
    found = families(told, record(connect_s=0.01), record())["fairlead_phase_seconds"]

    assert {series.labels[0]: (sum(series.counts), series.value) for series in found.series} == {
        "connect": (2, pytest.approx(0.03)),
        "engine_queue": (1, 0.1),
        "prefill": (1, 0.2),
        "decode": (1, 0.3),
        "network": (1, 0.04),
    }


def test_a_stream_that_another_target_has_finished_is_resumed() -> None:
    cut = Attempt(
        target="a", started_s=0.0, first_token_s=0.1, failure=Failure(kind=FailureKind.CUT, message="")
    )
    refused = Attempt(target="a", started_s=0.0, failure=Failure(kind=FailureKind.OVERLOADED, message=""))
    last = Attempt(target="b", started_s=0.2, first_token_s=0.3)

    found = families(record(stream=True, attempts=(cut, last)), record(stream=True, attempts=(refused, last)))

    assert values(found["fairlead_stream_outcome_total"]) == {("resumed",): 1, ("complete",): 1}


def test_sampled_traces_stand_for_the_buckets_they_were_counted_in() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    seen = record(
        stream=True,
        first_token_s=0.3,
        duration_s=0.5,
        trace_parent=f"00-{trace}-b7ad6b7169203331-01",
        started_at=100.0,
    )
    unseen = record(duration_s=60.0, trace_parent=f"00-{'9' * 32}-b7ad6b7169203331-00")

    found = families(seen, unseen)

    (duration,) = found["fairlead_request_duration_seconds"].series
    bucket = DURATION_BOUNDS_S.index(0.64)
    assert duration.exemplars == (Exemplar(bucket=bucket, trace_id=trace, value=0.5, at=100.5),)
    assert duration.counts[bucket] == 1
    (ttft,) = found["fairlead_ttft_seconds"].series
    assert [one.trace_id for one in ttft.exemplars] == [trace]
    off = families(seen, metrics=Metrics(exemplars=False))
    assert off["fairlead_request_duration_seconds"].series[0].exemplars == ()


@given(st.lists(records, max_size=40), st.integers(0, 40))
def test_it_does_not_matter_how_records_are_batched(served: list[RequestRecord], cut: int) -> None:
    whole, halves, single = Metrics(), Metrics(), Metrics()
    whole.take(served)
    halves.take(served[:cut])
    halves.take(served[cut:])
    for one in served:
        single.take([one])

    expected = {family.name: {s.labels: s.counts for s in family.series} for family in whole.families()}
    for other in (halves, single):
        found = {family.name: {s.labels: s.counts for s in family.series} for family in other.families()}
        assert found == expected


def test_gauges_are_declared_once() -> None:
    with pytest.raises(KeyError):
        Metrics().families([Reading(name="fairlead_of_nobody", value=1)])


def test_the_build_is_named() -> None:
    assert families()["fairlead_build_info"].series[0].labels[0] == "1.2.3"


def test_money_is_counted_for_the_target_that_has_earned_it() -> None:
    paid = Attempt(target="lab/b", started_s=0.1, cost_microusd=1_500_001)
    wasted = Attempt(
        target="lab/a", started_s=0.0, cost_microusd=250, failure=Failure(kind=FailureKind.CUT, message="m")
    )
    one = record(attempts=(wasted, paid), target="lab/b", cost_microusd=1_500_251)

    found = families(one, one, record(cost_microusd=0))

    assert values(found["fairlead_cost_usd_total"]) == {
        ("small", "lab/b"): 3.000002,
        ("small", "lab/a"): 0.0005,
    }
    assert found["fairlead_unpriced_requests_total"].series == ()


def test_what_has_no_price_is_counted_and_not_taken_for_free() -> None:
    found = families(
        record(), record(usage=Usage()), record(outcome=Outcome.REFUSED, attempts=(), usage=Usage())
    )

    assert values(found["fairlead_unpriced_requests_total"]) == {("small", "lab/small-1"): 1}
    assert found["fairlead_cost_usd_total"].series == ()


def test_costs_of_many_targets_are_bounded() -> None:
    metrics = Metrics(max_names=2)
    spent = [
        record(number, target=f"lab/{number}", cost_microusd=1,
               attempts=(Attempt(target=f"lab/{number}", started_s=0.0, cost_microusd=1),))
        for number in range(50)
    ]  # fmt: skip

    found = values(families(*spent, metrics=metrics)["fairlead_cost_usd_total"])

    assert len(found) == 3
    assert sum(found.values()) == pytest.approx(50e-6)
