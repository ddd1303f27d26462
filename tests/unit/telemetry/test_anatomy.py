"""Where a request's time went."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.records import full_record, record, records

from fairlead.telemetry.anatomy import PARTS, Anatomy, Split, anatomy, split, tokens_per_s
from fairlead.telemetry.scrapers.engine import EngineMeans
from fairlead.types import ITL_BOUNDS_S, Attempt, EngineTimes, RequestRecord, Usage

_s = st.floats(0.0, 1000.0)


def divided(
    *,
    upstream_s: float = 2.0,
    first_s: float = 0.5,
    tokens_s: float = 1.4,
    output_tokens: int = 11,
    engine: EngineTimes | None = None,
    means: EngineMeans | None = None,
) -> Split:
    return split(
        upstream_s=upstream_s,
        first_s=first_s,
        tokens_s=tokens_s,
        output_tokens=output_tokens,
        engine=engine,
        means=means,
    )


def test_what_the_engine_says_of_the_request_counts() -> None:
    engine = EngineTimes(queue_s=0.1, prefill_s=0.3, decode_s=1.35)

    found = divided(engine=engine, means=EngineMeans(queue_s=9.0))

    assert found == Split(0.1, 0.3, 1.35, pytest.approx(0.25), "response")


def test_an_engine_that_does_not_tell_its_decode_has_it_measured() -> None:
    found = divided(engine=EngineTimes(prefill_s=0.3))

    assert found == Split(0.0, 0.3, 1.4, pytest.approx(0.3), "response")


def test_an_engine_whose_clock_runs_fast_is_scaled_to_what_was_measured() -> None:
    found = divided(engine=EngineTimes(queue_s=1.0, prefill_s=1.0, decode_s=2.0))

    assert found == Split(0.5, 0.5, 1.0, 0.0, "response")


def test_means_of_histograms_divide_the_wait_for_the_first_token_of_a_stream() -> None:
    found = divided(means=EngineMeans(queue_s=0.1, prefill_s=0.3, decode_s=77.0))

    assert found == Split(0.1, 0.3, 1.4, pytest.approx(0.2), "histogram")


def test_means_that_are_longer_than_the_wait_share_it() -> None:
    found = divided(means=EngineMeans(queue_s=3.0, prefill_s=1.0))

    assert found == Split(0.375, 0.125, 1.4, pytest.approx(0.1), "histogram")


def test_a_whole_answer_has_a_decode_by_its_length() -> None:
    found = divided(
        first_s=0.0, tokens_s=0.0, means=EngineMeans(queue_s=0.1, prefill_s=0.3, inter_token_s=0.12)
    )

    assert found == Split(0.1, 0.3, pytest.approx(1.2), pytest.approx(0.4), "histogram")


def test_a_whole_answer_of_an_engine_without_gaps_has_the_mean_decode() -> None:
    found = divided(first_s=0.0, tokens_s=0.0, means=EngineMeans(queue_s=0.1, prefill_s=0.3, decode_s=1.0))

    assert found == Split(0.1, 0.3, 1.0, pytest.approx(0.6), "histogram")


@pytest.mark.parametrize("means", [None, EngineMeans(), EngineMeans(inter_token_s=0.1)])
def test_without_an_engines_word_only_the_decode_of_a_stream_is_known(means: EngineMeans | None) -> None:
    assert divided(means=means) == Split(0.0, 0.0, 1.4, 0.0, "")


@given(
    upstream_s=_s,
    first_s=_s,
    tokens_s=_s,
    output_tokens=st.integers(0, 1000),
    engine=st.none()
    | st.builds(EngineTimes, queue_s=st.none() | _s, prefill_s=st.none() | _s, decode_s=st.none() | _s),
    means=st.none() | st.builds(EngineMeans, queue_s=_s, prefill_s=_s, inter_token_s=st.none() | _s),
)
def test_an_engines_parts_fill_the_time_and_never_more(
    upstream_s: float,
    first_s: float,
    tokens_s: float,
    output_tokens: int,
    engine: EngineTimes | None,
    means: EngineMeans | None,
) -> None:
    found = divided(
        upstream_s=upstream_s,
        first_s=first_s,
        tokens_s=tokens_s,
        output_tokens=output_tokens,
        engine=engine,
        means=means,
    )

    parts = (found.engine_queue_s, found.prefill_s, found.decode_s, found.network_s)
    assert min(parts) >= 0
    if found.source:
        assert sum(parts) == pytest.approx(upstream_s)


def stream(**fields: object) -> RequestRecord:
    """0.2 s queue, 1 ms gateway, 50 ms connect, first token at 0.751, last at 1.751, end at 1.8."""
    attempt = Attempt(
        target="lab/small-1", started_s=0.201, connect_s=0.05, first_token_s=0.751, ended_s=1.79
    )
    counts = [0] * (len(ITL_BOUNDS_S) + 1)
    counts[ITL_BOUNDS_S.index(0.1)] = 10
    given = {
        "stream": True,
        "duration_s": 1.8,
        "queue_s": 0.2,
        "overhead_s": 0.001,
        "connect_s": 0.05,
        "first_token_s": 0.751,
        "itl_counts": tuple(counts),
        "itl_sum_s": 1.0,
        "itl_max_s": 0.1,
        "decode_s": 1.0,
        "usage": Usage(input_tokens=5, output_tokens=21),
        "attempts": (attempt,),
        **fields,
    }
    return record(**given)


def parts(found: Anatomy) -> dict[str, float]:
    return {name: pytest.approx(seconds) for name, seconds in found.parts() if seconds > 1e-9}


def test_a_stream_of_an_engine_that_says_nothing() -> None:
    found = anatomy(stream())

    assert parts(found) == {
        "gateway_queue": 0.2,
        "connect": 0.05,
        "decode": 1.0,
        "upstream": 0.539,
        "gateway": 0.011,
    }
    assert found.ttft_s == 0.751
    assert found.tokens_per_s == pytest.approx(20.0)
    assert found.itl_max_s == 0.1
    assert found.itl_p50_s == pytest.approx(0.09)
    assert found.itl_p95_s is not None
    assert found.itl_p95_s <= 0.1


def test_a_stream_of_an_engine_that_tells_its_times() -> None:
    told = stream(
        engine_queue_s=0.1, prefill_s=0.35, decode_s=0.99, network_s=0.099, engine_source="response"
    )

    assert parts(anatomy(told)) == {
        "gateway_queue": 0.2,
        "connect": 0.05,
        "engine_queue": 0.1,
        "prefill": 0.35,
        "decode": 0.99,
        "network": 0.099,
        "gateway": 0.011,
    }


def test_attempts_before_the_answer_and_waits_between_are_told_apart() -> None:
    attempts = (
        Attempt(target="a", started_s=0.101, ended_s=0.401),
        Attempt(target="b", started_s=0.701, first_token_s=1.0, ended_s=1.5),
    )

    found = anatomy(
        record(duration_s=1.6, queue_s=0.2, overhead_s=0.001, first_token_s=1.0, attempts=attempts)
    )

    assert parts(found) == {"gateway_queue": 0.2, "retries": 0.5, "upstream": 0.799, "gateway": 0.101}
    assert found.ttft_s is None, "it was not a stream"


def test_a_request_that_was_refused_is_all_the_gateways() -> None:
    assert parts(anatomy(record(duration_s=0.25, queue_s=0.05, attempts=()))) == {
        "gateway_queue": 0.05,
        "gateway": 0.2,
    }


@given(records)
def test_the_parts_of_any_record_add_up_to_its_duration(served: RequestRecord) -> None:
    found = anatomy(served)

    assert sum(seconds for _, seconds in found.parts()) == pytest.approx(served.duration_s)
    assert all(seconds >= 0 for _, seconds in found.parts())


def test_every_part_has_a_name() -> None:
    seconds = {
        name.removesuffix("_s")
        for name in msgspec.structs.asdict(anatomy(full_record()))
        if name.endswith("_s")
    }

    told_apart = {"duration", "ttft", "itl_p50", "itl_p95", "itl_max", "stalled", "tokens_per"}
    assert seconds - told_apart == set(PARTS)


@pytest.mark.parametrize(
    ("tokens", "seconds", "expected"), [(0, 1.0, None), (1, 1.0, None), (2, 0.0, None), (11, 2.0, 5.0)]
)
def test_a_rate_needs_two_tokens_and_time(tokens: int, seconds: float, expected: float | None) -> None:
    assert tokens_per_s(record(usage=Usage(output_tokens=tokens), itl_sum_s=seconds)) == expected
