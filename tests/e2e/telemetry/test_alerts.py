"""Alerts of a running gateway, told to real receivers."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess, call, start_engine, start_gateway
from tests.e2e.telemetry.hooks import Hooks, eventually

from fairlead.telemetry.alerts.notify.webhook import verify

ENVIRON = {"HMAC_KEY": "a key of some length", "ROUTING_KEY": "a-routing-key", "SLACK_URL": ""}


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with Hooks() as hooks:
        yield hooks


@pytest.fixture
def engine() -> Iterator[EngineProcess]:
    with start_engine("openai", "--speed", "20") as engine:
        yield engine


def config(engine: EngineProcess, hooks: Hooks, rules: str, *, more: str = "") -> str:
    return f"""
providers: {{lab: {{type: openai-compatible, base_url: "{engine.base_url}"}}}}
models: {{small: {{targets: [{{provider: lab, model: small}}], timeouts: {{first_token_s: 10}}}}}}
outages: {{breaker: {{failures: 3, open_s: 0.3, max_open_s: 0.5}}, retry: {{max_attempts: 1}}}}
alerts:
  interval_s: 0.2
  group_wait_s: 0
  {more}
  receivers:
    hook: {{type: webhook, url: "{hooks.url("/hook")}", hmac_key: env:HMAC_KEY}}
  rules:
    {rules}
"""


def ask(gateway: GatewayProcess, count: int = 1, *, stream: bool = False) -> None:
    """Some requests, whatever comes of them."""
    body = {
        "model": "small",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 3,
        "stream": stream,
    }
    for _ in range(count):
        request = urllib.request.Request(
            gateway.url + "/v1/chat/completions",
            data=json.dumps(body).encode(),
            headers={"authorization": f"Bearer {gateway.admin_key}", "content-type": "application/json"},
        )
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
            answer.read()


def statuses(hooks: Hooks, rule: str, path: str = "/hook") -> list[str]:
    return [
        document["status"]
        for document in hooks.documents(path)
        if any(alert["rule"] == rule for alert in document["alerts"])
    ]


def test_slow_first_tokens_fire_and_resolve(engine: EngineProcess, hooks: Hooks) -> None:
    rule = (
        "slow: {kind: burn, signal: ttft, over_s: 0.5, objective: 0.9, min_events: 3, keep_firing_s: 0.4, "
        "windows: [{long_s: 5, short_s: 2, burn: 3}]}"
    )
    with start_gateway(config(engine, hooks, rule), environ=ENVIRON) as gateway:
        ask(gateway, 5, stream=True)
        engine.fault("stall;at=headers;seconds=0.8")
        ask(gateway, 5, stream=True)
        eventually(lambda: statuses(hooks, "slow") == ["firing"], what="the page")

        path, headers, body = hooks.got[0]
        assert path == "/hook"
        assert verify(
            ENVIRON["HMAC_KEY"], body, headers["x-fairlead-signature"].encode(), time.time(), tolerance_s=60
        )
        (alert,) = json.loads(body)["alerts"]
        assert alert["labels"] == {"model": "small"}
        assert "waited more than 0.5 s for the first token" in alert["effect"]
        assert 1 <= len(alert["examples"]) <= 5
        slow = gateway.record(alert["examples"][0])
        assert slow["first_token_s"] > 0.5
        assert alert["top"]["target"].startswith("lab/small")

        engine.mend()
        ask(gateway, 20, stream=True)
        eventually(lambda: statuses(hooks, "slow") == ["firing", "resolved"], what="the end")


def test_an_outage_fires_and_resolves_and_a_silence_keeps_it_quiet(
    engine: EngineProcess, hooks: Hooks
) -> None:
    rule = "outage: {kind: outage, for_s: 0.3, keep_firing_s: 0.3, window_s: 2, min_events: 3}"
    with start_gateway(config(engine, hooks, rule), environ=ENVIRON) as gateway:
        engine.fault("status;status=500")
        ask(gateway, 5)
        eventually(lambda: statuses(hooks, "outage") == ["firing"], what="the page")
        (firing,) = gateway.admin("/alerts?state=firing")["data"]
        assert firing["labels"] == {"target": "lab/small"}
        assert firing["silenced_by"] is None

        engine.mend()

        def mended() -> bool:
            ask(gateway, 2)
            return statuses(hooks, "outage") == ["firing", "resolved"]

        eventually(mended, what="the end")

        body = {"matchers": {"rule": "outage"}, "duration_s": 3600, "comment": "known", "author": "test"}
        silence = gateway.admin("/silences", method="POST", body=body)
        engine.fault("status;status=500")

        def firing_again() -> list[dict[str, object]]:
            ask(gateway, 3)
            found: list[dict[str, object]] = gateway.admin("/alerts?state=firing")["data"]
            return found

        (found,) = eventually(firing_again, what="the alert")
        assert found["silenced_by"] == silence["id"]
        for _ in range(5):
            ask(gateway, 3)
            time.sleep(0.2)
        assert statuses(hooks, "outage") == ["firing", "resolved"]
        gateway.admin(f"/silences/{silence['id']}", method="DELETE")

        def told_again() -> bool:
            ask(gateway, 3)
            return statuses(hooks, "outage")[2:3] == ["firing"]

        eventually(told_again, what="the page after the silence")


RECEIVERS = """
    busy: {{type: webhook, url: "{busy}"}}
    broken: {{type: webhook, url: "{broken}"}}
    gone: {{type: webhook, url: "{gone}"}}
    moved: {{type: webhook, url: "{moved}"}}
    hanging: {{type: webhook, url: "{hanging}", timeout_s: 0.5}}
    nobody: {{type: webhook, url: "http://127.0.0.1:1/"}}
    slack: {{type: slack, url: env:SLACK_URL}}
    pager: {{type: pagerduty, url: "{pager}", routing_key: env:ROUTING_KEY}}
    manager: {{type: alertmanager, url: "{manager}"}}
"""


def test_receivers_that_fail_hang_or_refuse_do_not_stop_the_others(
    engine: EngineProcess, hooks: Hooks
) -> None:
    hooks.answers = {
        "/busy": (429, {"retry-after": "1"}),
        "/broken": (500, {}),
        "/gone": (404, {}),
        "/moved": (302, {"location": hooks.url("/elsewhere")}),
        "/hanging": (0, {}),
    }
    names = ("busy", "broken", "gone", "moved", "hanging", "pager", "manager")
    receivers = RECEIVERS.format(**{name: hooks.url(f"/{name}") for name in names})
    rule = (
        "errors: {kind: burn, signal: errors, objective: 0.9, min_events: 3, "
        "windows: [{long_s: 60, short_s: 30, burn: 3}]}"
    )
    text = config(engine, hooks, rule, more="give_up_s: 3").replace(
        "  rules:", f"{receivers.rstrip()}\n  rules:"
    )
    environ = {**ENVIRON, "SLACK_URL": hooks.url("/slack?secret=1")}
    with start_gateway(text, environ=environ) as gateway:
        engine.fault("status;status=500")
        ask(gateway, 5)
        for path in ("/hook", "/slack?secret=1", "/pager", "/manager/api/v2/alerts"):
            eventually(lambda path=path: hooks.documents(path), what=path)
        (trigger,) = hooks.documents("/pager")
        assert (trigger["event_action"], trigger["routing_key"]) == ("trigger", ENVIRON["ROUTING_KEY"])
        assert hooks.documents("/manager/api/v2/alerts")[0][0]["labels"]["alertname"] == "errors"

        def dead() -> set[str]:
            return {one["receiver"] for one in gateway.admin("/alerts")["dead"]}

        unhappy = {"busy", "broken", "gone", "moved", "hanging", "nobody"}
        eventually(lambda: dead() == unhappy, within_s=40, what="dead letters")
        assert hooks.documents("/elsewhere") == []
        assert len(hooks.documents("/gone")) == len(hooks.documents("/moved")) == 1
        assert len(hooks.documents("/busy")) > 1
        assert len(hooks.documents("/hook")) == 1

        # Never a failed request, and nothing secret in the log or in what is shown.
        engine.mend()
        eventually(lambda: not _failing(gateway), what="an answer")
        shown = gateway.log + json.dumps(gateway.admin("/alerts"))
        assert not any(secret in shown for secret in (ENVIRON["ROUTING_KEY"], "secret=1"))

        done = _alerts(gateway, "list", "--dead")
        assert done.returncode == 0
        assert "moved" in done.stdout
        done = _alerts(gateway, "test")
        assert done.returncode == 1
        assert "not taken by" in done.stderr


def _failing(gateway: GatewayProcess) -> bool:
    body = {"model": "small", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    try:
        call(gateway.url + "/v1/chat/completions", method="POST", body=body, key=gateway.admin_key)
    except urllib.error.HTTPError:
        return True
    return False


def _alerts(gateway: GatewayProcess, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fairlead", "alerts", *words, "--url", gateway.url],
        env={"PATH": "/usr/bin:/bin", "FAIRLEAD_API_KEY": gateway.admin_key, **_python_path()},
        capture_output=True,
        text=True,
        timeout=30,
    )


def _python_path() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}


def test_a_killed_gateway_with_workers_pages_once(engine: EngineProcess, hooks: Hooks) -> None:
    rule = (
        "errors: {kind: burn, signal: errors, objective: 0.9, min_events: 3, keep_firing_s: 60, "
        "windows: [{long_s: 60, short_s: 30, burn: 3}]}"
    )
    text = config(engine, hooks, rule)
    state = "--state"
    engine.fault("status;status=500")
    with start_gateway(text, environ=ENVIRON, options=["--workers", "2"]) as gateway:
        # Whichever worker gets a request, the first one evaluates all of them.
        ask(gateway, 8)
        eventually(lambda: statuses(hooks, "errors") == ["firing"], what="the page")
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait(10)
        time.sleep(1.0)
        kept = str(gateway.directory / "state")
        with start_gateway(text, environ=ENVIRON, options=[state, kept]) as again:
            time.sleep(4.0)
            key = gateway.admin_key
            found = call(again.url + "/admin/v1/alerts", key=key)["data"]
            assert [one["state"] for one in found] == ["firing"]
            assert statuses(hooks, "errors") == ["firing"]
