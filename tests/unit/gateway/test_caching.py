"""Which requests the cache answers, in which form, and what it keeps, over the whole path of a request."""

from __future__ import annotations

import json
import time

import pytest
from tests.unit.gateway.stage import (
    CHAT,
    DROP,
    ONE,
    Stage,
    asking,
    begun,
    completion,
    delta,
    ended,
    hello,
    refusal,
    staged,
    stream,
    usage,
)

from fairlead.cache.purge import Purge
from fairlead.testing import answer, sse_answer
from fairlead.types import Outcome

KEPT = ONE.replace("[{provider: a}]", "[{provider: a}], cache: {}")
ONCE = KEPT + "outages: {retry: {max_attempts: 1}}\n"
STALE = ONCE.replace("cache: {}", "cache: {ttl_s: 0.02, stale_on_outage_s: 60}")
PRICED = KEPT.replace("{provider: a}", "{provider: a, input_usd_per_mtok: 1, output_usd_per_mtok: 2}")
KEYS = KEPT.replace("required: false", "required: true")
SHARED = (
    KEYS.replace("cache: {}", "cache: {scope: both}")
    + "cache: {scopes: {both: {tenants: [one, two]}}}\ntenants: {one: {}, two: {}, three: {}}\n"
)
LIMITED = (
    PRICED.replace("required: false", "required: true")
    + "tenants: {one: {limits: {requests_per_minute: 3, tokens_per_minute: 1000, budgets: "
    + "[{usd: 0.00005, per: month}]}}}\n"
)
EMBEDDINGS = "/v1/embeddings"


def cached(person: object) -> str | None:
    """What the last answer says the cache did."""
    return person.last.headers.get("x-fairlead-cache")  # type: ignore[attr-defined, no-any-return]  # a Person


# --- hit after miss -----------------------------------------------------------------------------


@staged(PRICED)
async def test_the_second_of_two_same_requests_asks_nobody(stage: Stage) -> None:
    stage.network.plan("a.test", completion("Hi"))

    first, second = await stage.ask(hello()), await stage.ask(hello())

    assert (cached(first), cached(second)) == ("miss", "hit")
    assert second.last.body == first.last.body
    assert second.last.headers["age"] == "0"
    assert "age" not in first.last.headers
    assert "x-fairlead-target" not in second.last.headers
    assert len(stage.network.requests) == 1
    miss, hit = await stage.records()
    assert (miss.cache, miss.saved_tokens, miss.saved_microusd, miss.cost_microusd) == ("miss", 0, None, 9)
    assert (hit.cache, hit.saved_tokens, hit.saved_microusd, hit.cost_microusd) == ("hit", 7, 9, None)
    assert (hit.outcome, hit.attempts, hit.usage.output_tokens) == (Outcome.OK, (), 0)


@staged(KEPT)
async def test_a_stream_is_kept_and_given_whole(stage: Stage) -> None:
    stage.network.plan("a.test", stream("Hel", "lo"))

    streamed, whole = await stage.ask(hello(stream=True)), await stage.ask(hello())

    assert (cached(streamed), cached(whole)) == ("miss", "hit")
    body = json.loads(whole.last.body)
    assert body["choices"][0]["message"]["content"] == "Hello"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (5, 2)
    assert body["id"] == "chatcmpl-1"


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_whole_answer_is_given_as_a_stream(include_usage: bool) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        stage.network.plan("a.test", completion("Hello"))
        await stage.ask(hello())
        person = await stage.ask(hello(stream=True, stream_options={"include_usage": include_usage}))
        assert cached(person) == "hit"
        assert person.last.headers["content-type"].startswith("text/event-stream")
        *events, end = person.events
        assert end == "[DONE]"
        text = "".join(
            choice["delta"].get("content") or "" for event in events for choice in event["choices"]
        )
        assert text == "Hello"
        counts = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
        assert counts == ([2] if include_usage else [])

    scenario()


@staged(KEPT)
async def test_a_response_is_no_chat_completion(stage: Stage) -> None:
    stage.network.plan("a.test", completion("one"), completion("two"))

    await stage.ask(hello())
    person = await stage.ask(asking("/v1/responses"), "/v1/responses")
    again = await stage.ask(asking("/v1/responses"), "/v1/responses")

    assert (cached(person), cached(again)) == ("miss", "hit")
    assert json.loads(again.last.body)["output"][0]["content"][0]["text"] == "two"


# --- whose answers ------------------------------------------------------------------------------


@staged(KEYS)
async def test_a_tenants_answer_is_no_other_tenants(stage: Stage) -> None:
    stage.network.plan("a.test", completion("for one"), completion("for two"))
    one, two = stage.key(tenant="one").secret, stage.key(tenant="two").secret

    first = await stage.ask(hello(), key=one)
    second = await stage.ask(hello(), key=two)
    third = await stage.ask(hello(), key=stage.key(tenant="one").secret)

    assert (cached(first), cached(second), cached(third)) == ("miss", "miss", "hit")
    assert third.last.body == first.last.body != second.last.body


@staged(SHARED)
async def test_a_named_scope_is_shared_by_those_it_names_and_nobody_else(stage: Stage) -> None:
    stage.network.plan("a.test", completion("shared"), completion("for three"))
    one, two, three = (stage.key(tenant=name).secret for name in ("one", "two", "three"))

    found = [cached(await stage.ask(hello(), key=key)) for key in (one, two, three, three)]

    assert found == ["miss", "hit", "miss", "hit"]


@staged(KEYS)
async def test_a_key_that_may_not_use_the_model_is_not_given_its_answers(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    await stage.ask(hello(), key=stage.key(tenant="one").secret)

    person = await stage.ask(hello(), key=stage.key(tenant="one", models=("other",)).secret)

    assert person.statuses == [403]
    assert cached(person) is None


# --- what is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "body"),
    [
        ([refusal(500)], {}),
        ([refusal(400)], {}),
        ([completion(choices=[])], {}),
        (
            [completion(choices=[{"index": 0, "message": {"content": "Hi"}, "finish_reason": "length"}])],
            {},
        ),
        (
            [
                completion(
                    choices=[{"index": 0, "message": {"content": "Hi"}, "finish_reason": "content_filter"}]
                )
            ],
            {},
        ),
        (
            [
                completion(
                    choices=[
                        {
                            "index": 0,
                            "message": {
                                "content": None,
                                "tool_calls": [
                                    {
                                        "id": "c",
                                        "type": "function",
                                        "function": {"name": "f", "arguments": "{}"},
                                    }
                                ],
                            },
                            "finish_reason": "tool_calls",
                        }
                    ]
                )
            ],
            {},
        ),
        ([begun("Hel"), DROP], {"stream": True}),
        ([sse_answer(delta("Hi"), delta(finish="length"), usage(), b"[DONE]")], {"stream": True}),
        ([sse_answer(delta("Hi"), usage(), b"[DONE]")], {"stream": True}),
        ([sse_answer(delta("Hi"), b'{"error": {"message": "oops"}}', b"[DONE]")], {"stream": True}),
        ([stream("long " * 50_000)], {"stream": True}),
        ([completion("long " * 50_000)], {}),
        (
            [completion(usage={"prompt_tokens": "many", "completion_tokens": 2})],
            {"temperature": 1.5},
        ),
    ],
    ids=[
        *("failure", "refusal", "no choices", "truncated", "filtered", "tool call", "cut stream"),
        *("truncated stream", "no finish", "error in a stream", "long stream", "long answer", "hot"),
    ],
)  # fmt: skip
def test_what_is_not_a_whole_good_answer_is_not_kept(plan: list[bytes], body: dict[str, object]) -> None:
    @staged(ONCE)
    async def scenario(stage: Stage) -> None:
        stage.network.plan("a.test", plan)
        await stage.ask(hello(**body))
        assert stage.cache is not None
        assert len(stage.cache.memory) == 0
        assert not stage.cache.stats.stored

    scenario()


@staged(KEPT)
async def test_a_client_that_leaves_in_the_middle_of_a_stream_leaves_nothing_kept(stage: Stage) -> None:
    stage.network.plan("a.test", [begun("Hel")], completion("whole"))
    person = await stage.ask(hello(stream=True))
    person.leave()
    await stage.settle()

    again = await stage.ask(hello())

    assert cached(again) == "miss"


@staged(KEPT)
async def test_numbers_that_no_store_takes_do_not_fail_the_request(stage: Stage) -> None:
    huge = {"prompt_tokens": 2**70, "completion_tokens": 2**70, "total_tokens": 2**71}
    stage.network.plan("a.test", completion(usage=huge))

    first, second = await stage.ask(hello()), await stage.ask(hello())

    assert (first.statuses, cached(second)) == ([200], "hit")
    assert (await stage.records())[1].saved_tokens == 2 * (2**63 - 1)


@pytest.mark.parametrize(
    "choices",
    [
        '[{"index": 0, "delta": {"tool_calls": -1}, "finish_reason": null}]',
        '[{"index": 0, "delta": {"tool_calls": ["x"]}, "finish_reason": null}]',
        '[{"index": 0, "delta": {"audio": {"id": "a"}}, "finish_reason": null}]',
    ],
)
def test_an_oddly_shaped_stream_is_relayed_and_not_kept(choices: str) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        odd = b'{"id": "c", "model": "u", "choices": %b}' % choices.encode()
        stage.network.plan("a.test", sse_answer(delta("Hi"), odd, delta(finish="stop"), b"[DONE]"))
        person = await stage.ask(hello(stream=True))
        assert person.statuses == [200]
        assert person.events[-1] == "[DONE]"
        assert stage.cache is not None
        assert stage.cache.stats.unstored == {("m", "form"): 1}

    scenario()


@staged(KEPT)
async def test_an_oddly_shaped_answer_that_cannot_be_streamed_is_asked_for(stage: Stage) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}, "extra": [1]}]
    message = {"role": "assistant", "content": "Hi", "annotations": [{"calls": calls}]}
    whole = completion(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
    stage.network.plan("a.test", whole, stream("Hi"))
    await stage.ask(hello())

    person, again = await stage.ask(hello(stream=True)), await stage.ask(hello(stream=True))

    assert (cached(person), cached(again)) == ("miss", "hit")
    assert person.events[-1] == "[DONE]"


@staged(KEPT)
async def test_a_stream_that_is_relayed_in_pieces_is_kept_whole(stage: Stage) -> None:
    stage.network.plan("a.test", [begun("a"), b"", begun("b")[len(begun()) :], ended()])
    await stage.ask(hello(stream=True))

    again = await stage.ask(hello())

    assert json.loads(again.last.body)["choices"][0]["message"]["content"] == "ab"


# --- what clients ask of the cache --------------------------------------------------------------


@staged(KEPT)
async def test_no_store_neither_looks_up_nor_keeps(stage: Stage) -> None:
    stage.network.plan("a.test", completion("1"), completion("2"), completion("3"))

    asked = [{"cache-control": "no-store"}, {}, {"cache-control": "No-Store"}, {}]
    found = [cached(await stage.ask(hello(), headers=headers)) for headers in asked]

    assert found == ["bypass", "miss", "bypass", "hit"]
    assert (await stage.records())[0].cache == "bypass"


@staged(KEPT)
async def test_no_cache_asks_the_model_and_keeps_its_answer(stage: Stage) -> None:
    stage.network.plan("a.test", completion("old"), completion("new"))
    await stage.ask(hello())

    fresh = await stage.ask(hello(), headers={"cache-control": "no-cache"})
    after = await stage.ask(hello())

    assert (cached(fresh), cached(after)) == ("miss", "hit")
    assert after.last.body == fresh.last.body


@staged(KEPT)
async def test_an_answer_that_is_older_than_asked_for_is_not_given(stage: Stage) -> None:
    stage.network.plan("a.test", completion("old"), completion("new"))
    await stage.ask(hello())

    young = await stage.ask(hello(), headers={"cache-control": "max-age=60"})
    zero = await stage.ask(hello(), headers={"cache-control": "max-age=0"})

    assert (cached(young), cached(zero)) == ("hit", "miss")


@staged(KEPT)
async def test_only_if_cached_never_asks_the_model(stage: Stage) -> None:
    stage.network.plan("a.test", completion())

    person = await stage.ask(hello(), headers={"cache-control": "only-if-cached"})
    await stage.ask(hello())
    after = await stage.ask(hello(), headers={"cache-control": "only-if-cached"})

    assert (person.statuses, person.error["code"], cached(person)) == ([504], "not_cached", "miss")
    assert cached(after) == "hit"
    assert len(stage.network.requests) == 1
    assert (await stage.records())[0].outcome is Outcome.REFUSED


# --- which requests -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (hello(temperature=1.1), "temperature"),
        (hello(n=2), "choices"),
        (hello(store=True), "state"),
        (hello(tools=[{"type": "web_search"}]), "live"),
        (
            {
                "model": "m",
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "http://x.test/i.png"}}],
                    }
                ],
            },
            "media",
        ),
        (b'{"model": "m", "messages": [{"role": "user", "content": "a"}], "seed": 1, "seed": 2}', "body"),
    ],
)  # fmt: skip
def test_what_may_not_be_kept_is_not_looked_up_either(body: object, reason: str) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        stage.network.plan("a.test", completion(), completion())
        found = [cached(await stage.ask(body)) for _ in range(2)]
        assert found == ["bypass", "bypass"]
        assert stage.cache is not None
        assert stage.cache.stats.bypassed == {("m", reason): 2}

    scenario()


@staged(KEPT)
async def test_an_api_whose_answers_are_not_kept_is_none_of_its_business(stage: Stage) -> None:
    await stage.ask(hello(max_tokens=5), "/v1/messages/count_tokens")

    assert stage.cache is not None
    assert stage.cache.stats.bypassed == {("m", "endpoint"): 1}


@staged(KEPT.replace("models: {", "models: {n: {targets: [{provider: a}]}, "))
async def test_a_model_without_the_option_says_nothing_of_a_cache(stage: Stage) -> None:
    stage.network.plan("a.test", completion(), completion())

    found = [cached(await stage.ask(hello(model="n"))) for _ in range(2)]

    assert found == [None, None]
    assert [record.cache for record in await stage.records()] == ["", ""]


@staged(KEPT)
async def test_beta_features_that_go_upstream_are_part_of_the_question(stage: Stage) -> None:
    stage.network.plan("a.test", completion("plain"), completion("beta"))

    asked = [{}, {"openai-beta": "x=1"}, {"openai-beta": "x=1"}, {}]
    found = [cached(await stage.ask(hello(), headers=headers)) for headers in asked]

    assert found == ["miss", "miss", "hit", "hit"]


@staged(KEPT)
async def test_a_reload_with_another_version_forgets_and_with_the_same_does_not(stage: Stage) -> None:
    stage.network.plan("a.test", completion("1"), completion("2"))
    found = [cached(await stage.ask(hello()))]
    for config in (KEPT, KEPT.replace("cache: {}", "cache: {version: '2'}"), KEPT):
        stage.reload(config)
        found.append(cached(await stage.ask(hello())))

    assert found == ["miss", "hit", "miss", "hit"]


# --- fallbacks and outages ----------------------------------------------------------------------


@staged(
    ONCE.replace("cache: {}", "cache: {}, fallbacks: {any: [n]}").replace(
        "models: {m:", "models: {n: {targets: [{provider: b}]}, m:"
    ).replace("providers: {", 'providers: {b: {type: openai-compatible, base_url: "http://b.test/v1"}, ')
)  # fmt: skip
async def test_another_models_answer_is_not_kept(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(500))
    stage.network.plan("b.test", completion("of another"))

    person = await stage.ask(hello())

    assert (person.statuses, cached(person)) == ([200], "miss")
    assert stage.cache is not None
    assert stage.cache.stats.unstored == {("m", "fallback"): 1}


async def expire(stage: Stage) -> None:
    """Let the only answer's time be over."""
    assert stage.cache is not None
    stage.network.plan("a.test", completion("old"))
    assert cached(await stage.ask(hello())) == "miss"
    began = time.time()
    await stage.until(lambda: time.time() - began > 0.03)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_expired_answer_is_given_when_no_target_answers(streamed: bool) -> None:
    @staged(STALE)
    async def scenario(stage: Stage) -> None:
        await expire(stage)
        stage.network.plan("a.test", refusal(500))
        person = await stage.ask(hello(stream=streamed))
        assert (person.statuses, cached(person)) == ([200], "stale")
        assert "x-fairlead-target" not in person.last.headers
        assert b"old" in person.last.body
        record = (await stage.records())[-1]
        assert (record.cache, record.outcome, record.saved_tokens) == ("stale", Outcome.OK, 7)
        assert [attempt.failure is None for attempt in record.attempts] == [False]

    scenario()


@staged(STALE)
async def test_an_expired_answer_is_not_given_to_who_must_change_the_request(stage: Stage) -> None:
    await expire(stage)
    stage.network.plan("a.test", refusal(400))

    assert (await stage.ask(hello())).statuses == [400]


@staged(STALE)
async def test_an_expired_answer_is_not_given_to_who_wants_a_fresh_one(stage: Stage) -> None:
    await expire(stage)
    stage.network.plan("a.test", refusal(500), refusal(500))

    assert (await stage.ask(hello(), headers={"cache-control": "no-cache"})).last.status == 502
    assert (await stage.ask(hello(), headers={"cache-control": "max-age=9"})).last.status != 200


@staged(STALE.replace(", stale_on_outage_s: 60", ""))
async def test_an_expired_answer_is_not_given_where_the_route_does_not_allow_it(stage: Stage) -> None:
    await expire(stage)
    stage.network.plan("a.test", refusal(500))

    assert (await stage.ask(hello())).last.status == 502


# --- limits -------------------------------------------------------------------------------------


@staged(LIMITED)
async def test_a_kept_answer_counts_as_a_request_and_takes_no_tokens_and_no_money(stage: Stage) -> None:
    key = stage.key(tenant="one").secret
    stage.network.plan("a.test", completion())
    await stage.ask(hello(max_tokens=2), key=key)
    after_miss = {state.limit.id: state.used for state in stage.limiter.show("one")}

    second = await stage.ask(hello(max_tokens=2), key=key)
    after_hit = {state.limit.id: state.used for state in stage.limiter.show("one")}
    third = await stage.ask(hello(max_tokens=2), key=key)
    fourth = await stage.ask(hello(max_tokens=2), key=key)

    assert [cached(person) for person in (second, third)] == ["hit", "hit"]
    assert after_hit["one/usd:month"] == after_miss["one/usd:month"] == 9
    assert after_hit["one/tokens"] <= after_miss["one/tokens"]
    assert after_hit["one/requests"] == 2
    assert second.last.headers["x-ratelimit-remaining-requests"] == "1"
    assert (fourth.statuses, cached(fourth)) == ([429], None)
    assert not any(state.reserved for state in stage.limiter.show("one"))


@staged(LIMITED)
async def test_a_spent_budget_does_not_refuse_what_costs_nothing(stage: Stage) -> None:
    key = stage.key(tenant="one").secret
    many = {"prompt_tokens": 60, "completion_tokens": 2, "total_tokens": 62}
    stage.network.plan("a.test", completion(usage=many))
    # It reserves less than it turns out to cost.
    assert (await stage.ask(hello(max_tokens=1), key=key)).statuses == [200]

    refused = await stage.ask(hello(max_tokens=1, seed=1), key=key)
    kept = await stage.ask(hello(max_tokens=1), key=key)

    assert (refused.statuses, refused.error["code"]) == ([429], "budget_exceeded")
    assert (kept.statuses, cached(kept)) == ([200], "hit")


# --- embeddings ---------------------------------------------------------------------------------


@staged(KEPT)
async def test_embeddings_are_given_in_the_encoding_that_is_asked_for(stage: Stage) -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
    body = {
        "object": "list",
        "data": [vector],
        "model": "up",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
    stage.network.plan("a.test", answer(json.dumps(body).encode()))
    request = {"model": "m", "input": "Hello"}

    first = await stage.ask(request, EMBEDDINGS)
    coded = await stage.ask({**request, "encoding_format": "base64"}, EMBEDDINGS)
    plain = await stage.ask({**request, "encoding_format": "float"}, EMBEDDINGS)

    assert [cached(person) for person in (first, coded, plain)] == ["miss", "hit", "hit"]
    assert json.loads(coded.last.body)["data"][0]["embedding"] == "AAAAPwAAgL4="
    assert json.loads(plain.last.body)["data"][0]["embedding"] == [0.5, -0.25]


# --- purging ------------------------------------------------------------------------------------


@staged(KEPT)
async def test_what_was_purged_is_asked_again(stage: Stage) -> None:
    stage.network.plan("a.test", completion(), completion())
    await stage.ask(hello())
    assert stage.cache is not None

    done = await stage.cache.purge(Purge(before=time.time() + 1, model="m"))

    assert done["memory"].entries == 1
    assert cached(await stage.ask(hello(), CHAT)) == "miss"


# --- GPU time -----------------------------------------------------------------------------------


@staged(KEPT)
async def test_a_hit_saves_the_gpu_time_that_its_answer_took(stage: Stage) -> None:
    caching = stage.pipeline.caching
    assert caching is not None
    caching.gpu_seconds = lambda target, usage: usage.output_tokens * 0.5 if target == "a/*" else 0.0
    stage.network.plan("a.test", completion("Hi"))
    await stage.ask(hello())
    await stage.ask(hello())
    miss, hit = await stage.records()
    assert (miss.saved_gpu_s, hit.saved_gpu_s) == (0.0, 1.0)
    assert stage.cache is not None
    assert stage.cache.stats.hits["memory", "default", "m"].gpu_s == 1.0
