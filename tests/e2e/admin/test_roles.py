"""Who may use the control API, and how soon every worker knows of a key's beginning and end."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Any

from tests.e2e.gateway import GatewayProcess, call

CONFIG = """
providers:
  sim: {type: simulated}
models:
  simulated:
    targets: [{provider: sim, model: small}]
    cache: {}
alerts: {}
signals: {}
telemetry:
  gpus: {lab: {targets: [sim/small], usd_per_hour: 2, count: 1}}
"""

BODIES: dict[str, object] = {
    "create_key": {"name": "made"},
    "rotate_key": {"grace_s": 0},
    "purge_cache": {"dry_run": True},
    "reset_target": {"target": "sim/small"},
    "create_silence": {"matchers": {"rule": "*"}, "duration_s": 60, "comment": "test", "author": "test"},
}


def ask(
    gateway: GatewayProcess, method: str, path: str, *, key: str = "", body: object = None
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, json.loads(text)


def test_each_operation_is_for_admin_keys_alone(running_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = running_gateway(CONFIG)
    ordinary = gateway.key()
    chat = {"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]}
    call(gateway.url + "/v1/chat/completions", method="POST", body=chat, key=ordinary)
    request_id = gateway.requests(1)[0]["id"]
    document = call(gateway.url + "/admin/v1/openapi.json")
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) >= 28
    for method, path, operation in operations:
        name = operation["operationId"]
        body = BODIES.get(name)
        path = path.replace("{request_id}", request_id).replace("{tenant}", "default")
        if name == "show_request":
            path = path.replace("{id}", request_id)
        elif "{id}" in path:
            silences = path.startswith("/admin/v1/silences")
            made = gateway.admin(
                "/silences" if silences else "/keys",
                method="POST",
                body=BODIES["create_silence"] if silences else {"name": name},
            )
            path = path.replace("{id}", made["id"])
        (success,) = (int(status) for status in operation["responses"] if status.startswith("2"))

        status, answer = ask(gateway, method, path, body=body)
        assert (status, answer["error"]["code"]) == (401, "invalid_api_key"), name
        status, answer = ask(gateway, method, path, body=body, key=ordinary)
        assert status == 403, name
        status, answer = ask(gateway, method, path, body=body, key=gateway.admin_key)
        assert status == success, (name, answer)
    deadline = time.monotonic() + 5
    while "the configuration was reloaded" not in gateway.log:
        assert time.monotonic() < deadline, gateway.log
        time.sleep(0.02)


def test_a_key_with_the_admin_scope_alone_asks_no_models(
    running_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = running_gateway(CONFIG)
    made = gateway.admin("/keys", method="POST", body={"name": "operator", "endpoints": ["admin"]})
    chat = {"model": "simulated", "messages": [{"role": "user", "content": "Hello"}]}

    assert ask(gateway, "GET", "/admin/v1/status", key=made["secret"])[0] == 200
    assert ask(gateway, "POST", "/v1/chat/completions", key=made["secret"], body=chat)[0] == 403


def test_a_method_that_is_not_answered_is_told_which_are(
    running_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = running_gateway(CONFIG)
    found = []
    for path in ("/admin/v1/keys", "/v1/chat/completions", "/healthz"):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        connection.request("PUT", path, headers={"authorization": f"Bearer {gateway.admin_key}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        found.append((answer.status, answer.getheader("allow")))

    assert found == [(405, "GET, POST"), (405, "POST"), (405, "GET, HEAD")]


class Worker:
    """One kept-alive connection, so one worker of several."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        self._connection.connect()
        _, status = self.get("/admin/v1/status", gateway.admin_key)
        self.started_at = status["started_at"]

    def get(self, path: str, key: str) -> tuple[int, Any]:
        self._connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        self._connection.close()


def one_connection_to_each(gateway: GatewayProcess, count: int) -> list[Worker]:
    """The system spreads connections over the workers; open some until each has one."""
    found: dict[float, Worker] = {}
    for _ in range(100):
        worker = Worker(gateway)
        if found.setdefault(worker.started_at, worker) is not worker:
            worker.close()
        if len(found) == count:
            return list(found.values())
    raise AssertionError(f"only {len(found)} of {count} workers answer")


def seconds_until(status: int, workers: list[Worker], key: str) -> float:
    """How long until every worker answers this key with `status`."""
    began = time.monotonic()
    while any(worker.get("/v1/models", key)[0] != status for worker in workers):
        assert time.monotonic() - began < 10
        time.sleep(0.01)
    return time.monotonic() - began


def test_every_worker_knows_a_key_within_a_second(running_gateway: Callable[..., GatewayProcess]) -> None:
    gateway = running_gateway(CONFIG, options=["--workers", "2"])
    workers = one_connection_to_each(gateway, 2)
    try:
        made = gateway.admin("/keys", method="POST", body={"name": "app"})
        waits = [seconds_until(200, workers, made["secret"])]
        new = gateway.admin(f"/keys/{made['id']}/rotate", method="POST", body={})
        waits.append(seconds_until(401, workers, made["secret"]))
        waits.append(seconds_until(200, workers, new["secret"]))
        assert gateway.admin(f"/keys/{new['id']}", method="DELETE") == {"done": True}
        waits.append(seconds_until(401, workers, new["secret"]))
        assert gateway.admin(f"/keys/{new['id']}", method="DELETE") == {"done": False}
    finally:
        for worker in workers:
            worker.close()

    assert max(waits) < 1.0
