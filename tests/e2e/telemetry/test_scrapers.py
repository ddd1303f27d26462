"""Endpoints that behave, and those that do not, over real sockets; and the gateway that reads them."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess

from fairlead.config.scrape_options import Endpoint
from fairlead.net.client import Client
from fairlead.telemetry.scrapers.board import Board
from fairlead.telemetry.scrapers.fetch import place_of
from fairlead.telemetry.scrapers.watch import EndpointWatch, Scraped
from fairlead.testing import ReadRequest, Repeat, Script, ScriptedUpstream, Send, Stall, answer

GOLDEN = Path(__file__).parents[2] / "golden" / "scrapers"
VLLM = (GOLDEN / "vllm-v1.prom").read_bytes()
DCGM = (GOLDEN / "dcgm-dialects.prom").read_bytes()
CHUNK = b"10000\r\n" + b"x" * 65_536 + b"\r\n"


def outcomes(board: Board) -> dict[str, float]:
    """What was counted of the one endpoint, and its bad lines."""
    return {
        one.labels[1] if len(one.labels) > 1 else "bad_lines": one.value
        for one in board.readings(0.0)
        if one.name.startswith("fairlead_scrape")
    }


def looked(*scripts: Script, times: int = 1, **options: Any) -> tuple[Board, float, Sequence[bytes]]:
    """Look at an endpoint with these scripts; the board, seconds taken, and the requests' credentials."""

    async def main() -> tuple[Board, float, Sequence[bytes]]:
        client = Client()
        board = Board()
        async with ScriptedUpstream(*scripts) as upstream:
            endpoint = Endpoint(url=f"{upstream.base_url}/metrics", target="lab/big", **options)
            scraped = Scraped(endpoint, place_of(endpoint, "sesame", lambda *_: None))
            watch = EndpointWatch(client, board, [scraped])
            began = time.monotonic()
            for _ in range(times):
                await watch.look(scraped)
            took_s = time.monotonic() - began
            await client.close()
            return board, took_s, [one.headers.get(b"authorization", b"") for one in upstream.requests]

    return asyncio.run(main())


def page(body: bytes, **fields: Any) -> Script:
    return (Repeat((ReadRequest(), Send(answer(body, content_type="text/plain; version=0.0.4", **fields)))),)


def test_a_page_is_read_on_one_connection_with_its_credential() -> None:
    board, _, credentials = looked(page(VLLM), times=3)

    assert outcomes(board) == {"ok": 3}
    assert credentials == [b"Bearer sesame"] * 3
    reading = board.reading("lab/big", time.monotonic())
    assert reading is not None
    assert (reading.engine, reading.running) == ("vllm", 15.0)


def test_gpus_are_read() -> None:
    board, *_ = looked(page(DCGM), kind="dcgm")

    assert [one.uuid for one in board.devices(time.monotonic())] == [
        "GPU-aaaa", "GPU-bbbb", "GPU-cccc", "GPU-eeee", "gpu-5@node-c",
    ]  # fmt: skip


def test_a_packed_page_is_unpacked() -> None:
    board, *_ = looked(page(gzip.compress(VLLM), headers=["content-encoding: gzip"]))

    assert outcomes(board) == {"ok": 1}


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        (page(b"busy", status=500), "status"),
        (page(b"", status=302, headers=["location: http://127.0.0.1:1/"]), "status"),
        (page(b"<html>hello</html>"), "unknown"),
        (page(bytes(range(256)) * 40), "unknown"),
        (page(b""), "unknown"),
        ((ReadRequest(), Send(b"\x00\xff garbage\r\n\r\n")), "failed"),
        ((ReadRequest(), Send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nvllm:")), "failed"),
        ((ReadRequest(), Stall()), "failed"),
        ((Stall(),), "failed"),
        ((ReadRequest(), Send(answer(VLLM), piece_bytes=1, pause_s=0.05)), "failed"),
        (
            (
                ReadRequest(),
                Send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
                Repeat((Send(CHUNK),)),
            ),
            "failed",
        ),
        (page(gzip.compress(b"x" * 10_000_000), headers=["content-encoding: gzip"]), "failed"),
        (page(gzip.compress(VLLM)[:-9], headers=["content-encoding: gzip"]), "failed"),
        (page(VLLM, headers=["content-encoding: br"]), "failed"),
        (page(VLLM, headers=["content-encoding: gzip"]), "failed"),
    ],
    ids=[
        "500", "redirect", "html", "binary", "empty", "not HTTP", "cut", "hangs", "never answers", "drips",
        "endless", "bomb", "packed and cut", "unknown packing", "not packed",
    ],
)  # fmt: skip
def test_what_does_not_behave_is_counted_and_bounded(script: Script, outcome: str) -> None:
    board, took_s, _ = looked(script, timeout_s=0.5, max_bytes=1_000_000)

    assert outcomes(board) == {outcome: 1}
    assert board.reading("lab/big", time.monotonic()) is None
    assert took_s < 5.0  # of 0.5; a drip at its own pace would take half a minute


def test_bad_lines_are_counted_and_the_rest_is_read() -> None:
    board, *_ = looked(page(VLLM + b"vllm:num_requests_running what\nvllm:num_requests_waiting{ 1\n"))

    assert outcomes(board) == {"ok": 1, "bad_lines": 2}


# --- the gateway -------------------------------------------------------------------------------


class Exporter(BaseHTTPRequestHandler):
    """A DCGM exporter that always says the same."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.send_header("content-length", str(len(DCGM)))
        self.end_headers()
        self.wfile.write(DCGM)

    def log_message(self, *_: object) -> None:
        """Nothing is written."""


@pytest.fixture
def exporter() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Exporter) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/metrics"
        server.shutdown()
        thread.join()


CONFIG = """
providers:
  lab: {{type: vllm, base_url: {engine}}}
models:
  small: {{targets: [{{provider: lab, model: sim-small}}]}}
telemetry:
  nvml: true
  gpu_settle_s: 0
  scrape:
    - {{url: "{exporter}", kind: dcgm}}
    - {{url: "http://127.0.0.1:1/metrics", interval_s: 1, timeout_s: 0.5}}
  gpus:
    a10:
      targets: [lab/sim-small]
      usd_per_hour: 1.2
      match: {{model: "NVIDIA A10", node: node-c}}
      api: {{input_usd_per_mtok: 0.5, output_usd_per_mtok: 1.5}}
"""


def eventually(look: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """What `look` gives as soon as it is something."""
    ends = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.1)
    return found


def metrics(gateway: GatewayProcess) -> str:
    with urllib.request.urlopen(f"{gateway.url}/metrics", timeout=10) as response:
        text: str = response.read().decode()
    return text


def test_the_gateway_shows_its_engines_and_gpus(
    exporter: str,
    running_engine: Callable[..., EngineProcess],
    running_gateway: Callable[..., GatewayProcess],
) -> None:
    engine = running_engine()
    gateway = running_gateway(CONFIG.format(engine=engine.base_url, exporter=exporter))

    gpus = eventually(lambda: gateway.admin("/gpus")["data"])
    engines = eventually(lambda: gateway.admin("/engines")["data"])

    assert {one["uuid"]: one["pools"] for one in gpus} == {
        "GPU-aaaa": ["a10"], "GPU-bbbb": ["a10"], "GPU-cccc": ["a10"], "GPU-eeee": [], "gpu-5@node-c": [],
    }  # fmt: skip
    assert (engines[0]["target"], engines[0]["engine"], engines[0]["waiting"]) == ("lab/sim-small", "vllm", 0)
    cost = gateway.admin("/gpu-cost")
    assert cost["pools"] == []  # the first minute is not over
    failed = 'fairlead_scrapes_total{endpoint="http://127.0.0.1:1/metrics",outcome="failed"}'
    text = eventually(lambda: exposed if failed in (exposed := metrics(gateway)) else "")
    assert 'fairlead_gpu_utilization_ratio{gpu="GPU-aaaa"' in text
    assert 'fairlead_engine_running{target="lab/sim-small"}' in text
    assert gateway.log.count("fairlead[gpu]") + gateway.log.count("no GPU driver") <= 1
