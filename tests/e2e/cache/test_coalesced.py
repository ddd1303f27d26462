"""The same request from many clients at once, over sockets: the engine works once."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.e2e.cache.test_exact import HELLO, Asker, config
from tests.e2e.gateway import EngineProcess, GatewayProcess

Gateways = Callable[..., GatewayProcess]
Engines = Callable[..., EngineProcess]

SLOW = ("--step-ms", "25")


def generated(engine: EngineProcess) -> float:
    return engine.metric("vllm:generation_tokens_total")


def test_many_clients_of_every_kind_share_one_answer(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", *SLOW)
    gateway = running_gateway(config(engine))
    asker = Asker(gateway)
    asker.openai.models.list()  # connections and code are warm
    before = generated(engine)
    barrier = threading.Barrier(24)

    def ask(number: int) -> tuple[str, str]:
        barrier.wait()
        return asker.chat_stream(max_tokens=600) if number % 2 else asker.chat(max_tokens=600)

    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(24)))

    assert len({text for _, text in answers}) == 1
    assert answers[0][1]
    how = Counter(status for status, _ in answers)
    assert how["miss"] == 1
    # Whoever came after the end of it finds it kept.
    assert how["coalesced"] + how["hit"] == 23
    assert how["coalesced"] > 0
    (usage,) = [row["output_tokens"] for row in gateway.requests(24) if row["cache"] == "miss"]
    assert generated(engine) - before == usage


def test_when_the_first_client_leaves_the_second_gets_all_of_the_same_stream(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", *SLOW)
    gateway = running_gateway(config(engine))

    def open_stream() -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
        body: dict[str, Any] = {"model": "small", "messages": HELLO, "stream": True, "max_tokens": 60}
        fields = {"content-type": "application/json", "authorization": f"Bearer {gateway.admin_key}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), fields)
        return connection, connection.getresponse()

    first, leading = open_stream()
    leading.read1(64)
    second, following = open_stream()
    assert leading.headers["x-fairlead-cache"] == "miss"
    assert following.headers["x-fairlead-cache"] == "coalesced"
    assert first.sock is not None
    first.sock.close()
    leading.close()
    whole = following.read()
    second.close()

    assert whole.endswith(b"data: [DONE]\n\n")
    events = [json.loads(line[6:]) for line in whole.split(b"\n\n") if line.startswith(b"data: {")]
    assert [event["choices"][0]["finish_reason"] for event in events if event["choices"]][-1] is not None
    deadline = time.monotonic() + 5
    while engine.metric("vllm:num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    rows = {row["cache"]: row for row in gateway.requests(2)}
    assert rows["miss"]["outcome"] == "client_gone"
    assert rows["miss"]["output_tokens"] > 0
    assert rows["coalesced"]["outcome"] == "ok"
    assert rows["coalesced"]["saved_tokens"] == rows["miss"]["input_tokens"] + rows["miss"]["output_tokens"]
