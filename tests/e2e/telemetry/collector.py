"""An OpenTelemetry collector in the test's own process: takes OTLP over HTTP and decodes it."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes as a plain dictionary."""
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    kind = pair.value.WhichOneof("value")
    if kind == "array_value":
        return [item.string_value for item in pair.value.array_value.values]
    return getattr(pair.value, kind) if kind else None


class Collector:
    """Listens on a free port of 127.0.0.1 until its block ends."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.asked = 0
        self.silent = threading.Event()
        """Set, it takes requests and answers none."""
        self.over = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.asked += 1
                if collector.silent.is_set():
                    collector.over.wait(60)
                    self.close_connection = True
                    return
                collector.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        assert headers["content-type"] == "application/x-protobuf"
        assert headers["content-encoding"] == "gzip"
        self.headers.append(headers)
        if self.status != 200:
            return
        data = gzip.decompress(body)
        if path == "/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(data))
        elif path == "/v1/metrics":
            self.metrics.append(ExportMetricsServiceRequest.FromString(data))
        else:
            assert path == "/v1/logs"
            self.logs.append(ExportLogsServiceRequest.FromString(data))

    def spans(self, count: int, *, timeout_s: float = 15.0) -> list[Span]:
        """All spans so far, once there are that many."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [
                span
                for request in self.traces
                for group in request.resource_spans
                for scope in group.scope_spans
                for span in scope.spans
            ]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} spans, not {count}"
            time.sleep(0.02)

    def latest(self) -> Iterator[tuple[dict[str, Any], list[Metric]]]:
        """The last metrics of each worker, with its resource."""
        latest: dict[str, tuple[dict[str, Any], list[Metric]]] = {}
        for request in self.metrics:
            for group in request.resource_metrics:
                resource = attributes(group.resource.attributes)
                metrics = [metric for scope in group.scope_metrics for metric in scope.metrics]
                latest[resource["service.instance.id"]] = (resource, metrics)
        return iter(latest.values())
