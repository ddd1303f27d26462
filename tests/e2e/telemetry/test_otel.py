"""What a real gateway exports to a real OTLP/HTTP server, decoded with OpenTelemetry's own definitions."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess
from tests.e2e.telemetry.collector import Collector, attributes

from fairlead.telemetry.otel.names import CONVENTIONS

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
CLIENT, SERVER, ERROR = 3, 2, 2
DURATIONS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
BOUNDS: dict[str, list[float]] = {
    "gen_ai.client.token.usage": [float(4**power) for power in range(14)],
    "gen_ai.client.operation.duration": DURATIONS,
    "gen_ai.client.operation.time_to_first_chunk": DURATIONS,
    "gen_ai.client.operation.time_per_output_chunk": DURATIONS,
    "gen_ai.server.request.duration": DURATIONS,
    "gen_ai.server.time_to_first_token": [
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
    ],
    "gen_ai.server.time_per_output_token": [
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5,
    ],
}  # fmt: skip

Gateways = Callable[..., GatewayProcess]
Engines = Callable[..., EngineProcess]


def configuration(collector: Collector, *engines: EngineProcess, otel: str = "", more: str = "") -> str:
    providers = {
        f"e{number}": {"type": "openai-compatible", "base_url": engine.base_url}
        for number, engine in enumerate(engines)
    }
    targets = [
        {
            "provider": name,
            "model": "tiny",
            "priority": number,
            "input_usd_per_mtok": 1,
            "output_usd_per_mtok": 2,
        }
        for number, name in enumerate(providers)
    ]
    return (
        f"providers: {json.dumps(providers)}\n"
        f"models: {{small: {{targets: {json.dumps(targets)}}}}}\n"
        f"telemetry:\n  otel:\n    endpoint: {collector.url}\n    metrics: {{interval_s: 0.3}}\n{otel}{more}"
    )


def ask(gateway: GatewayProcess, *, stream: bool = False, text: str = "hi", **headers: str) -> bytes:
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
        "max_tokens": 8,
    }
    request = urllib.request.Request(
        gateway.url + "/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {gateway.admin_key}",
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer: bytes = response.read()
    return answer


def of_kind(spans: list[Any], kind: int) -> Any:
    found = [span for span in spans if span.kind == kind]
    assert len(found) == 1
    return found[0]


def test_a_request_is_a_span_and_each_attempt_its_child(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    broken, fine = running_engine("openai"), running_engine("openai")
    broken.fault("status;status=503")
    with Collector() as collector:
        gateway = running_gateway(
            configuration(
                collector, broken, fine, otel="    headers: {x-team: env:TEAM}\n    resource: {zone: a}\n"
            ),
            environ={"TEAM": "blue"},
        )
        ask(gateway, stream=True, traceparent=PARENT, tracestate="vendor=1")
        spans = collector.spans(3)
        record = gateway.record(gateway.requests(1)[0]["id"])
        resource = attributes(collector.traces[0].resource_spans[0].resource.attributes)
        headers = collector.headers[0]

    assert len(spans) == 3
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {span.trace_state for span in spans} == {"vendor=1"}
    root = of_kind(spans, SERVER)
    failed, answered = sorted((s for s in spans if s.kind == CLIENT), key=lambda s: s.start_time_unix_nano)
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert failed.parent_span_id == answered.parent_span_id == root.span_id
    assert len({root.span_id, failed.span_id, answered.span_id}) == 3
    assert (root.name, failed.name, answered.name) == ("chat small", "chat tiny", "chat tiny")
    assert root.start_time_unix_nano <= failed.start_time_unix_nano <= failed.end_time_unix_nano
    assert failed.end_time_unix_nano <= answered.start_time_unix_nano < answered.end_time_unix_nano
    assert failed.status.code == ERROR
    assert root.status.code == answered.status.code == 0

    said = attributes(failed.attributes)
    assert said["error.type"] == "overloaded"
    assert said["http.response.status_code"] == 503
    said = attributes(answered.attributes)
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.request.model"] == "tiny"
    assert said["gen_ai.request.stream"] is True
    assert said["gen_ai.response.finish_reasons"] == ["length"]
    assert said["gen_ai.usage.output_tokens"] == 8
    assert said["gen_ai.usage.input_tokens"] > 0
    assert 0 < said["gen_ai.response.time_to_first_chunk"] < 20
    assert said["server.address"] == "127.0.0.1"
    assert f"http://127.0.0.1:{said['server.port']}" == fine.url
    assert said["fairlead.attempt.cost_usd"] > 0
    own = attributes(root.attributes)
    assert own["fairlead.request.id"] == record["id"]
    assert own["fairlead.outcome"] == "ok"
    assert own["fairlead.attempts"] == 2
    assert not any(name.startswith("gen_ai.usage") for name in own)
    assert not any("messages" in name for span in spans for name in attributes(span.attributes))
    assert resource["service.name"] == "fairlead"
    assert resource["zone"] == "a"
    assert headers["x-team"] == "blue"


def test_the_upstream_is_told_the_span_of_its_attempt(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    """The second gateway is the upstream of the first: its span's parent is the first one's attempt."""
    engine = running_engine("openai")
    with Collector() as collector:
        inner = running_gateway(configuration(collector, engine, more="auth: {required: false}\n"))
        outer = running_gateway(
            f"""
auth: {{required: false}}
providers: {{inner: {{type: openai-compatible, base_url: "{inner.url}/v1"}}}}
models: {{small: {{targets: [{{provider: inner}}]}}}}
telemetry: {{otel: {{endpoint: "{collector.url}"}}}}
"""
        )
        ask(outer)
        spans = collector.spans(4)

    assert len({span.trace_id for span in spans}) == 1
    by_id = {span.span_id: span for span in spans}
    engine_call = next(s for s in spans if s.kind == CLIENT and s.name == "chat tiny")
    inner_request = by_id[engine_call.parent_span_id]
    outer_call = by_id[inner_request.parent_span_id]
    outer_request = by_id[outer_call.parent_span_id]
    assert [span.kind for span in (inner_request, outer_call, outer_request)] == [SERVER, CLIENT, SERVER]
    assert outer_request.parent_span_id == b""


def test_metrics_have_the_conventions_names_units_and_bounds(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", "--step-ms", "5")
    with Collector() as collector:
        gateway = running_gateway(configuration(collector, engine), options=("--workers", "2"))
        for _ in range(6):
            ask(gateway, stream=True)
        deadline = time.monotonic() + 15
        while True:
            metrics: dict[str, list[Any]] = {}
            workers = list(collector.latest())
            for _, found in workers:
                for metric in found:
                    metrics.setdefault(metric.name, []).append(metric)
            requests = sum(
                point.count
                for metric in metrics.get("gen_ai.server.request.duration", [])
                for point in metric.histogram.data_points
            )
            if requests == 6 and len(workers) == 2:
                break
            assert time.monotonic() < deadline, (requests, len(workers))
            time.sleep(0.05)

    assert set(BOUNDS) <= set(metrics)
    assert set(BOUNDS) == {name for name, _ in CONVENTIONS.values()}
    for name, bounds in BOUNDS.items():
        for metric in metrics[name]:
            assert metric.unit == ("{token}" if name.endswith("usage") else "s")
            assert metric.histogram.aggregation_temporality == 2  # cumulative
            for point in metric.histogram.data_points:
                assert list(point.explicit_bounds) == bounds
                assert sum(point.bucket_counts) == point.count
                assert len(point.bucket_counts) == len(bounds) + 1
    usage = [p for m in metrics["gen_ai.client.token.usage"] for p in m.histogram.data_points]
    sums = {"input": 0.0, "output": 0.0}
    for point in usage:
        said = attributes(point.attributes)
        sums[said["gen_ai.token.type"]] += point.sum
        assert said["gen_ai.request.model"] == "tiny"
        assert said["server.port"] == int(engine.url.rpartition(":")[2])
    assert sums["output"] == 48
    requests_total = [m for m in metrics["fairlead.requests"] if m.sum.is_monotonic]
    assert sum(point.as_int for metric in requests_total for point in metric.sum.data_points) == 6
    assert metrics["fairlead.queue_wait"][0].unit == "s"
    assert len({resource["service.instance.id"] for resource, _ in workers}) == 2


def test_the_share_and_the_clients_flag_decide_what_is_exported(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai")
    with Collector() as collector:
        gateway = running_gateway(configuration(collector, engine, otel="    traces: {sample_ratio: 0}\n"))
        ask(gateway)  # the share: none
        ask(gateway, traceparent=PARENT[:-2] + "00")
        ask(gateway, traceparent=PARENT)
        gateway.requests(3)
        spans = collector.spans(2)
        gateway.stop()
        spans = collector.spans(2)

    assert len(spans) == 2
    assert {span.trace_id.hex() for span in spans} == {TRACE}


@pytest.mark.parametrize("content", ["none", "redacted", "full"])
def test_content_is_exported_only_when_asked_for(
    running_gateway: Gateways, running_engine: Engines, content: str
) -> None:
    engine = running_engine("openai")
    secret = "write to jane@example.com about case-1234"
    rules = "    redact: [{pattern: 'case-\\d+', replacement: CASE}]\n" if content == "redacted" else ""
    with Collector() as collector:
        gateway = running_gateway(configuration(collector, engine, otel=f"    content: {content}\n{rules}"))
        ask(gateway, stream=True, text=secret)
        ask(gateway, text=secret)
        spans = collector.spans(4)

    calls = [attributes(span.attributes) for span in spans if span.kind == CLIENT]
    text = str([attributes(span.attributes) for span in spans])
    assert ("jane@example.com" in text) is (content == "full")
    for said in calls:
        assert ("gen_ai.input.messages" in said) is (content != "none")
        if content == "none":
            continue
        assert said["gen_ai.request.max_tokens"] == 8
        [message] = json.loads(said["gen_ai.input.messages"])
        expected = secret if content == "full" else "write to [redacted] about CASE"
        assert message == {"role": "user", "parts": [{"type": "text", "content": expected}]}
        [answer] = json.loads(said["gen_ai.output.messages"])
        assert answer["finish_reason"] == "length"
        assert answer["parts"][0]["content"]


@pytest.mark.parametrize("state", ["dead", "silent", "refusing"])
def test_a_collector_that_does_not_work_harms_nothing(
    running_gateway: Gateways, running_engine: Engines, state: str
) -> None:
    engine = running_engine("openai")
    with Collector() as collector:
        if state == "silent":
            collector.silent.set()
        if state == "refusing":
            collector.status = 401
        text = configuration(
            collector, engine, otel="    timeout_s: 0.5\n    flush_s: 1\n    max_queue: 10\n"
        )
        if state == "dead":
            text = text.replace(collector.url, "http://127.0.0.1:9")
        gateway = running_gateway(text)
        for _ in range(20):
            ask(gateway)
        deadline = time.monotonic() + 15
        while True:
            request = urllib.request.Request(
                gateway.url + "/metrics", headers={"authorization": f"Bearer {gateway.admin_key}"}
            )
            with urllib.request.urlopen(request, timeout=5) as response:
                page = response.read().decode()
            failures = _sample(page, 'fairlead_otel_failures_total{signal="traces"}')
            dropped = _sample(page, 'fairlead_otel_dropped_total{signal="traces"}')
            if failures and dropped >= 30:
                break
            assert time.monotonic() < deadline, page
            time.sleep(0.05)
        begun = time.monotonic()
        assert gateway.process.poll() is None
        assert len(gateway.requests(20)) == 20
        log = gateway.log
        gateway.process.terminate()
        assert gateway.process.wait(15) == 0
        assert time.monotonic() - begun < 12  # the flush is bounded

    assert log.count("the OpenTelemetry collector does not take what is exported") == 1


def test_what_waits_is_sent_before_the_gateway_ends(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai")
    with Collector() as collector:
        gateway = running_gateway(
            configuration(collector, engine).replace("interval_s: 0.3", "interval_s: 600")
        )
        ask(gateway)
        gateway.process.terminate()
        assert gateway.process.wait(15) == 0
        assert len(collector.spans(2)) == 2
        [(_, metrics)] = collector.latest()

    assert "gen_ai.server.request.duration" in {metric.name for metric in metrics}


def _sample(page: str, name: str) -> float:
    for line in page.splitlines():
        if line.startswith(name):
            return float(line.rpartition(" ")[2])
    return 0.0


def test_what_is_passed_through_is_traced_too(running_gateway: Gateways, running_engine: Engines) -> None:
    engine = running_engine("openai")
    with Collector() as collector:
        gateway = running_gateway(configuration(collector, engine))
        request = urllib.request.Request(
            gateway.url + "/v1/files",
            headers={"authorization": f"Bearer {gateway.admin_key}", "traceparent": PARENT},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            response.read()
        spans = collector.spans(2)
        record = gateway.record(gateway.requests(1)[0]["id"])

    root, call = of_kind(spans, SERVER), of_kind(spans, CLIENT)
    assert (root.name, call.name) == ("files", "files")
    assert call.parent_span_id == root.span_id
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert attributes(call.attributes)["server.address"] == "127.0.0.1"
    assert record["trace"] == f"00-{TRACE}-{root.span_id.hex()}-01"
