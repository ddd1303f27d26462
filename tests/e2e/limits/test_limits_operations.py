"""Tenants' limits in operation: reloads, restarts, keys without a tenant, commands, replicas."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess, start_gateway
from tests.e2e.limits.tenants import ask, config, decisions, key_of, limits, until
from tests.e2e.redis_server import start_redis

Gateways = Callable[..., GatewayProcess]
Engines = Callable[..., EngineProcess]


def reload(gateway: GatewayProcess, text: str, says: str) -> None:
    """Put another configuration in place and wait until the log says so."""
    before = gateway.log.count(says)
    gateway.config_file.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: gateway.log.count(says) > before, f"the log says: {says}")


def run(gateway: GatewayProcess, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of `fairlead` on the gateway's machine."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "fairlead", *words],
        capture_output=True,
        text=True,
        timeout=30,
        env={**kept, "FAIRLEAD_API_KEY": gateway.admin_key},
    )


# --- reloads ------------------------------------------------------------------------------------


def test_a_reload_changes_a_limit_and_keeps_what_was_used(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine()
    tenants = "{acme: {limits: {requests_per_minute: %d, budgets: [{usd: %s, per: month}]}}}"
    gateway = running_gateway(config(engine, tenants % (2, "5")))
    key = key_of(gateway, "acme")
    assert [ask(gateway, key).status for _ in range(3)] == [200, 200, 429]
    used = limits(gateway, "acme")["acme/usd:month"]["used"]
    assert used > 0

    reload(gateway, config(engine, tenants % (60, "0.06")), "the configuration was reloaded")

    after = limits(gateway, "acme")
    assert (after["acme/usd:month"]["used"], after["acme/usd:month"]["amount"]) == (used, 60_000)
    assert after["acme/requests"]["amount"] == 60
    refused = ask(gateway, key)
    assert refused.body["error"]["code"] == "budget_exceeded", "what was used before counts"
    reload(gateway, config(engine, tenants % (60, "5")), "the configuration was reloaded")
    # A rate that was used up stays so, and refills at its new speed: one a second.
    until(lambda: ask(gateway, key).status == 200, "the greater rate admits soon", timeout_s=3)


BAD = {
    "negative": ("{acme: {limits: {requests_per_minute: -1}}}", "tenants.acme.limits.requests_per_minute"),
    "zero": ("{acme: {limits: {concurrent_requests: 0}}}", "tenants.acme.limits.concurrent_requests"),
    "circle": ("{acme: {parent: team}, team: {parent: acme}}", "the tenants go round in a circle"),
    "no window": ("{acme: {limits: {budgets: [{usd: 5}]}}}", "tenants.acme.limits.budgets[0]"),
    "no parent": ("{acme: {parent: acmee}}", "no tenant is named `acmee`"),
    "no zone": (
        "{acme: {limits: {budgets: [{usd: 5, per: day, timezone: Mars}]}}}",
        "`Mars` is not a time zone",
    ),
}


def test_a_bad_file_leaves_the_running_configuration_and_says_where(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine()
    good = config(engine, "{acme: {limits: {requests_per_minute: 3}}}")
    gateway = running_gateway(good)
    key = key_of(gateway, "acme")
    assert ask(gateway, key).status == 200

    for tenants, says in BAD.values():
        reload(gateway, config(engine, tenants), "the configuration was not reloaded; the running one stays")
        assert says in gateway.log.splitlines()[-1]
        assert "fairlead.yaml" in gateway.log.splitlines()[-1]

    assert [ask(gateway, key).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_refused_at_the_start_with_file_path_and_hint(bad: str, tmp_path: Path) -> None:
    tenants, says = BAD[bad]
    file = tmp_path / "fairlead.yaml"
    file.write_text(f"tenants: {tenants}\n")

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "fairlead",
            "serve",
            "--config",
            str(file),
            "--state",
            str(tmp_path / "state"),
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 5
    assert f"fairlead: error: {file}:1:" in done.stderr
    assert says in done.stderr
    assert "fairlead: hint: " in done.stderr
    assert not (tmp_path / "state").exists()


def test_keys_that_a_reload_orphans_are_reported_and_refused(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine()
    both = config(engine, "{acme: {}, search: {parent: acme}}")
    gateway = running_gateway(both)
    key = key_of(gateway, "search")
    assert ask(gateway, key).status == 200

    reload(gateway, config(engine, "{acme: {}}"), "1 API key belongs to a tenant that the configuration does")

    assert f"{key[3:11]} (`search`)" in gateway.log
    refused = ask(gateway, key)
    assert (refused.status, refused.body["error"]["code"]) == (403, "permission_denied")
    assert (
        "belongs to the tenant `search`, which this gateway does not know" in refused.body["error"]["message"]
    )
    state = str(gateway.directory / "state")
    made = run(gateway, "keys", "create", "--name", "x", "--tenant", "search", "--state", state,
               "--config", str(gateway.config_file))  # fmt: skip
    assert (made.returncode, "no tenant is named `search`" in made.stderr) == (2, True)
    reload(gateway, both, "the configuration was reloaded")
    assert ask(gateway, key).status == 200


# --- restarts -----------------------------------------------------------------------------------


def test_a_restart_keeps_budgets_exactly(running_engine: Engines, tmp_path: Path) -> None:
    engine = running_engine()
    text = config(engine, "{acme: {limits: {budgets: [{usd: 0.2, per: month}], concurrent_requests: 5}}}")
    options = ["--state", str(tmp_path / "state")]
    with start_gateway(text, options=options) as first:
        admin_key = first.admin_key
        key = key_of(first, "acme")
        for _ in range(3):
            assert ask(first, key).status == 200
        before = limits(first, "acme")
        assert first.stop() == 0

    with start_gateway(text, options=options) as second:
        second.admin_key = admin_key
        after = limits(second, "acme")
        assert after == before
        spent = after["acme/usd:month"]["used"]
        statuses = [ask(second, key).status for _ in range(4)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert spent < limits(second, "acme")["acme/usd:month"]["used"] <= 200_000


# --- commands -----------------------------------------------------------------------------------


def test_the_commands_show_limits_explain_requests_and_add_up_cost(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(
        config(
            running_engine(),
            "{acme: {limits: {budgets: [{usd: 100, per: month}]}}, "
            "search: {parent: acme, limits: {requests_per_minute: 1}, each_key: {concurrent_requests: 2}}}",
        )
    )
    key = key_of(gateway, "search")
    served, refused = ask(gateway, key), ask(gateway, key)
    gateway.requests(2)
    where = ["--config", str(gateway.config_file), "--state", str(gateway.directory / "state")]
    cost = served.body["usage"]["total_tokens"] * 1000

    shown = run(gateway, "limits", "show", "search", "--key", key[3:11], "--url", gateway.url)
    assert [line.split()[0] for line in shown.stdout.splitlines()] == [
        "OF",
        "acme",
        "search",
        f"key:{key[3:11]}",
    ]
    assert f"{cost / 1e6:.6f}" in shown.stdout
    assert shown.stderr == f"limits of acme > search > key:{key[3:11]}, kept in memory\n"
    as_json = run(gateway, "limits", "show", "search", "--url", gateway.url, "--json")
    assert json.loads(as_json.stdout) == gateway.admin("/limits/search") | {
        "data": json.loads(as_json.stdout)["data"]
    }
    mistyped = run(gateway, "limits", "show", "serch", "--url", gateway.url)
    assert mistyped.returncode == 1
    assert "did you mean `search`?" in mistyped.stderr

    told = run(gateway, "explain", refused.id, *where)
    assert told.stdout.splitlines()[1] == (
        "Limited: the limit of 1 request per minute of `search` had no room for it."
    )
    told = run(gateway, "explain", served.id, "--json", *where)
    assert json.loads(told.stdout) == gateway.admin(f"/explain/{served.id}")["data"]

    usage = run(gateway, "usage", "--tenant", "acme", "--by", "tenant", "--csv", *where)
    head, row = (line.split(",") for line in usage.stdout.splitlines())
    found = dict(zip(head, row, strict=True))
    assert (found["tenant"], found["requests"], found["cost_usd"], found["unpriced"]) == (
        *("search", "2"),
        *(f"{cost / 1e6:.6f}", "0"),
    )
    listed = run(gateway, "requests", "list", *where)
    assert f"{cost / 1e6:.6f}" in listed.stdout


def test_the_tree_of_tenants_is_listed(running_gateway: Gateways, running_engine: Engines) -> None:
    gateway = running_gateway(config(running_engine(), "{search: {parent: acme}, acme: {priority: batch}}"))
    key_of(gateway, "search")

    tenants = gateway.admin("/tenants")["data"]

    assert [(one["name"], one["parent"], one["priority"], one["keys"]) for one in tenants] == [
        ("acme", None, "batch", 0),
        ("search", "acme", "batch", 1),
        ("default", None, "interactive", 1),
    ]


# --- replicas -----------------------------------------------------------------------------------


def test_replicas_share_one_budget_and_do_not_overshoot_it(running_engine: Engines) -> None:
    engine = running_engine()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(start_redis())
        text = config(engine, "{acme: {limits: {budgets: [{usd: 0.1, per: month}]}}}")
        text += "limits: {store: redis, redis: {url: 'env:REDIS'}}\n"
        environ = {"REDIS": redis.url}
        gateways = [stack.enter_context(start_gateway(text, environ=environ)) for _ in range(2)]
        keys = [key_of(gateway, "acme") for gateway in gateways]

        statuses = [ask(gateways[n % 2], keys[n % 2]).status for n in range(8)]

        until(
            lambda: limits(gateways[1], "acme")["acme/usd:month"]["reserved"] == 0, "every request is settled"
        )
        used = [limits(gateway, "acme")["acme/usd:month"]["used"] for gateway in gateways]
        assert used[0] == used[1] <= 100_000
        assert statuses == sorted(statuses), "once it is spent it is spent everywhere"
        assert set(statuses) == {200, 429}
        for gateway in gateways:
            gateway.requests(4)
        spent = sum(gateway.admin("/usage")["data"][0]["cost_microusd"] for gateway in gateways)
        assert used[0] == spent
        assert gateways[0].admin("/limits/acme")["store"] == "redis"

        redis.kill()
        refused = ask(gateways[0], keys[0])
        assert (refused.status, refused.body["error"]["code"]) == (503, "limits_unavailable")
        assert decisions(gateways[0])["acme", "usd", "unavailable"] == 1
        gateways[0].record(refused.id)
        explained = gateways[0].admin(f"/explain/{refused.id}")["data"]
        assert [step["verdict"] for step in explained["steps"]] == ["asked", "unavailable", "failed"]


def test_several_workers_with_limits_need_a_shared_store(running_engine: Engines, tmp_path: Path) -> None:
    file = tmp_path / "fairlead.yaml"
    file.write_text(config(running_engine(), "{acme: {limits: {requests_per_minute: 3}}}"))

    done = subprocess.run(
        [sys.executable, "-m", "fairlead", "serve", "--config", str(file), "--workers", "2", "--port", "0"],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 5
    assert "2 workers need a shared store for the limits of `tenants`" in done.stderr
    assert "limits.store: redis" in done.stderr
