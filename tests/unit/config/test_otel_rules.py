"""What is wrong in the section `telemetry.otel` is said with its place."""

from __future__ import annotations

import pytest

from fairlead.config.parse import parse
from fairlead.config.telemetry_options import Telemetry
from fairlead.errors import ConfigError

TELEMETRY = (
    "models: {m: {targets: [{provider: a}]}}\nproviders: {a: {type: simulated}}\ntelemetry: {otel: %s}\n"
)


def telemetry(text: str) -> Telemetry:
    return parse(TELEMETRY % text, "fairlead.yaml").telemetry


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{endpoint: 'collector:4318'}", "telemetry.otel.endpoint"),
        ("{endpoint: 'http://collector:4317'}", "gRPC"),
        ("{endpoint: 'http://collector:4318/v1/traces'}", "path of one signal"),
        ("{endpoint: 'https://me:secret@collector'}", "use `headers`"),
        ("{protocol: grpc}", "telemetry.otel.protocol"),
        ("{headers: {authorization: Basic abc}}", "a literal secret must not stand in the file"),
        ("{headers: {x-key: 'env:'}}", "environment variable"),
        ("{headers: {content-type: text/plain}}", "the gateway's own"),
        ("{headers: {X-A: b, x-a: c}}", "given twice"),
        ("{headers: {x y: c}}", "not a header name"),
        ("{resource: {service.name: x}}", "use `service_name`"),
        ("{resource: {'1': x}}", "an attribute's name"),
        ("{redact: [{pattern: x}]}", "has no effect without `content: redacted`"),
        ("{content: redacted, redact: [{pattern: '('}]}", "not a regular expression"),
        ("{content: redacted, redact: [{pattern: 'x*'}]}", "matches the empty text"),
        ("{content: full, traces: {enabled: false}}", "has no effect without `traces`"),
        ("{tls: {cert: a.pem}}", "`key` is missing"),
        ("{proxy: 'socks://x'}", "telemetry.otel.proxy"),
        ("{traces: {sample_ratio: 1.5}}", "telemetry.otel.traces.sample_ratio"),
    ],
)
def test_faults(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        telemetry(text)

    assert expected in f"{caught.value.message} {caught.value.hint}"
    assert "abc" not in caught.value.message
    assert "secret@" not in caught.value.message


def test_nothing_is_exported_unless_it_is_asked_for() -> None:
    assert parse("{}", "x").telemetry.otel is None


def test_the_defaults_are_a_collector_beside_the_gateway_without_content() -> None:
    otel = telemetry("{}").otel
    assert otel is not None
    assert (otel.endpoint, otel.content, otel.traces.sample_ratio) == ("http://127.0.0.1:4318", "none", 1.0)
