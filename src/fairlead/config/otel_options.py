"""The options of `telemetry.otel`: what goes to an OpenTelemetry collector, and how."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.config.kinds import Count, Fraction, Seconds, Secret, Section, UpstreamTls


class Redaction(Section, frozen=True, kw_only=True):
    """Text that is taken out of exported content, besides what is always taken out."""

    pattern: Annotated[str, Meta(min_length=1, max_length=1000, description="A regular expression (Python).")]
    replacement: Annotated[str, Meta(max_length=200, description="What is put in its place.")] = "[redacted]"


class OtelTraces(Section, frozen=True, kw_only=True):
    """Spans of requests and attempts, and events about them."""

    enabled: Annotated[bool, Meta(description="Export spans, and send their context to upstreams.")] = True
    sample_ratio: Annotated[
        Fraction, Meta(description="Share of traces to export, decided by the trace id.")
    ] = 1.0
    parent_based: Annotated[
        bool,
        Meta(
            description="A client that sends a `traceparent` decides by its `sampled` flag instead; "
            "with false the share holds for these requests too."
        ),
    ] = True


class OtelMetrics(Section, frozen=True, kw_only=True):
    """Metrics over OTLP; `/metrics` is there in any case."""

    enabled: Annotated[bool, Meta(description="Export metrics.")] = True
    interval_s: Annotated[float, Meta(ge=0.1, description="Time between two exports.")] = 60.0


class Otel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An OpenTelemetry collector, asked over OTLP/HTTP. Needs the extra `fairlead[otel]`."""

    endpoint: Annotated[str, Meta(description="URL of the collector, without `/v1/traces` and the like.")] = (
        "http://127.0.0.1:4318"
    )
    protocol: Annotated[
        Literal["http/protobuf"], Meta(description="OTLP's transport; collectors offer it on port 4318.")
    ] = "http/protobuf"
    headers: Annotated[
        dict[str, str | Secret], Meta(description="Headers to send, such as an authorization.")
    ] = {}
    tls: Annotated[UpstreamTls | None, Meta(description="TLS towards the collector.")] = None
    proxy: Annotated[
        str | None,
        Meta(description="HTTP proxy URL; the HTTP(S)_PROXY variables apply when left out, `none` disables."),
    ] = None
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for one export.")] = 10.0
    service_name: Annotated[str, Meta(min_length=1, description="The resource's `service.name`.")] = (
        "fairlead"
    )
    resource: Annotated[
        dict[str, str],
        Meta(description="More attributes of the resource, such as `deployment.environment.name`."),
    ] = {}
    traces: Annotated[OtelTraces, Meta(description="Spans and events.")] = OtelTraces()
    metrics: Annotated[OtelMetrics, Meta(description="Metrics.")] = OtelMetrics()
    content: Annotated[
        Literal["none", "redacted", "full"],
        Meta(
            description="Prompts and answers in spans: none, without what looks like credentials "
            "and personal data, or as they are."
        ),
    ] = "none"
    redact: Annotated[
        list[Redaction],
        Meta(description="More to take out of `redacted` content; the first rule comes first."),
    ] = []
    max_content_bytes: Annotated[
        int,
        Meta(
            ge=256, le=1_048_576, description="Largest prompt and largest answer in a span; the rest is cut."
        ),
    ] = 16_384
    max_queue: Annotated[
        Count, Meta(description="Spans that wait for the collector, per worker; then the oldest are dropped.")
    ] = 20_000
    max_queue_bytes: Annotated[int, Meta(ge=65_536, description="Memory for them, per worker, in bytes.")] = (
        33_554_432
    )
    flush_s: Annotated[Seconds, Meta(description="Time a gateway that stops gives its last exports.")] = 5.0
