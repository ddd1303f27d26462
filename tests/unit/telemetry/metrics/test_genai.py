"""The conventions' metrics, from records."""

from __future__ import annotations

from tests.unit.telemetry.records import record

from fairlead.telemetry.metrics.conventions import DURATION_BOUNDS, TOKEN_BOUNDS, Peer
from fairlead.telemetry.metrics.prometheus import Metrics
from fairlead.telemetry.metrics.samples import Family
from fairlead.types import ITL_BOUNDS_S, Attempt, Failure, FailureKind, Outcome, RequestRecord, Usage

PEERS = {"lab": Peer(provider="vllm", address="10.0.0.1", port=8000)}
SMALL = ("chat", "vllm", "small-1", "10.0.0.1", "8000")
"""Of an attempt: by the upstream's own name of the model."""
ASKED = ("chat", "vllm", "small", "10.0.0.1", "8000")
"""Of a request: by the name that the client asked for."""


def shown(*served: RequestRecord) -> dict[str, Family]:
    metrics = Metrics()
    metrics.know(PEERS)
    metrics.take(served)
    return {family.name: family for family in metrics.families() if family.name.startswith("gen_ai")}


def streamed(**fields: object) -> RequestRecord:
    counts = [0] * (len(ITL_BOUNDS_S) + 1)
    counts[ITL_BOUNDS_S.index(0.02)] = 3
    counts[ITL_BOUNDS_S.index(0.2)] = 1
    attempt = Attempt(target="lab/small-1", started_s=0.1, first_token_s=0.4, ended_s=0.9)
    return record(
        **{
            "stream": True,
            "first_token_s": 0.4,
            "itl_counts": tuple(counts),
            "itl_sum_s": 0.24,
            "attempts": (attempt,),
            **fields,
        }
    )


def test_every_metric_of_the_conventions_is_there_with_its_labels() -> None:
    found = shown(streamed())

    common = (
        "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "server_address",
        "server_port",
    )  # fmt: skip
    assert {name: family.labels[5:] for name, family in found.items()} == {
        "gen_ai_client_token_usage": ("gen_ai_token_type",),
        "gen_ai_client_operation_duration_seconds": ("error_type",),
        "gen_ai_client_operation_time_to_first_chunk_seconds": (),
        "gen_ai_client_operation_time_per_output_chunk_seconds": (),
        "gen_ai_server_request_duration_seconds": ("error_type",),
        "gen_ai_server_time_to_first_token_seconds": (),
        "gen_ai_server_time_per_output_token_seconds": (),
    }
    assert all(family.labels[:5] == common for family in found.values())


def test_tokens_are_a_histogram_by_type() -> None:
    found = shown(record(usage=Usage(input_tokens=100, output_tokens=16)), record(usage=Usage()))

    usage = {series.labels: series for series in found["gen_ai_client_token_usage"].series}
    assert usage.keys() == {(*SMALL, "input"), (*SMALL, "output")}
    assert usage[(*SMALL, "input")].value == 100
    assert usage[(*SMALL, "input")].counts[TOKEN_BOUNDS.index(256)] == 1
    assert usage[(*SMALL, "output")].counts[TOKEN_BOUNDS.index(16)] == 1


def test_attempts_are_operations_and_failures_have_their_type() -> None:
    failed = Attempt(
        target="lab/small-1",
        started_s=0.0,
        ended_s=0.05,
        failure=Failure(kind=FailureKind.OVERLOADED, message=""),
    )
    answered = Attempt(target="lab/small-1", started_s=0.1, ended_s=0.4)

    found = shown(record(attempts=(failed, answered)))["gen_ai_client_operation_duration_seconds"]

    counts = {series.labels: series.counts for series in found.series}
    assert counts.keys() == {(*SMALL, ""), (*SMALL, "overloaded")}
    assert counts[(*SMALL, "overloaded")][DURATION_BOUNDS.index(0.08)] == 1
    assert counts[(*SMALL, "")][DURATION_BOUNDS.index(0.32)] == 1


def test_chunks_of_streams_are_timed_from_the_call_and_from_each_other() -> None:
    found = shown(streamed(), record())

    (first,) = found["gen_ai_client_operation_time_to_first_chunk_seconds"].series
    assert (first.labels, sum(first.counts)) == (SMALL, 1)
    assert first.counts[DURATION_BOUNDS.index(0.32)] == 1
    (gaps,) = found["gen_ai_client_operation_time_per_output_chunk_seconds"].series
    assert (gaps.labels, gaps.value) == (SMALL, 0.24)
    assert gaps.counts[DURATION_BOUNDS.index(0.02)] == 3
    assert gaps.counts[DURATION_BOUNDS.index(0.32)] == 1


def test_requests_are_what_a_server_has_done_by_the_model_asked_for() -> None:
    found = shown(streamed(), streamed(outcome=Outcome.CUT), record(outcome=Outcome.FAILED, status=502))

    durations = found["gen_ai_server_request_duration_seconds"].series
    assert {series.labels for series in durations} == {(*ASKED, ""), (*ASKED, "cut"), (*ASKED, "failed")}
    (first,) = found["gen_ai_server_time_to_first_token_seconds"].series
    assert (first.labels, sum(first.counts)) == (ASKED, 1), "of those that succeeded"
    (per_token,) = found["gen_ai_server_time_per_output_token_seconds"].series
    assert (per_token.labels, sum(per_token.counts)) == (ASKED, 1)
    assert per_token.value == 0.06


def test_what_nobody_was_asked_for_is_no_operation() -> None:
    found = shown(record(target="", attempts=(), outcome=Outcome.REFUSED, usage=Usage()))

    assert all(family.series == () for family in found.values())


def test_ten_thousand_junk_names_make_a_bounded_number_of_series() -> None:
    metrics = Metrics(max_names=50, max_cells=300)
    for number in range(10_000):
        name = f"lab/junk-{number}"
        attempt = Attempt(target=name, started_s=0.0, first_token_s=0.1, ended_s=0.2)
        metrics.take([record(number, model=f"junk-{number}", target=name, stream=True, attempts=(attempt,))])

    found = [family for family in metrics.families() if family.name.startswith("gen_ai")]

    assert sum(len(family.series) for family in found) < 50 * 8 * 2
    durations = next(one for one in found if one.name == "gen_ai_client_operation_duration_seconds")
    assert sum(sum(series.counts) for series in durations.series) == 10_000
