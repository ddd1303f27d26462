"""The semantic cache of a real gateway: an engine makes vectors, a model knows, and both have troubles."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import itertools
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.gateway import EngineProcess, GatewayProcess
from tests.unit.gateway.paraphrases import Traffic

Gateways = Callable[..., GatewayProcess]
Engines = Callable[..., EngineProcess]

CONFIG = """
auth: {{required: false}}
server: {{workers: {workers}}}
providers:
  lab: {{type: openai-compatible, base_url: '{engine}'}}
  sage: {{type: openai-compatible, base_url: 'http://127.0.0.1:{sage}/v1'}}
models:
  vectors: {{targets: [{{provider: lab, model: embed}}], timeouts: {{headers_s: 5}}}}
  m:
    targets: [{{provider: sage, input_usd_per_mtok: 1, output_usd_per_mtok: 2}}]
    cache:
      coalesce: false
      semantic:
        {{embedder: vectors, dimensions: {dimensions}, max_false_hit_rate: 0.1, timeout_s: 0.2,
          audit: {{share: 0.2}}}}
outages: {{retry: {{max_attempts: 1}}, breaker: {{enabled: false}}}}
"""


class Sage(http.server.ThreadingHTTPServer):
    """A model that knows the answer to every question of some traffic."""

    daemon_threads = True

    def __init__(self, traffic: Traffic) -> None:
        super().__init__(("127.0.0.1", 0), _Sage)
        self.traffic = traffic
        self.asked = 0
        self.wording: Callable[[str], str] = lambda text: text


class _Sage(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        sage = self.server
        assert isinstance(sage, Sage)
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        sage.asked += 1
        text = sage.wording(sage.traffic.answers[request["messages"][-1]["content"]])
        message = {"role": "assistant", "content": text}
        answer = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "sage",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nothing: the test says what it saw."""


@pytest.fixture
def sage() -> Iterator[Sage]:
    server = Sage(Traffic(21))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def config(engine: EngineProcess, sage: Sage, *, dimensions: int = 384, workers: int = 1) -> str:
    return CONFIG.format(
        engine=engine.base_url, sage=sage.server_port, dimensions=dimensions, workers=workers
    )


def drive(gateway: GatewayProcess, traffic: Traffic, count: int) -> Counter[str]:
    """Ask so many questions on one connection. Every answer must be right, wherever it comes from."""
    said: Counter[str] = Counter()
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection:
        for text in itertools.islice(traffic.questions(), count):
            body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}]}
            connection.request(
                "POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"}
            )
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert response.status == 200, answer
            content = answer["choices"][0]["message"]["content"].split("|")[0]
            assert content == traffic.answers[text], response.getheader("x-fairlead-cache")
            said[response.getheader("x-fairlead-cache") or ""] += 1
    return said


def metrics(gateway: GatewayProcess) -> dict[tuple[str, ...], float]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def semantic(gateway: GatewayProcess) -> dict[tuple[str, ...], float]:
    """What there is to say of the tier."""
    return {key: value for key, value in metrics(gateway).items() if key[0].startswith("fairlead_cache_")}


def until_serving(gateway: GatewayProcess, traffic: Traffic) -> None:
    for _ in range(20):
        drive(gateway, traffic, 60)
        if metrics(gateway)["fairlead_cache_semantic_serving", "m"]:
            return
    raise AssertionError(f"it does not come to serve: {semantic(gateway)}")


def served(gateway: GatewayProcess, traffic: Traffic) -> Counter[str]:
    """Ask until something was served."""
    said: Counter[str] = Counter()
    for _ in range(20):
        said += drive(gateway, traffic, 60)
        if said["semantic"]:
            return said
    raise AssertionError(f"nothing was served: {said}, {semantic(gateway)}")


def test_verified_hits_come_survive_a_restart_and_are_purged(
    sage: Sage, running_gateway: Gateways, running_engine: Engines, tmp_path: Any
) -> None:
    engine = running_engine("openai", "--instant")
    state = str(tmp_path)
    first = running_gateway(config(engine, sage), options=["--state", state])
    until_serving(first, sage.traffic)
    asked = sage.asked
    said = served(first, sage.traffic)
    found = metrics(first)
    assert sage.asked - asked >= said["miss"]
    assert 0 < found["fairlead_cache_false_hit_upper95", "m"] <= 0.1
    assert found["fairlead_cache_hits_total", "semantic", "default", "m"] >= said["semantic"]
    assert found["fairlead_cache_verified_total", "m", "same"] > 30
    assert found["fairlead_cache_semantic_entries",] > 0
    first.stop()

    second = running_gateway(config(engine, sage), options=["--state", state])
    assert metrics(second)["fairlead_cache_semantic_serving", "m"] == 1
    served(second, sage.traffic)
    before = metrics(second)
    assert before["fairlead_cache_semantic_entries",] > 100

    (told,) = second.admin("/cache")["semantic"]
    assert (told["model"], told["state"]) == ("m", "active")
    assert told["verified"] > 30
    assert told["false_hit_upper95"] <= 0.1

    purged = second.admin("/cache/purge", method="POST", body={"model": "m"})
    by_tier = {one["tier"]: one["entries"] for one in purged["data"]}
    assert by_tier["semantic"] > 100
    after = metrics(second)
    assert after["fairlead_cache_semantic_entries",] == 0
    assert after["fairlead_cache_false_hit_upper95", "m"] == 1
    second.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / "cache.db")) as file:
        assert file.execute("SELECT COUNT(*) FROM semantic_entries").fetchone() == (0,)


def test_answers_that_change_switch_it_off_with_a_line_and_a_metric(
    sage: Sage, running_gateway: Gateways, running_engine: Engines
) -> None:
    text = config(running_engine("openai", "--instant"), sage).replace("share: 0.2", "share: 1")
    gateway = running_gateway(text)
    until_serving(gateway, sage.traffic)
    numbers = itertools.count()
    sage.wording = lambda text: f"{text}|{next(numbers)}"
    for _ in range(40):
        drive(gateway, sage.traffic, 60)
        if metrics(gateway)["fairlead_cache_semantic_off", "m"]:
            break
    assert metrics(gateway)["fairlead_cache_semantic_off", "m"] == 1
    assert "has switched itself off" in gateway.log
    assert drive(gateway, sage.traffic, 100)["semantic"] == 0


@pytest.mark.parametrize("fault", ["stall;at=request", "status;status=500", "wrong_json", "refuse"])
def test_an_embedder_in_trouble_costs_hits_and_no_request(
    fault: str, sage: Sage, running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", "--instant")
    gateway = running_gateway(config(engine, sage))
    until_serving(gateway, sage.traffic)
    engine.fault(fault)

    begun = time.monotonic()
    drive(gateway, sage.traffic, 60)
    took = time.monotonic() - begun

    troubles = {
        key[2]: count
        for key, count in metrics(gateway).items()
        if key[:2] == ("fairlead_cache_trouble_total", "embedder")
    }
    assert sum(troubles.values()) >= 1, troubles
    assert took < 15.0, "each request waited for the embedder"
    # A second line comes from another store at most: of the embedder there is one a minute.
    assert gateway.log.count('"store": "embedder"') == 1


def test_vectors_of_another_size_are_counted_and_nothing_is_kept_of_them(
    sage: Sage, running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai", "--instant"), sage, dimensions=48))
    said = drive(gateway, sage.traffic, 30)
    assert said["semantic"] == 0
    # Nobody waits for the vectors of a route that serves nothing yet.
    deadline = time.monotonic() + 10
    while not (found := metrics(gateway)).get(("fairlead_cache_trouble_total", "embedder", "wrong")):
        assert time.monotonic() < deadline, "the size was not noticed"
        time.sleep(0.05)
    assert found["fairlead_cache_semantic_entries",] == 0


def test_a_locked_file_costs_nothing_but_what_it_would_have_kept(
    sage: Sage, running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai", "--instant"), sage))
    drive(gateway, sage.traffic, 20)
    with contextlib.closing(sqlite3.connect(gateway.directory / "state" / "cache.db")) as file:
        file.execute("BEGIN EXCLUSIVE")
        drive(gateway, sage.traffic, 60)
        deadline = time.monotonic() + 10
        while not metrics(gateway).get(("fairlead_cache_trouble_total", "semantic", "put")):
            assert time.monotonic() < deadline, "the lock was not noticed"
            time.sleep(0.1)
        file.rollback()
    drive(gateway, sage.traffic, 20)
    assert metrics(gateway)["fairlead_cache_semantic_entries",] > 30


def test_an_extra_that_is_missing_is_told_before_it_starts(
    sage: Sage,
    running_gateway: Gateways,
    running_engine: Engines,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    text = config(running_engine("openai", "--instant"), sage).replace(
        "embedder: vectors, dimensions: 384,", "embedder: minilm,"
    )
    with pytest.raises(AssertionError, match=r"fairlead\[embed\]"):
        running_gateway(text)
