"""The exact cache of a real gateway, as the SDKs of OpenAI and Anthropic and an operator see it."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.e2e.gateway import EngineProcess, GatewayProcess, start_gateway
from tests.e2e.limits.tenants import key_of, metrics, until

Gateways = Callable[..., GatewayProcess]
Engines = Callable[..., EngineProcess]

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
CONFIG = """
providers:
  lab: {{type: {kind}, base_url: '{engine}', api_key: env:UPSTREAM_KEY}}
models:
  small:
    targets: [{{provider: lab, model: small, input_usd_per_mtok: 1000, output_usd_per_mtok: 1000}}]
    cache: {cache}
{more}
"""


def config(engine: EngineProcess, cache: str = "{}", more: str = "") -> str:
    kind = "openai-compatible" if engine.dialect == "openai" else engine.dialect
    text = CONFIG.format(engine=engine.base_url, kind=kind, cache=cache, more=more)
    return text if kind == "anthropic" else text.replace(", api_key: env:UPSTREAM_KEY", "")


class Asker:
    """Asks one question in each way there is, and tells how the cache stood to it."""

    def __init__(self, gateway: GatewayProcess, key: str = "") -> None:
        key = key or gateway.admin_key
        self.openai = openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0, timeout=30)
        self.anthropic = anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0, timeout=30)
        self.headers: dict[str, str] = {}

    def chat(self, **fields: Any) -> tuple[str, str]:
        raw = self.openai.chat.completions.with_raw_response.create(
            model="small", messages=HELLO, extra_headers=self.headers, **fields
        )
        answer = raw.parse()
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
        assert answer.choices[0].finish_reason == "stop"
        return raw.headers["x-fairlead-cache"], answer.choices[0].message.content or ""

    def chat_stream(self, **fields: Any) -> tuple[str, str]:
        raw = self.openai.chat.completions.with_raw_response.create(
            model="small",
            messages=HELLO,
            stream=True,
            stream_options={"include_usage": True},
            extra_headers=self.headers,
            **fields,
        )
        chunks = list(raw.parse())
        assert chunks[-1].usage is not None
        assert chunks[-1].usage.completion_tokens > 0
        reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
        assert [reason for reason in reasons if reason] == ["stop"]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        return raw.headers["x-fairlead-cache"], text

    def message(self, **fields: Any) -> tuple[str, str]:
        raw = self.anthropic.messages.with_raw_response.create(
            model="small", max_tokens=500, messages=HELLO, extra_headers=self.headers, **fields
        )
        answer = raw.parse()
        assert answer.stop_reason == "end_turn"
        assert answer.usage.output_tokens > 0
        return raw.headers["x-fairlead-cache"], "".join(part.text for part in answer.content)  # type: ignore[union-attr]  # texts

    def message_stream(self, **fields: Any) -> tuple[str, str]:
        with self.anthropic.messages.stream(
            model="small", max_tokens=500, messages=HELLO, extra_headers=self.headers, **fields
        ) as stream:
            text = "".join(stream.text_stream)
            answer = stream.get_final_message()
            assert answer.stop_reason == "end_turn"
            assert answer.usage.output_tokens > 0
            return stream.response.headers["x-fairlead-cache"], text


def ask(
    gateway: GatewayProcess, key: str = "", path: str = "/v1/chat/completions", **fields: Any
) -> tuple[int, dict[str, str], bytes]:
    """Status, fields and body of one request; `control` is its `cache-control`."""
    control = fields.pop("control", None)
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key or gateway.admin_key}"}
    if control is not None:
        headers["cache-control"] = control
    body = {"model": "small", "messages": HELLO, **fields} if "input" not in fields else fields
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    found = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    connection.close()
    return found


def said(gateway: GatewayProcess, key: str = "", **fields: Any) -> str:
    """What the answer to one request says of the cache."""
    return ask(gateway, key, **fields)[1].get("x-fairlead-cache", "")


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


# --- hit after miss -----------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_openais_sdk_gets_the_same_answer_in_every_order_of_forms(
    dialect: str, running_gateway: Gateways, running_engine: Engines
) -> None:
    asker = Asker(running_gateway(config(running_engine(dialect)), environ={"UPSTREAM_KEY": "secret"}))
    ways = {"whole": asker.chat, "stream": asker.chat_stream}

    for most, (first, second, third) in enumerate(itertools.product(ways.values(), repeat=3), 500):
        made = first(max_tokens=most)
        found = [second(max_tokens=most), third(max_tokens=most)]
        assert made[0] == "miss"
        assert made[1]
        assert found == [("hit", made[1])] * 2


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_anthropics_sdk_gets_the_same_answer_in_every_order_of_forms(
    dialect: str, running_gateway: Gateways, running_engine: Engines
) -> None:
    asker = Asker(running_gateway(config(running_engine(dialect)), environ={"UPSTREAM_KEY": "secret"}))
    ways = {"whole": asker.message, "stream": asker.message_stream}

    for number, (first, second, third) in enumerate(itertools.product(ways.values(), repeat=3)):
        made = first(system=f"Case {number}")
        found = [second(system=f"Case {number}"), third(system=f"Case {number}")]
        assert made[0] == "miss"
        assert made[1]
        assert found == [("hit", made[1])] * 2


def test_embeddings_are_the_same_in_both_encodings(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai")))
    client = Asker(gateway).openai
    found = []
    for encoding in ("base64", "float", "base64"):
        raw = client.embeddings.with_raw_response.create(
            model="small",
            input="Hello",
            encoding_format=encoding,  # type: ignore[arg-type]  # one of the two
        )
        vector = raw.parse().data[0].embedding
        coded = json.loads(raw.content)["data"][0]["embedding"]
        found.append((raw.headers["x-fairlead-cache"], vector if encoding == "float" else coded))

    assert [status for status, _ in found] == ["miss", "hit", "hit"]
    assert found[0][1] == found[2][1]
    sdk = client.embeddings.create(model="small", input="Hello").data[0].embedding
    assert sdk == pytest.approx(found[1][1], abs=1e-6)


def test_a_hit_tells_its_age_and_asks_no_engine(running_gateway: Gateways, running_engine: Engines) -> None:
    engine = running_engine("openai")
    gateway = running_gateway(config(engine))
    _, first, body = ask(gateway)
    engine.stop()

    status, second, again = ask(gateway)

    assert (status, second["x-fairlead-cache"], again) == (200, "hit", body)
    assert int(second["age"]) >= 0
    assert first["x-request-id"] != second["x-request-id"]


# --- whose answers ------------------------------------------------------------------------------


def test_tenants_never_share_but_in_a_named_scope(running_gateway: Gateways, running_engine: Engines) -> None:
    more = """
  shared:
    targets: [{provider: lab, model: small}]
    cache: {scope: both}
cache: {scopes: {both: {tenants: [one, two]}}}
tenants: {one: {}, two: {}, child: {parent: one}}
"""
    gateway = running_gateway(config(running_engine(), more=more))
    keys = [key_of(gateway, tenant) for tenant in ("one", "two", "child")]

    own = [said(gateway, key) for key in keys + keys]
    shared = [said(gateway, key, model="shared") for key in keys + keys]

    assert own == ["miss", "miss", "miss", "hit", "hit", "hit"]
    assert shared == ["miss", "hit", "miss", "hit", "hit", "hit"], "a sub-tenant is not meant by its parent"


# --- restarts and reloads -----------------------------------------------------------------------


def test_a_restart_keeps_answers(running_engine: Engines, tmp_path: Path) -> None:
    text, options = config(running_engine("openai")), ["--state", str(tmp_path / "state")]
    with start_gateway(text, options=options) as first:
        admin_key = first.admin_key
        _, _, body = ask(first)
        assert first.stop() == 0

    with start_gateway(text, options=options) as second:
        second.admin_key = admin_key
        found = ask(second)
        assert (found[1]["x-fairlead-cache"], found[2]) == ("hit", body)
        stats = second.admin("/cache")
        assert [(one["tier"], one["hits"]) for one in stats["hits"]] == [("disk", 1)]
        assert said(second) == "hit"


def test_a_reload_with_another_version_misses_and_may_bring_a_cache(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai")
    gateway = running_gateway(config(engine).replace("    cache: {}\n", ""))
    assert said(gateway) == ""
    found = []
    for count, cache in enumerate(("{}", "{version: '2'}", "{}"), 1):
        gateway.config_file.write_text(config(engine, cache))
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: gateway.log.count("the configuration was reloaded") >= count, "a reload")  # noqa: B023  # awaited here
        found.append([said(gateway), said(gateway)])

    assert found == [["miss", "hit"], ["miss", "hit"], ["hit", "hit"]]


# --- what is not kept ---------------------------------------------------------------------------


def test_what_is_no_whole_answer_to_a_usual_request_is_not_kept(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai")))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    truncated = [said(gateway, max_tokens=1) for _ in range(2)]
    calls = [said(gateway, tools=tools, tool_choice="required") for _ in range(2)]
    hot = [said(gateway, temperature=1.5) for _ in range(2)]
    wrong = [ask(gateway, temperature="warm") for _ in range(2)]

    assert (truncated, calls, hot) == (["miss", "miss"], ["miss", "miss"], ["bypass", "bypass"])
    assert [status for status, _, _ in wrong] == [400, 400]
    stats = gateway.admin("/cache")
    unstored = {(one["reason"], one["count"]) for one in stats["unstored"]}
    assert {("unfinished", 2), ("tool_calls", 2)} <= unstored
    assert stats["held"] == []


@pytest.mark.parametrize("fault", ["cut;after=3;count=1", "no_finish;count=1", "status;status=500;count=1"])
def test_a_stream_that_is_cut_keeps_nothing(
    fault: str, running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai")
    gateway = running_gateway(config(engine, more="outages: {retry: {max_attempts: 1}}"))
    engine.fault(fault)
    with pytest.raises(Exception):  # noqa: B017  # each fault has another, and any will do
        Asker(gateway).chat_stream()

    assert Asker(gateway).chat()[0] == "miss"


def test_a_client_that_leaves_in_the_middle_of_a_stream_keeps_nothing(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai", "--step-ms", "30")))
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)
    headers = {"authorization": f"Bearer {gateway.admin_key}"}
    body = {"model": "small", "messages": HELLO, "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    response = connection.getresponse()
    assert response.read(20)
    connection.close()
    response.close()
    record = gateway.requests(1)[0]

    assert (record["outcome"], record["cache"]) == ("client_gone", "miss")
    assert said(gateway) == "miss"


# --- what clients ask of the cache --------------------------------------------------------------


def test_directives_of_the_client(running_gateway: Gateways, running_engine: Engines) -> None:
    gateway = running_gateway(config(running_engine("openai")))

    refused = ask(gateway, control="only-if-cached")
    found = [
        said(gateway, control=control)
        for control in ("no-store", None, "max-age=100", "only-if-cached", "no-cache", "max-age=0", None)
    ]

    assert (refused[0], json.loads(refused[2])["error"]["code"]) == (504, "not_cached")
    assert found == ["bypass", "miss", "hit", "hit", "miss", "miss", "hit"]


# --- outages ------------------------------------------------------------------------------------


def test_an_expired_answer_is_given_flagged_when_every_target_is_down(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai")
    more = (
        "  strict: {targets: [{provider: lab, model: small}], cache: {ttl_s: 0.1}}\n"
        "outages: {retry: {max_attempts: 1}}"
    )
    gateway = running_gateway(config(engine, "{ttl_s: 0.1, stale_on_outage_s: 60}", more))
    asker = Asker(gateway)
    _, text = asker.chat()
    assert said(gateway, model="strict") == "miss"
    made = time.monotonic()
    engine.stop()
    until(lambda: time.monotonic() - made > 0.2, "the answers expire")

    assert asker.chat() == asker.chat_stream() == ("stale", text)
    status, headers, body = ask(gateway, model="strict")
    assert status >= 500
    assert headers["x-fairlead-cache"] == "miss"
    assert json.loads(body)["error"]["message"]
    assert ask(gateway, control="no-cache")[0] >= 500
    record = next(one for one in gateway.requests(5) if one["cache"] == "stale")
    explained = gateway.admin(f"/explain/{record['id']}")["data"]["steps"]
    assert [step["verdict"] for step in explained if step["part"] == "cache"] == ["miss", "stale"]


# --- limits, records, metrics -------------------------------------------------------------------


def test_a_hit_counts_as_a_request_and_takes_no_tokens_and_no_money(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    tenants = (
        "tenants: {acme: {limits: {requests_per_minute: 4, tokens_per_minute: 100000, "
        "budgets: [{usd: 5, per: month}]}}}"
    )
    gateway = running_gateway(config(running_engine(), more=tenants))
    key = key_of(gateway, "acme")

    def used() -> tuple[int, int]:
        found = {one["id"]: one["used"] for one in gateway.admin("/limits/acme")["data"]}
        return found["acme/requests"], found["acme/usd:month"]

    assert said(gateway, key, max_tokens=200) == "miss"
    requests, spent = used()
    assert (requests, spent > 0) == (1, True)
    assert [said(gateway, key, max_tokens=200) for _ in range(3)] == ["hit"] * 3
    assert used()[1] == spent
    assert ask(gateway, key, max_tokens=200)[0] == 429, "four a minute, kept or not"

    records = gateway.requests(5, tenant="acme")
    hits = [record for record in records if record["cache"] == "hit"]
    assert len(hits) == 3
    assert {(hit["saved_microusd"], hit["cost_microusd"], hit["input_tokens"]) for hit in hits} == {
        (spent, None, 0)
    }
    (usage,) = gateway.admin("/usage?tenant=acme")["data"]
    assert (usage["cache_hits"], usage["saved_microusd"], usage["cost_microusd"]) == (3, 3 * spent, spent)
    shown = run(gateway, "usage", "--state", str(gateway.directory / "state"), "--tenant", "acme").stdout
    assert re.search(rf" 3 +0\.{3 * spent:06d}", shown), shown
    explained = gateway.admin(f"/explain/{hits[0]['id']}")["data"]
    assert explained["summary"].startswith("It was answered from the cache with status 200")


def test_metrics_and_statistics_agree_with_what_was_asked(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai")))
    assert [said(gateway) for _ in range(3)] == ["miss", "hit", "hit"]
    assert said(gateway, control="no-store") == "bypass"

    families = {family.name: family for family in text_string_to_metric_families(metrics(gateway))}

    def value(name: str, **labels: str) -> float:
        (found,) = (
            sample.value
            for sample in families[name].samples
            if sample.name.removesuffix("_total") == name and sample.labels == labels
        )
        return float(found)

    mine = {"tenant": "default", "model": "small"}
    assert value("fairlead_cache_hits", tier="memory", **mine) == 2
    assert value("fairlead_cache_misses", **mine) == 1
    assert value("fairlead_cache_bypassed", model="small", reason="no-store") == 1
    assert value("fairlead_cache_stored", **mine) == 1
    assert value("fairlead_cache_memory_entries") == 1
    assert value("fairlead_cache_memory_bytes") > 100
    stats = json.loads(run(gateway, "cache", "stats", "--url", gateway.url, "--json").stdout)
    (hits,) = stats["hits"]
    assert value("fairlead_cache_saved_usd", **mine) == pytest.approx(hits["saved_microusd"] / 1e6)
    assert value("fairlead_cache_saved_tokens", type="output", **mine) == hits["output_tokens"] > 0
    (ratio,) = stats["looked_up"]
    assert (ratio["lookups"], ratio["hit_ratio"]) == (3, 0.666667)


# --- purging ------------------------------------------------------------------------------------


def test_a_purge_throws_away_what_is_meant_and_is_audited(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    more = "tenants: {one: {}, two: {}}\n"
    gateway = running_gateway(config(running_engine(), more=more))
    one, two = key_of(gateway, "one"), key_of(gateway, "two")
    assert [said(gateway, key) for key in (one, two)] == ["miss", "miss"]

    def purge(*words: str) -> subprocess.CompletedProcess[str]:
        return run(gateway, "cache", "purge", "--url", gateway.url, *words)

    assert purge().returncode == 2, "it must be said what"
    assert "memory: 1 answers" in purge("--tenant", "one", "--dry-run").stdout
    assert "memory: 0 answers" in purge("--tenant", "one", "--older-than", "1h").stdout
    assert [said(gateway, key) for key in (one, two)] == ["hit", "hit"]
    done = purge("--tenant", "one", "--model", "small")
    assert "memory: 1 answers" in done.stdout
    assert "disk: 1 answers" in done.stdout
    assert [said(gateway, key) for key in (one, two)] == ["miss", "hit"]
    lines = [json.loads(line) for line in gateway.log.splitlines() if '"fairlead.audit"' in line]
    lines = [line for line in lines if line["message"] == "cache purge"]
    assert [(line["tenant"], line["model"], line["dry_run"]) for line in lines] == [
        ("one", None, True),
        ("one", None, False),
        ("one", "small", False),
    ]
    assert [line["entries"] for line in lines] == [
        *({"memory": 1, "disk": 1}, {"memory": 0, "disk": 0}, {"memory": 1, "disk": 1}),
    ]
    assert {line["key_id"] for line in lines} == {gateway.admin_key[3:11]}
    assert "memory: 2 answers" in purge("--all").stdout


def test_without_a_cache_statistics_say_so_and_a_purge_is_refused(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine("openai")).replace("    cache: {}\n", ""))

    assert run(gateway, "cache", "stats", "--url", gateway.url).stderr.startswith("no model keeps answers")
    with pytest.raises(urllib.error.HTTPError) as refused:
        gateway.admin("/cache/purge", method="POST", body={})
    assert refused.value.code == 404
    refused.value.close()
