"""OTLP's messages, made from spans, metrics and evaluations.

The one module that knows the wire format: `opentelemetry-proto`, OpenTelemetry's
own definitions as protobuf makes classes of them, from the extra
`fairlead[otel]`. Importing this module imports them, so that only a gateway
with a collector does. `docs/tracing.md` says why the SDK is not used.

Spans are encoded one by one, as their records come, and joined to a request
when they are sent: serialised messages of one type may be concatenated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from fairlead.telemetry.metrics.samples import Series
from fairlead.telemetry.otel.names import SCHEMA_URL, Measured
from fairlead.telemetry.otel.spans import Span, Value
from fairlead.types import EvaluationResult

_SCOPE: Final = "fairlead"
_IS_REMOTE_KNOWN: Final = 0x100
_IS_REMOTE: Final = 0x200
_MOST_KEPT: Final = 4096
_LONGEST_KEPT: Final = 64
_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class Encoder:
    """Encodes what one worker exports."""

    def __init__(self, resource: Mapping[str, str], version: str) -> None:
        """Encode for a resource with these attributes; `version` is the gateway's."""
        self._resource = Resource()
        for name, value in resource.items():
            _put(self._resource.attributes.add(), name, value)
        self._scope = InstrumentationScope(name=_SCOPE, version=version)
        self._kept: dict[tuple[str, str], bytes] = {}
        """Attributes that many spans share, encoded."""

    # --- one at a time --------------------------------------------------------------------------

    def span(self, span: Span) -> bytes:
        """A span as it is kept until it is sent."""
        wire = WireSpan(
            trace_id=bytes.fromhex(span.trace_id),
            span_id=bytes.fromhex(span.span_id),
            parent_span_id=bytes.fromhex(span.parent_id),
            name=span.name,
            kind=span.kind,  # type: ignore[arg-type]  # the numbers are the enum's
            start_time_unix_nano=span.start_ns,
            end_time_unix_nano=span.end_ns,
            trace_state=span.state,
            flags=int(span.sampled) | _IS_REMOTE_KNOWN | (_IS_REMOTE if span.remote else 0),
        )
        if span.error:
            wire.status.code = Status.StatusCode.STATUS_CODE_ERROR
            wire.status.message = span.error
        shared = []
        for name, value in span.attributes:
            if type(value) is str and len(value) <= _LONGEST_KEPT and name != "fairlead.request.id":
                shared.append(self._kept.get((name, value)) or self._keep(name, value))
            else:
                _put(wire.attributes.add(), name, value)
        return wire.SerializeToString() + b"".join(shared)

    def _keep(self, name: str, value: str) -> bytes:
        alone = WireSpan()
        _put(alone.attributes.add(), name, value)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        encoded = self._kept[name, value] = alone.SerializeToString()
        return encoded

    def evaluation(self, result: EvaluationResult, observed_at: float) -> bytes:
        """An evaluation as the event that it is sent as."""
        wire = LogRecord(
            time_unix_nano=int(result.at * 1e9),
            observed_time_unix_nano=int(observed_at * 1e9),
            severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
            severity_text="INFO",
            event_name="gen_ai.evaluation.result",
        )
        if result.trace:
            wire.trace_id = bytes.fromhex(result.trace[3:35])
            wire.span_id = bytes.fromhex(result.trace[36:52])
            wire.flags = int(result.trace[53:55], 16)
        attributes: list[tuple[str, Value | None]] = [
            ("gen_ai.evaluation.name", result.name),
            ("gen_ai.evaluation.score.value", result.score),
            ("gen_ai.evaluation.score.label", result.label or None),
            ("gen_ai.evaluation.explanation", result.explanation or None),
            ("gen_ai.response.id", result.response_id or result.request_id or None),
            ("gen_ai.operation.name", result.operation or None),
            ("gen_ai.request.model", result.model or None),
            ("error.type", result.error or None),
            ("fairlead.request.id", result.request_id or None),
            ("fairlead.tenant", result.tenant or None),
        ]
        for name, value in attributes:
            if value is not None:
                _put(wire.attributes.add(), name, value)
        return wire.SerializeToString()

    # --- whole requests -------------------------------------------------------------------------

    def traces(self, spans: Iterable[bytes]) -> bytes:
        """A request that exports these spans."""
        request = ExportTraceServiceRequest()
        group = request.resource_spans.add(resource=self._resource, schema_url=SCHEMA_URL)
        scope = group.scope_spans.add(scope=self._scope, schema_url=SCHEMA_URL)
        for span in spans:
            scope.spans.add().MergeFromString(span)
        return request.SerializeToString()

    def logs(self, records: Iterable[bytes]) -> bytes:
        """A request that exports these events."""
        request = ExportLogsServiceRequest()
        group = request.resource_logs.add(resource=self._resource, schema_url=SCHEMA_URL)
        scope = group.scope_logs.add(scope=self._scope, schema_url=SCHEMA_URL)
        for record in records:
            scope.log_records.add().MergeFromString(record)
        return request.SerializeToString()

    def metrics(self, measured: Iterable[Measured], started_at: float, now: float) -> bytes:
        """A request that exports these metrics, accumulated since `started_at`."""
        request = ExportMetricsServiceRequest()
        group = request.resource_metrics.add(resource=self._resource, schema_url=SCHEMA_URL)
        scope = group.scope_metrics.add(scope=self._scope, schema_url=SCHEMA_URL)
        since, until = int(started_at * 1e9), int(now * 1e9)
        for one in measured:
            _metric(scope.metrics.add(), one, since, until)
        return request.SerializeToString()


def rejected(signal: str, body: bytes) -> tuple[int, str]:
    """What a collector that has taken a request says it has not taken of it: how many, and why."""
    try:
        if signal == "traces":
            traces = ExportTraceServiceResponse.FromString(body).partial_success
            return traces.rejected_spans, traces.error_message
        if signal == "metrics":
            metrics = ExportMetricsServiceResponse.FromString(body).partial_success
            return metrics.rejected_data_points, metrics.error_message
        logs = ExportLogsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return 0, ""  # some collectors answer in JSON or in words; the status has said what counts
    return logs.rejected_log_records, logs.error_message


def _put(wire: KeyValue, name: str, value: Value) -> None:
    wire.key = name
    # Lone surrogates, which JSON can carry, cannot be put into a protobuf string.
    if isinstance(value, str):
        wire.value.string_value = value.encode("utf-8", "replace").decode()
    elif isinstance(value, bool):
        wire.value.bool_value = value
    elif isinstance(value, int):
        wire.value.int_value = max(-(2**63), min(value, 2**63 - 1))
    elif isinstance(value, float):
        wire.value.double_value = value
    else:
        wire.value.array_value.SetInParent()  # also when it is empty
        for item in value:
            wire.value.array_value.values.add(string_value=item.encode("utf-8", "replace").decode())


def _metric(wire: Metric, measured: Measured, since: int, until: int) -> None:
    family = measured.family
    wire.name = family.name
    wire.description = family.help
    wire.unit = measured.unit
    if family.kind == "histogram":
        wire.histogram.aggregation_temporality = _CUMULATIVE
        for series in family.series:
            point = wire.histogram.data_points.add(
                start_time_unix_nano=since,
                time_unix_nano=until,
                count=sum(series.counts),
                sum=float(series.value),
                explicit_bounds=family.bounds,
                bucket_counts=series.counts,
            )
            _labels(point.attributes, family.labels, series)
            for seen in series.exemplars:
                point.exemplars.add(
                    time_unix_nano=int(seen.at * 1e9),
                    as_double=seen.value,
                    trace_id=bytes.fromhex(seen.trace_id),
                )
        return
    if family.kind == "counter":
        wire.sum.aggregation_temporality = _CUMULATIVE
        wire.sum.is_monotonic = True
        points = wire.sum.data_points
    else:
        points = wire.gauge.data_points
    for series in family.series:
        number = points.add(time_unix_nano=until)
        if family.kind == "counter":
            number.start_time_unix_nano = since
        if isinstance(series.value, int) and abs(series.value) < 2**63:
            number.as_int = series.value
        else:
            number.as_double = float(series.value)
        _labels(number.attributes, family.labels, series)


def _labels(wire: object, names: Sequence[str], series: Series) -> None:
    for name, value in zip(names, series.labels, strict=True):
        if value:
            _put(wire.add(), name, int(value) if name == "server.port" else value)  # type: ignore[attr-defined]
