"""A real Prometheus scrapes a running gateway, and its answers to queries are what happened."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.gateway import GatewayProcess, start_engine, start_gateway

_PATIENCE_S = 30.0
_TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextlib.contextmanager
def _prometheus(directory: Path, target: str) -> Iterator[str]:
    """The URL of a Prometheus that scrapes `target` every second."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed")
    config = directory / "prometheus.yml"
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                "scrape_configs": [{"job_name": "fairlead", "static_configs": [{"targets": [target]}]}],
            }
        )
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not _ready(address):
            assert process.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < deadline, "it does not become ready"
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _get(url: str, path: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def _value(url: str, query: str, expected: float) -> float:
    """The value of a query, as soon as it is what is expected, or what it is in the end."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        found = _get(url, "query", query=query)["result"]
        value = float(found[0]["value"][1]) if found else float("nan")
        if value == pytest.approx(expected) or time.monotonic() > deadline:
            return value
        time.sleep(0.3)


def _ask(gateway: GatewayProcess, *, model: str = "m", stream: bool) -> None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "say exactly: one two three four five six"}],
        "stream": stream,
    }
    request = urllib.request.Request(gateway.url + "/v1/chat/completions", data=json.dumps(body).encode())
    request.add_header("authorization", f"Bearer {gateway.admin_key}")
    request.add_header("traceparent", f"00-{_TRACE}-b7ad6b7169203331-01")
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def test_prometheus_reads_what_was_served(tmp_path: Path) -> None:
    config = """
providers: {{engine: {{type: vllm, base_url: "{url}"}}}}
models: {{m: {{targets: [{{provider: engine, model: m}}]}}}}
"""
    with (
        start_engine("openai", "--enable-per-request-metrics") as engine,
        start_gateway(config.format(url=engine.base_url), options=["--workers", "2"]) as gateway,
        _prometheus(tmp_path, f"127.0.0.1:{gateway.port}") as url,
    ):
        for number in range(12):
            _ask(gateway, stream=number < 8)
        for number in range(3):
            with pytest.raises(urllib.error.HTTPError):
                _ask(gateway, model=f"junk-{number}", stream=False)
        tokens = sum(one["output_tokens"] for one in gateway.requests(12, outcome="ok"))
        chunks = sum(gateway.record(one["id"])["chunks"] for one in gateway.requests(12, outcome="ok")[4:])

        for query, expected in (
            ('fairlead_requests_total{model="m",outcome="ok"}', 12),
            ('sum(fairlead_requests_total{outcome="refused"})', 3),
            ("count(fairlead_requests_total)", 2),
            ('fairlead_request_duration_seconds_count{model="m",outcome="ok"}', 12),
            ('fairlead_ttft_seconds_count{model="m"}', 8),
            ("sum(fairlead_itl_seconds_count)", chunks - 8),
            ('fairlead_phase_seconds_count{phase="decode"}', 12),
            ('fairlead_tokens_total{type="output"}', tokens),
            ('gen_ai_client_token_usage_sum{gen_ai_token_type="output"}', tokens),
            (
                'gen_ai_client_operation_duration_seconds_count{gen_ai_provider_name="vllm",'
                'gen_ai_operation_name="chat",gen_ai_request_model="m",error_type=""}',
                12,
            ),
            ("gen_ai_client_operation_time_to_first_chunk_seconds_count", 8),
            ("gen_ai_server_request_duration_seconds_count", 12),
            ("sum(gen_ai_client_operation_time_per_output_chunk_seconds_count)", chunks - 8),
            ("histogram_quantile(1, fairlead_request_duration_seconds_bucket) > bool 0", 1),
            ('up{job="fairlead"}', 1),
            ("fairlead_workers_missing", 0),
        ):
            assert _value(url, query, expected) == pytest.approx(expected), query

        end = time.time()
        found = _get(
            url,
            "query_exemplars",
            query="fairlead_ttft_seconds_bucket",
            start=str(end - 3600),
            end=str(end + 60),
        )
        traces = {one["labels"]["trace_id"] for series in found for one in series["exemplars"]}
        assert traces == {_TRACE}
