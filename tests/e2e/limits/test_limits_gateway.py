"""Tenants' limits over HTTP: what clients are answered, and what is charged for what they did."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import anthropic
import openai
import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess
from tests.e2e.limits.tenants import (
    HELLO,
    MICROUSD_PER_TOKEN,
    ask,
    config,
    decisions,
    key_of,
    limits,
    metrics,
    post,
    until,
)

Gateways = Callable[..., GatewayProcess]
Engines = Callable[..., EngineProcess]

TEAM = "{acme: {limits: {requests_per_minute: 100}}, search: {parent: acme, limits: %s}}"


def chat(gateway: GatewayProcess, key: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, **options)


# --- answers ------------------------------------------------------------------------------------


def test_a_rate_refuses_openais_sdk_in_its_words_with_when_to_come_back(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine(), TEAM % "{requests_per_minute: 2}"))
    client = chat(gateway, key_of(gateway, "search"), max_retries=0)
    client.chat.completions.create(model="small", messages=HELLO)  # type: ignore[arg-type]  # plain messages
    first = client.chat.completions.with_raw_response.create(model="small", messages=HELLO)  # type: ignore[arg-type]

    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="small", messages=HELLO)  # type: ignore[arg-type]

    assert (first.headers["x-ratelimit-limit-requests"], first.headers["x-ratelimit-remaining-requests"]) == (
        *("2", "0"),
    )
    headers = refused.value.response.headers
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.body["message"] == (  # type: ignore[index]  # the error object
        "the limit of 2 requests per minute of `search` is reached: 2 requests used, 1 request asked"
    )
    assert 0 < int(headers["retry-after"]) <= 30
    assert 0 < int(headers["retry-after-ms"]) <= 30_000
    assert "x-should-retry" not in headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    assert 0 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60


def test_a_rate_refuses_anthropics_sdk_in_its_words(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine(), TEAM % "{requests_per_minute: 1}"))
    client = anthropic.Anthropic(base_url=gateway.url, api_key=key_of(gateway, "search"), max_retries=0)
    client.messages.create(model="small", max_tokens=5, messages=HELLO)  # type: ignore[arg-type]  # plain messages

    with pytest.raises(anthropic.RateLimitError) as refused:
        client.messages.create(model="small", max_tokens=5, messages=HELLO)  # type: ignore[arg-type]

    assert refused.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]  # the error object
    assert "1 request per minute of `search`" in str(refused.value)
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert int(refused.value.response.headers["retry-after-ms"]) > 0


def test_coming_back_when_told_is_enough(running_gateway: Gateways, running_engine: Engines) -> None:
    """The SDK's own retries follow `retry-after-ms`, so a client that does not know of limits is served."""
    gateway = running_gateway(config(running_engine(), TEAM % "{requests_per_minute: {limit: 30, burst: 1}}"))
    client = chat(gateway, key_of(gateway, "search"), max_retries=1)
    began = time.monotonic()

    for _ in range(2):
        client.chat.completions.create(model="small", messages=HELLO)  # type: ignore[arg-type]

    assert time.monotonic() - began > 1.9, "a wait of two seconds"
    assert [entry["status"] for entry in gateway.requests(3)] == [200, 429, 200]


def test_a_spent_budget_is_not_asked_again_by_sdks(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(
        config(running_engine(), TEAM % "{budgets: [{usd: 0.05, per: month, timezone: Europe/Berlin}]}")
    )
    key = key_of(gateway, "search")
    client = chat(gateway, key, max_retries=4)
    client.chat.completions.create(model="small", messages=HELLO, max_tokens=30)  # type: ignore[arg-type]

    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(model="small", messages=HELLO, max_tokens=30)  # type: ignore[arg-type]

    headers = refused.value.response.headers
    assert refused.value.code == "budget_exceeded"
    assert "the budget of 0.05 USD per month of `search` is spent" in str(refused.value)
    assert "it begins anew at " in str(refused.value)
    assert headers["x-should-retry"] == "false"
    ends_at = limits(gateway, "search")["search/usd:month"]["resets_at"]
    assert abs(time.time() + int(headers["retry-after"]) - ends_at) < 5
    assert headers["x-ratelimit-limit-requests"] == "100", "the rates are told too"
    assert len(gateway.requests(2)) == 2, "one refusal, and no retry of it"
    claude = anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=4)
    with pytest.raises(anthropic.RateLimitError) as also:
        claude.messages.create(model="small", max_tokens=50, messages=HELLO)  # type: ignore[arg-type]
    assert also.value.response.headers["x-should-retry"] == "false"
    assert len(gateway.requests(3)) == 3


def test_what_no_wait_helps_is_refused_without_one(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine(), TEAM % "{tokens_per_minute: 500}"))

    answer = ask(gateway, key_of(gateway, "search"), max_tokens=1000)

    assert (answer.status, answer.body["error"]["code"]) == (429, "request_above_limit")
    assert "never admits more than 500 tokens" in answer.body["error"]["message"]
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"


PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 5},
    "/v1/embeddings": {"input": "Hello"},
    "/v1/moderations": {"input": "Hello"},
    "/v1/rerank": {"query": "Hello", "documents": ["a"]},
    "/v1/audio/speech": {"input": "Hello", "voice": "alloy"},
    "/v1/images/generations": {"prompt": "Hello"},
    "/v1/batches": {
        "input_file_id": "file-1",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    },
}


def test_no_api_goes_around_the_limits(running_gateway: Gateways, running_engine: Engines) -> None:
    # Counting tokens is not among them: the gateway does it itself, and what is sent nowhere is given back.
    gateway = running_gateway(config(running_engine(), "{acme: {each_key: {requests_per_minute: 1}}}"))
    for path, body in PATHS.items():
        key = key_of(gateway, "acme")
        body = {"model": "small", **body}

        statuses = [post(gateway, path, key, body)[0] for _ in range(2)]

        assert statuses[0] != 429, path
        assert statuses[1] == 429, path


# --- what is charged ----------------------------------------------------------------------------


def test_when_one_node_refuses_nothing_is_taken_from_any(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    tenants = """
  acme: {limits: {requests_per_minute: 100, concurrent_requests: 5, budgets: [{usd: 10, per: day}]}}
  search: {parent: acme, limits: {requests_per_minute: 1}, each_key: {tokens_per_minute: 100000}}"""
    gateway = running_gateway(config(running_engine(), tenants))
    key = key_of(gateway, "search")
    query = f"?key={key[3:11]}"
    assert ask(gateway, key).status == 200
    until(lambda: limits(gateway, "acme")["acme/concurrent"]["used"] == 0, "the request is settled")
    before = limits(gateway, "search", query)

    assert [ask(gateway, key).status for _ in range(5)] == [429] * 5

    after = limits(gateway, "search", query)
    budget, places = "acme/usd:day", "acme/concurrent"
    assert {name: after[budget][name] for name in ("used", "reserved")} == {
        name: before[budget][name] for name in ("used", "reserved")
    }
    assert after[places]["used"] == 0
    for rate in ("acme/requests", f"key:{key[3:11]}/tokens"):
        assert after[rate]["remaining"] >= before[rate]["remaining"]


def test_a_budget_settles_to_what_was_really_used(running_gateway: Gateways, running_engine: Engines) -> None:
    gateway = running_gateway(config(running_engine(), TEAM % "{budgets: [{usd: 100, per: month}]}"))
    key = key_of(gateway, "search")

    used = [ask(gateway, key, max_tokens=tokens).body["usage"]["total_tokens"] for tokens in (5, 500, 5000)]

    budget = limits(gateway, "search")["search/usd:month"]
    assert (budget["used"], budget["reserved"]) == (sum(used) * MICROUSD_PER_TOKEN, 0)
    assert budget["remaining"] == 100_000_000 - budget["used"]
    costs = [entry["cost_microusd"] for entry in gateway.requests(3)]
    assert sorted(costs) == sorted(tokens * MICROUSD_PER_TOKEN for tokens in used)
    (usage,) = gateway.admin("/usage?tenant=acme&by=tenant")["data"]
    assert (usage["name"], usage["cost_microusd"], usage["unpriced"]) == ("search", budget["used"], 0)


def test_failed_requests_leave_no_phantom_spend(running_gateway: Gateways, running_engine: Engines) -> None:
    engine = running_engine()
    gateway = running_gateway(
        config(engine, TEAM % "{budgets: [{usd: 1, per: month}], concurrent_requests: 3}")
        + "outages: {breaker: {enabled: false}, retry: {max_attempts: 2, backoff_s: 0.01}}\n"
    )
    key = key_of(gateway, "search")
    engine.fault("status;status=500")

    assert {ask(gateway, key, max_tokens=500).status for _ in range(8)} == {502}

    engine.mend()
    standing = limits(gateway, "search")
    assert (standing["search/usd:month"]["used"], standing["search/usd:month"]["reserved"]) == (0, 0)
    assert standing["search/concurrent"]["used"] == 0
    assert ask(gateway, key, max_tokens=500).status == 200, "eight failures reserved more than the budget"


def test_a_client_that_leaves_a_stream_is_charged_for_what_it_received(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", "--step-ms", "30")
    gateway = running_gateway(
        config(engine, TEAM % "{budgets: [{usd: 10, per: month}], concurrent_requests: 1}")
    )
    client = chat(gateway, key_of(gateway, "search"), max_retries=0)
    stream = client.chat.completions.create(model="small", messages=HELLO, max_tokens=2000, stream=True)  # type: ignore[call-overload]
    for count, _ in enumerate(stream):
        if count == 6:
            break
    assert limits(gateway, "search")["search/usd:month"]["reserved"] > 2000 * MICROUSD_PER_TOKEN

    stream.close()

    (record,) = [gateway.record(entry["id"]) for entry in gateway.requests(1)]
    budget = limits(gateway, "search")["search/usd:month"]
    assert (record["outcome"], budget["reserved"]) == ("client_gone", 0)
    output = record["usage"]["output_tokens"]
    assert 4 <= output <= 300
    assert (
        budget["used"]
        == record["cost_microusd"]
        == ((record["usage"]["input_tokens"] + output) * MICROUSD_PER_TOKEN)
    )
    assert limits(gateway, "search")["search/concurrent"]["used"] == 0
    assert "The client left after" in gateway.admin(f"/explain/{record['id']}")["data"]["summary"]


def test_a_key_near_its_token_limit_is_not_locked_by_what_it_only_reserved(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine(), TEAM % "{tokens_per_minute: 6000}"))
    key = key_of(gateway, "search")

    # Each reserves a sixth of the limit and uses a few hundredths of that.
    answers = [ask(gateway, key, max_tokens=1000, stop=["."]) for _ in range(20)]

    assert {answer.status for answer in answers} == {200}
    used = sum(answer.body["usage"]["total_tokens"] for answer in answers)
    assert 6000 - limits(gateway, "search")["search/tokens"]["remaining"] <= used


def test_tokens_do_not_overshoot_under_concurrency(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", "--step-ms", "20")
    gateway = running_gateway(config(engine, TEAM % "{tokens_per_minute: 600}"))
    key = key_of(gateway, "search")
    statuses: list[int] = []

    def one() -> None:
        statuses.append(ask(gateway, key, max_tokens=100).status)

    threads = [threading.Thread(target=one) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= 5, "five times a hundred and the prompts are all that fits"


def test_what_has_no_price_is_counted_and_never_taken_for_free(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(config(running_engine(), TEAM % "{budgets: [{usd: 0.001, per: day}]}"))

    answer = ask(gateway, key_of(gateway, "search"), model="unpriced")

    assert answer.status == 200
    (entry,) = gateway.requests(1)
    (usage,) = gateway.admin("/usage?by=model")["data"]
    assert entry["cost_microusd"] is None
    assert (usage["cost_microusd"], usage["unpriced"]) == (0, 1)
    assert 'fairlead_unpriced_requests_total{model="unpriced",target="lab/unpriced"} 1' in metrics(gateway)
    assert decisions(gateway) == {("search", "usd", "unpriced"): 1}
    steps = gateway.admin(f"/explain/{answer.id}")["data"]["steps"]
    assert steps[-1]["verdict"] == "unpriced"


def test_a_budget_in_a_time_zone_ends_with_its_months(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    zone = "Pacific/Auckland"
    gateway = running_gateway(
        config(running_engine(), TEAM % f"{{budgets: [{{usd: 1, per: day, timezone: {zone}}}]}}")
    )

    budget = limits(gateway, "search")["search/usd:day"]

    ends = datetime.fromtimestamp(budget["resets_at"], UTC).astimezone(ZoneInfo(zone))
    assert (ends.hour, ends.minute, ends.second, budget["timezone"]) == (0, 0, 0, zone)


# --- modes --------------------------------------------------------------------------------------


def test_a_shadow_limit_refuses_nothing_and_is_seen_everywhere(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(
        config(running_engine(), TEAM % "{requests_per_minute: {limit: 1, shadow: true}}")
    )
    key = key_of(gateway, "search")

    answers = [ask(gateway, key) for _ in range(3)]

    assert [answer.status for answer in answers] == [200] * 3
    assert answers[-1].headers["x-ratelimit-limit-requests"] == "100", "a shadow limit is not told"
    assert decisions(gateway) == {("search", "requests", "shadowed"): 2}
    shown = limits(gateway, "search")["search/requests"]
    assert (shown["shadow"], shown["used"]) == (True, 1)
    gateway.record(answers[-1].id)
    explained = gateway.admin(f"/explain/{answers[-1].id}")["data"]
    assert explained["summary"].endswith("(a shadow limit would have refused it).")
    assert [step["verdict"] for step in explained["steps"] if step["part"] == "limits"] == [
        "admitted",
        "shadowed",
    ]


def test_callers_without_a_key_are_the_default_tenant(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    gateway = running_gateway(
        config(running_engine(), "{default: {limits: {requests_per_minute: 1}}, acme: {}}")
        + "auth: {required: false}\n"
    )

    assert [ask(gateway, "").status for _ in range(2)] == [200, 429]


def test_a_noisy_neighbour_is_deprioritised_and_not_refused(
    running_gateway: Gateways, running_engine: Engines
) -> None:
    engine = running_engine("openai", "--step-ms", "10")
    text = config(engine, "{loud: {priority: batch}, quiet: {}}")
    text = text.replace("model: small,", "model: small, max_concurrency: 1,")
    gateway = running_gateway(text)
    loud, quiet = key_of(gateway, "loud"), key_of(gateway, "quiet")
    finished: list[tuple[str, int]] = []

    def flood() -> None:
        finished.append(("loud", ask(gateway, loud, max_tokens=50).status))

    threads = [threading.Thread(target=flood) for _ in range(12)]
    for thread in threads:
        thread.start()
    waiting = re.compile(r'fairlead_queue_waiting\{target="lab/small"\} ([89]|1\d)')
    until(lambda: waiting.search(metrics(gateway)) is not None, "the flood waits")
    before = len(finished)
    finished.append(("quiet", ask(gateway, quiet).status))
    for thread in threads:
        thread.join()

    assert {status for _, status in finished} == {200}, "nobody is refused: they wait"
    place = [name for name, _ in finished].index("quiet")
    assert place <= before + 2, "it waits for what runs, and for no other"
    waited = [entry for entry in gateway.requests(13) if entry["tenant"] == "loud"]
    record = gateway.record(waited[0]["id"])
    assert record["priority"] == "batch"
    assert any(
        step["verdict"] == "waited" for step in gateway.admin(f"/explain/{record['id']}")["data"]["steps"]
    )
