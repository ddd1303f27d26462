"""A gateway with tenants in front of an engine whose tokens cost a tenth of a cent each."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.e2e.gateway import EngineProcess, GatewayProcess

MICROUSD_PER_TOKEN = 1000
HELLO = [{"role": "user", "content": "Hello"}]

CONFIG = """
providers:
  lab: {{type: openai-compatible, base_url: '{engine}'}}
models:
  small: {{targets: [{{provider: lab, model: small, input_usd_per_mtok: 1000, output_usd_per_mtok: 1000}}]}}
  unpriced: {{targets: [{{provider: lab, model: unpriced}}]}}
tenants: {tenants}
"""


def config(engine: EngineProcess, tenants: str) -> str:
    """The configuration with this section `tenants`."""
    return CONFIG.format(engine=engine.base_url, tenants=tenants)


def key_of(gateway: GatewayProcess, tenant: str, *, admin_key: str = "") -> str:
    """A new key of a tenant."""
    if admin_key:
        gateway.admin_key = admin_key
    made = gateway.admin("/keys", method="POST", body={"name": "app", "tenant": tenant})
    return str(made["secret"])


class Answer:
    """What a request was answered."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body: Any = json.loads(response.read())

    @property
    def id(self) -> str:
        return self.headers["x-request-id"]


def ask(gateway: GatewayProcess, key: str, **fields: Any) -> Answer:
    """One chat completion, without an SDK's retries."""
    body = {"model": "small", "max_tokens": 20, "messages": HELLO, **fields}
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = Answer(connection.getresponse())
    connection.close()
    return answer


def post(gateway: GatewayProcess, path: str, key: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """Status and body of any call."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    found = response.status, response.read()
    connection.close()
    return found


def limits(gateway: GatewayProcess, tenant: str, query: str = "") -> dict[str, dict[str, Any]]:
    """How the limits of a tenant stand, by id."""
    return {limit["id"]: limit for limit in gateway.admin(f"/limits/{tenant}{query}")["data"]}


def until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Wait until something has come about that nobody announces."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def metrics(gateway: GatewayProcess) -> str:
    """What Prometheus would read."""
    with contextlib.closing(urllib.request.urlopen(gateway.url + "/metrics", timeout=10)) as answer:
        return str(answer.read().decode())


def decisions(gateway: GatewayProcess) -> dict[tuple[str, str, str], int]:
    """`fairlead_limit_decisions_total` by tenant, what and outcome."""
    pattern = r'^fairlead_limit_decisions_total\{tenant="(.*?)",what="(.*?)",outcome="(.*?)"\} (\d+)'
    return {
        (tenant, what, outcome): int(count)
        for tenant, what, outcome, count in re.findall(pattern, metrics(gateway), re.MULTILINE)
    }
