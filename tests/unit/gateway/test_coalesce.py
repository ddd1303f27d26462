"""The same request at the same time: one call to the model, whoever comes and goes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.unit.gateway.stage import (
    CHAT,
    DROP,
    ONE,
    Person,
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
)

from fairlead.testing import answer, sse_event
from fairlead.types import Outcome

KEPT = ONE.replace("[{provider: a}]", "[{provider: a}], cache: {}")
ONCE = KEPT + "outages: {retry: {max_attempts: 1}}\n"
PRICED = KEPT.replace("{provider: a}", "{provider: a, input_usd_per_mtok: 1, output_usd_per_mtok: 2}")
ALONE = KEPT.replace("cache: {}", "cache: {coalesce: false}")
KEYS = KEPT.replace("required: false", "required: true")
EMBEDDINGS = "/v1/embeddings"


def cached(person: Person) -> str | None:
    return person.last.headers.get("x-fairlead-cache")


def text_of(person: Person) -> str:
    """The text of a stream so far."""
    return "".join(
        choice["delta"].get("content") or ""
        for event in person.events
        if event != "[DONE]"
        for choice in event["choices"]
    )


def more(*texts: str) -> bytes:
    """Events in the middle of a stream."""
    return b"".join(sse_event(delta(text)) for text in texts)


async def arrive(stage: Stage, *pieces: Any, peer: int = 0) -> None:
    """The upstream sends on its first connection, or another one."""
    stage.network.peers[peer].send(*pieces)
    await stage.settle()


# --- sharing ------------------------------------------------------------------------------------


@staged(PRICED)
async def test_whole_answers_are_shared_and_counted_once(stage: Stage) -> None:
    people = [await stage.ask(hello()) for _ in range(5)]
    assert len(stage.network.requests) == 1
    assert not any(person.answers for person in people)

    await arrive(stage, completion("Hi"))

    assert [cached(person) for person in people] == ["miss", *["coalesced"] * 4]
    assert {person.last.body for person in people} == {people[0].last.body}
    assert len({person.last.headers["x-request-id"] for person in people}) == 5
    assert "x-fairlead-target" in people[0].last.headers
    assert "x-fairlead-target" not in people[1].last.headers
    lead, *others = sorted(await stage.records(), key=lambda record: record.id)
    assert (lead.cache, lead.cost_microusd, lead.saved_microusd, lead.saved_tokens) == ("miss", 9, None, 0)
    for record in others:
        assert (record.cache, record.cost_microusd, record.saved_microusd) == ("coalesced", None, 9)
        assert (record.outcome, record.status, record.saved_tokens, record.attempts) == (
            Outcome.OK,
            200,
            7,
            (),
        )
    assert stage.cache is not None
    tally = stage.cache.stats.hits["coalesced", "default", "m"]
    assert (tally.hits, tally.cost_microusd) == (4, 36)
    assert stage.cache.stats.misses["default", "m"] == 1
    assert cached(await stage.ask(hello())) == "hit"


@staged(KEPT)
async def test_a_stream_is_caught_up_with_and_then_followed_live(stage: Stage) -> None:
    ask = hello(stream=True)
    first = await stage.ask(ask)
    await arrive(stage, begun("one ", "two "))
    late = await stage.ask(ask)
    assert (text_of(first), text_of(late)) == ("one two ", "one two ")

    await arrive(stage, more("three "))
    assert (text_of(first), text_of(late)) == ("one two three ", "one two three ")
    later = await stage.ask(ask)

    await arrive(stage, ended(3))
    for person in (first, late, later):
        assert person.events[-1] == "[DONE]"
        assert text_of(person) == "one two three "
        assert person.last.complete
    assert [cached(person) for person in (first, late, later)] == ["miss", "coalesced", "coalesced"]
    assert len(stage.network.requests) == 1
    records = await stage.records()
    assert all(record.first_token_s > 0 for record in records)


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_who_wants_it_whole_waits_for_the_end_of_a_stream(path: str) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        streamed = await stage.ask(asking(path, stream=True), path)
        whole = await stage.ask(asking(path), path)
        again = await stage.ask(asking(path), path)
        await arrive(stage, begun("Hel"))
        assert not whole.answers
        await arrive(stage, more("lo"), ended())
        assert cached(streamed) == "miss"
        assert cached(whole) == cached(again) == "coalesced"
        assert b"Hello" in whole.last.body
        assert json.loads(whole.last.body) == json.loads(again.last.body)
        assert len(stage.network.requests) == 1

    scenario()


@pytest.mark.parametrize("include_usage", [True, False])
def test_who_wants_a_stream_of_a_whole_answer_gets_one(include_usage: bool) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        whole = await stage.ask(hello())
        streamed = await stage.ask(hello(stream=True, stream_options={"include_usage": include_usage}))
        await arrive(stage, completion("Hello"))
        assert json.loads(whole.last.body)["choices"][0]["message"]["content"] == "Hello"
        assert text_of(streamed) == "Hello"
        told = [event for event in streamed.events if event != "[DONE]" and event.get("usage")]
        assert len(told) == include_usage
        assert cached(streamed) == "coalesced"

    scenario()


@staged(KEPT)
async def test_usage_is_told_to_those_who_asked_for_it_alone(stage: Stage) -> None:
    plain = await stage.ask(hello(stream=True))
    told = await stage.ask(hello(stream=True, stream_options={"include_usage": True}))
    await arrive(stage, begun("Hi"), ended(1))
    assert text_of(plain) == text_of(told) == "Hi"
    assert [event["usage"]["completion_tokens"] for event in told.events[:-1] if event.get("usage")] == [1]
    assert not any(event.get("usage") for event in plain.events[:-1])


@staged(KEPT)
async def test_embeddings_come_in_the_encoding_that_each_asks_for(stage: Stage) -> None:
    body = {"model": "m", "input": "text"}
    plain = await stage.ask(body, EMBEDDINGS)
    packed = await stage.ask({**body, "encoding_format": "base64"}, EMBEDDINGS)
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    await arrive(stage, answer(json.dumps({"object": "list", "data": data, "usage": usage}).encode()))
    assert json.loads(plain.last.body)["data"][0]["embedding"] == [0.5, -1.0]
    assert isinstance(json.loads(packed.last.body)["data"][0]["embedding"], str)
    assert len(stage.network.requests) == 1


@staged(KEYS)
async def test_tenants_share_nothing(stage: Stage) -> None:
    one, two = stage.key(tenant="one"), stage.key(tenant="two")
    await stage.ask(hello(), key=one.secret)
    await stage.ask(hello(), key=two.secret)
    assert len(stage.network.requests) == 2


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (hello(temperature=0.5), {}),
        (hello(), {"cache-control": "no-cache"}),
        (hello(), {"cache-control": "no-store"}),
        (hello(), {"cache-control": "max-age=5"}),
    ],
)
def test_who_asks_something_else_goes_its_own_way(body: Any, headers: Mapping[str, str]) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        await stage.ask(hello())
        await stage.ask(body, headers=headers)
        assert len(stage.network.requests) == 2

    scenario()


@staged(ALONE)
async def test_a_route_can_do_without(stage: Stage) -> None:
    await stage.ask(hello())
    await stage.ask(hello())
    assert len(stage.network.requests) == 2


# --- leaving ------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("begins", [True, False])
def test_the_call_goes_on_when_who_began_it_leaves(streams: bool, begins: bool) -> None:
    @staged(PRICED)
    async def scenario(stage: Stage) -> None:
        first = await stage.ask(hello(stream=streams))
        second = await stage.ask(hello(stream=streams))
        if streams and begins:
            await arrive(stage, begun("Hel"))
        first.leave()
        await stage.settle()
        assert not stage.network.peers[0].closed
        assert await stage.records() == []
        if not streams:
            await arrive(stage, completion("Hello"))
        elif begins:
            await arrive(stage, more("lo"), ended())
        else:
            await arrive(stage, begun("Hel", "lo"), ended())
        body = second.last.body
        assert text_of(second) == "Hello" if streams else b"Hello" in body
        lead, other = sorted(await stage.records(), key=lambda record: record.id)
        assert lead.outcome is Outcome.CLIENT_GONE
        assert lead.status == (200 if streams and begins else 499)
        assert (lead.cost_microusd, other.cost_microusd, other.saved_microusd) == (9, None, 9)
        assert other.outcome is Outcome.OK
        assert cached(await stage.ask(hello())) == "hit"

    scenario()


@pytest.mark.parametrize("streams", [True, False])
def test_when_everybody_has_left_the_call_ends(streams: bool) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        people = [await stage.ask(hello(stream=streams)) for _ in range(3)]
        if streams:
            await arrive(stage, begun("Hel"))
        for person in people:
            assert not stage.network.peers[0].closed
            person.leave()
            await stage.settle()
        assert stage.network.peers[0].closed
        assert [record.outcome for record in await stage.records()] == [Outcome.CLIENT_GONE] * 3
        stage.network.plan("a.test", completion("new"))
        assert b"new" in (await stage.ask(hello())).last.body

    scenario()


@staged(KEPT)
async def test_a_reader_that_is_slow_delays_nobody_and_gets_all(stage: Stage) -> None:
    first = await stage.ask(hello(stream=True))
    slow = await stage.ask(hello(stream=True))
    await arrive(stage, begun("a"))
    slow.protocol.pause_writing()
    texts = [f"{number:05d} " * 100 for number in range(200)]
    for text in texts:
        await arrive(stage, more(text))
    await arrive(stage, ended())
    assert first.last.complete
    assert not slow.last.complete
    slow.protocol.resume_writing()
    await stage.settle()
    assert slow.last.complete
    assert text_of(slow) == text_of(first) == "a" + "".join(texts)


@staged(KEPT)
async def test_a_stream_too_long_to_be_kept_is_not_joined_late_and_does_not_wait_for_the_slowest(
    stage: Stage,
) -> None:
    assert stage.cache is not None
    room = 2 * stage.cache.max_entry_bytes
    first = await stage.ask(hello(stream=True))
    slow = await stage.ask(hello(stream=True))
    await arrive(stage, begun("a"))
    slow.protocol.pause_writing()
    for _ in range(3 * room // 10_000):
        await arrive(stage, more("x" * 10_000))
    late = await stage.ask(hello(stream=True))
    assert len(stage.network.requests) == 2
    await arrive(stage, ended())
    assert first.last.complete
    slow.protocol.resume_writing()
    await stage.settle()
    error = slow.events[-2] if slow.events[-1] == "[DONE]" else slow.events[-1]
    assert "too slowly" in error["error"]["message"]
    late.leave()
    await stage.settle()


# --- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [True, False])
def test_when_the_call_fails_the_others_ask_for_themselves(streams: bool) -> None:
    @staged(ONCE)
    async def scenario(stage: Stage) -> None:
        first, second, third = [await stage.ask(hello(stream=streams)) for _ in range(3)]
        whole = stream("mine") if streams else completion("mine")
        stage.network.plan("a.test", whole, whole)
        await arrive(stage, refusal(500))
        assert first.last.status == 502
        for person in (second, third):
            assert person.last.status == 200
            assert b"mine" in person.last.body
            assert cached(person) == "miss"
        assert len(stage.network.requests) == 3

    scenario()


@staged(ONCE)
async def test_a_stream_that_is_cut_is_told_to_those_who_have_the_beginning(stage: Stage) -> None:
    ask = hello(stream=True)
    first, second = await stage.ask(ask), await stage.ask(ask)
    whole = await stage.ask(hello())
    await arrive(stage, begun("Hel"))
    stage.network.plan("a.test", completion("whole"))
    await arrive(stage, DROP)
    for person in (first, second):
        assert "error" in next(event for event in reversed(person.events) if event != "[DONE]")
    # Who was sent nothing fails over.
    assert b"whole" in whole.last.body
    outcomes = sorted((record.outcome, record.cache) for record in await stage.records())
    assert outcomes == sorted([(Outcome.CUT, "miss"), (Outcome.CUT, "coalesced"), (Outcome.OK, "miss")])


@staged(ONCE)
async def test_the_patience_of_one_is_not_that_of_others(stage: Stage) -> None:
    hasty = await stage.ask(hello(), headers={"x-stainless-timeout": "0.05"})
    patient = await stage.ask(hello())
    await stage.until(lambda: hasty.answers)
    assert hasty.last.status == 504
    assert not patient.answers
    await arrive(stage, completion("Hi"))
    assert patient.last.status == 200
    assert len(stage.network.requests) == 1


LIMITED = (
    PRICED.replace("required: false", "required: true")
    + "tenants: {one: {limits: {requests_per_minute: 3, budgets: [{usd: 1, per: month}]}}}\n"
)


@staged(LIMITED)
async def test_sharing_counts_as_a_request_and_costs_nothing(stage: Stage) -> None:
    key = stage.key(tenant="one")
    for _ in range(3):
        await stage.ask(hello(), key=key.secret)
    fourth = await stage.ask(hello(), key=key.secret)
    assert fourth.last.status == 429
    await arrive(stage, completion("Hi"))
    (budget,) = [
        state
        for state in stage.limiter.store.look(stage.limiter.path("one", key.key.id, "", "m").limits)
        if state.limit.what == "usd"
    ]
    assert (budget.used, budget.reserved) == (9, 0)


@staged(LIMITED.replace("requests_per_minute: 3", "requests_per_minute: 1"))
async def test_a_leader_that_its_limits_refuse_refuses_itself_alone(stage: Stage) -> None:
    key = stage.key(tenant="one")
    stage.network.plan("a.test", completion("Hi"))
    assert (await stage.ask(hello(temperature=0), key=key.secret)).last.status == 200
    assert (await stage.ask(hello(), key=key.secret)).last.status == 429
    assert stage.pipeline.caching is not None
    assert len(stage.pipeline.caching.flights) == 0
