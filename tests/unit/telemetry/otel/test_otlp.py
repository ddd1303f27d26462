"""What is encoded is what OpenTelemetry's own classes decode."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from fairlead.telemetry.metrics.samples import Exemplar, Family, Series
from fairlead.telemetry.otel.events import EvaluationEvents
from fairlead.telemetry.otel.lane import Lane
from fairlead.telemetry.otel.names import SCHEMA_URL, measured
from fairlead.telemetry.otel.otlp import Encoder, rejected
from fairlead.telemetry.otel.spans import CLIENT, Span
from fairlead.types import EvaluationResult

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OWN = f"00-{TRACE}-00000000000000aa-01"
RESOURCE = {"service.name": "fairlead"}


def plain(pairs: Any) -> dict[str, Any]:
    found = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = (
            tuple(item.string_value for item in value.values) if kind == "array_value" else value
        )
    return found


def span(**fields: Any) -> Span:
    defaults: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": "00000000000000bb",
        "parent_id": "00000000000000aa",
        "name": "chat m",
        "kind": CLIENT,
        "start_ns": 10,
        "end_ns": 30,
        "attributes": [],
    }
    return Span(**{**defaults, **fields})


def test_spans_go_out_with_their_resource_and_scope() -> None:
    encoder = Encoder(RESOURCE, "1.2")
    items = [encoder.span(span(state="a=1", error="cut", remote=True)), encoder.span(span(sampled=False))]

    request = ExportTraceServiceRequest.FromString(encoder.traces(items))

    [group] = request.resource_spans
    assert plain(group.resource.attributes) == RESOURCE
    [scope] = group.scope_spans
    assert (scope.scope.name, scope.scope.version, scope.schema_url) == ("fairlead", "1.2", SCHEMA_URL)
    first, second = scope.spans
    assert first.trace_id.hex() == TRACE
    assert first.parent_span_id.hex() == "00000000000000aa"
    assert (first.name, first.kind, first.trace_state) == ("chat m", 3, "a=1")
    assert (first.status.code, first.status.message) == (2, "cut")
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (10, 30)
    assert (first.flags, second.flags) == (0x301, 0x100)
    assert second.status.code == 0


_values = (
    st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=80)
    | st.lists(st.text(max_size=5), max_size=3).map(tuple)
)


@given(st.dictionaries(st.text("ab.", min_size=1, max_size=6), _values, max_size=6))
def test_attributes_come_out_as_they_went_in(attributes: dict[str, Any]) -> None:
    encoder = Encoder(RESOURCE, "1.2")
    for _ in range(2):  # the second time some of them are remembered
        wire = encoder.span(span(attributes=list(attributes.items())))
        request = ExportTraceServiceRequest.FromString(encoder.traces([wire]))
        found = plain(request.resource_spans[0].scope_spans[0].spans[0].attributes)
        expected = {
            name: max(-(2**63), min(value, 2**63 - 1)) if type(value) is int else value
            for name, value in attributes.items()
        }
        assert found == expected


def test_text_that_no_utf8_can_carry_is_sent_all_the_same() -> None:
    encoder = Encoder(RESOURCE, "1.2")

    wire = encoder.span(span(attributes=[("a", "x\ud800y"), ("b", ("\ud800",))]))

    request = ExportTraceServiceRequest.FromString(encoder.traces([wire]))
    assert plain(request.resource_spans[0].scope_spans[0].spans[0].attributes) == {"a": "x?y", "b": ("?",)}


def metrics_of(*families: Family) -> dict[str, Any]:
    request = ExportMetricsServiceRequest.FromString(
        Encoder(RESOURCE, "1.2").metrics(measured(families), 1.0, 3.0)
    )
    return {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}


def test_a_histogram_of_the_conventions() -> None:
    seen = Exemplar(bucket=1, trace_id=TRACE, value=0.5, at=2.0)
    found = metrics_of(
        Family(
            name="gen_ai_client_operation_duration_seconds",
            kind="histogram",
            help="h",
            labels=("gen_ai_request_model", "server_port", "error_type"),
            bounds=(0.1, 1.0),
            series=(Series(labels=("m", "8000", ""), value=0.5, counts=(0, 1, 0), exemplars=(seen,)),),
        )
    )

    metric = found["gen_ai.client.operation.duration"]
    [point] = metric.histogram.data_points
    assert metric.unit == "s"
    assert metric.histogram.aggregation_temporality == 2
    assert plain(point.attributes) == {"gen_ai.request.model": "m", "server.port": 8000}
    assert (point.count, point.sum, list(point.bucket_counts)) == (1, 0.5, [0, 1, 0])
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert (point.start_time_unix_nano, point.time_unix_nano) == (10**9, 3 * 10**9)
    assert point.exemplars[0].trace_id.hex() == TRACE


def test_counters_and_gauges_of_our_own() -> None:
    found = metrics_of(
        Family(name="fairlead_cost_usd_total", kind="counter", help="h", series=(Series(value=0.25),)),
        Family(name="fairlead_in_flight", kind="gauge", help="h", series=(Series(value=3),)),
        Family(name="process_resident_memory_bytes", kind="gauge", help="h", series=(Series(value=2**70),)),
        Family(name="fairlead_nothing_total", kind="counter", help="h"),
    )

    cost = found["fairlead.cost_usd"]
    assert cost.sum.is_monotonic
    assert cost.sum.aggregation_temporality == 2
    assert cost.sum.data_points[0].as_double == 0.25
    assert found["fairlead.in_flight"].gauge.data_points[0].as_int == 3
    assert found["process.resident_memory"].unit == "By"
    assert found["process.resident_memory"].gauge.data_points[0].as_double == 2.0**70
    assert len(found) == 3


def events_of(explain: Any, result: EvaluationResult) -> Any:
    encoder = Encoder(RESOURCE, "1.2")
    lane = Lane("logs", max_items=10, max_bytes=10_000)
    EvaluationEvents(lane, encoder.evaluation, explain=explain, now=lambda: 5.0).emit(result)
    items = [item for item in lane.take(9, 9999) if isinstance(item, bytes)]
    request = ExportLogsServiceRequest.FromString(encoder.logs(items))
    [event] = request.resource_logs[0].scope_logs[0].log_records
    return event


def test_an_evaluation_is_an_event_of_its_request() -> None:
    event = events_of(
        str.upper,
        EvaluationResult(
            name="refusal",
            at=4.0,
            score=0.75,
            label="refused",
            explanation="i cannot",
            request_id="req_1",
            trace=OWN,
            operation="chat",
            model="m\n",
        ),
    )

    assert event.event_name == "gen_ai.evaluation.result"
    assert (event.trace_id.hex(), event.span_id.hex(), event.flags) == (TRACE, "00000000000000aa", 1)
    assert (event.time_unix_nano, event.observed_time_unix_nano) == (4 * 10**9, 5 * 10**9)
    assert plain(event.attributes) == {
        "gen_ai.evaluation.name": "refusal",
        "gen_ai.evaluation.score.value": 0.75,
        "gen_ai.evaluation.score.label": "refused",
        "gen_ai.evaluation.explanation": "I CANNOT",
        "gen_ai.response.id": "req_1",
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m?",
        "fairlead.request.id": "req_1",
    }


def test_an_explanation_is_content() -> None:
    event = events_of(None, EvaluationResult(name="drift", at=4.0, score=0.0, explanation="they said"))

    assert plain(event.attributes) == {
        "gen_ai.evaluation.name": "drift",
        "gen_ai.evaluation.score.value": 0.0,
    }
    assert event.trace_id == b""


def test_what_a_collector_says_it_has_left_out_is_read() -> None:
    answer = ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(rejected_data_points=3, error_message="old")
    ).SerializeToString()

    assert rejected("metrics", answer) == (3, "old")
    assert rejected("traces", b"") == rejected("logs", b"") == (0, "")
    assert rejected("traces", b'{"partialSuccess":{}}') == (0, "")


@given(st.sampled_from(["traces", "metrics", "logs"]), st.binary(max_size=40))
def test_no_answer_makes_reading_it_fail(signal: str, body: bytes) -> None:
    count, why = rejected(signal, body)

    assert isinstance(count, int)
    assert isinstance(why, str)
