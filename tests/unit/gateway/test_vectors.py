"""Batches of texts to embed: what is known is not asked for again, and every answer is whole and in order."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.stage import ONE, Person, Stage, refusal, staged

from fairlead.testing import answer

PATH = "/v1/embeddings"
KEPT = ONE.replace("[{provider: a}]", "[{provider: a, input_usd_per_mtok: 1000}], cache: {}")
ONCE = KEPT + "outages: {retry: {max_attempts: 1}}\n"
STALE = ONCE.replace("cache: {}", "cache: {ttl_s: 0.02, stale_on_outage_s: 60}")
FALLBACK = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models:
  m: {targets: [{provider: a}], cache: {}, fallbacks: {any: [n]}}
  n: {targets: [{provider: b}]}
outages: {retry: {max_attempts: 1}}
"""
WORDS = st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee"])


def vector(text: str, salt: float = 0.0) -> list[float]:
    """What the upstream makes of a text: 32-bit floats."""
    return [len(text) + salt, 0.5, float(ord(text[0]))]


def made(texts: Sequence[str], *, salt: float = 0.0, tokens: int | None = None) -> bytes:
    data = [
        {"object": "embedding", "index": index, "embedding": vector(text, salt)}
        for index, text in enumerate(texts)
    ]
    count = sum(map(len, texts)) if tokens is None else tokens
    usage = {"prompt_tokens": count, "total_tokens": count}
    return answer(json.dumps({"object": "list", "data": data, "model": "up", "usage": usage}).encode())


async def ask(stage: Stage, texts: object, **more: Any) -> Person:
    headers = more.pop("headers", None)
    return await stage.ask({"model": "m", "input": texts, **more}, PATH, headers=headers)


def told(person: Person) -> tuple[list[list[float]], int, str]:
    """Vectors in order, tokens, and what the cache did."""
    body = json.loads(person.last.body)
    assert [one["index"] for one in body["data"]] == list(range(len(body["data"])))
    vectors = [
        list(struct.unpack(f"<{len(raw) // 4}f", raw))
        if isinstance(one["embedding"], str) and (raw := base64.b64decode(one["embedding"]))
        else one["embedding"]
        for one in body["data"]
    ]
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"]
    return vectors, body["usage"]["prompt_tokens"], person.last.headers["x-fairlead-cache"]


def asked(stage: Stage) -> list[Any]:
    return [request.json["input"] for request in stage.network.requests]


@staged(KEPT)
async def test_of_a_batch_only_what_is_not_known_is_asked_for(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a", "bb"]), made(["ccc", "dddd"]))
    await ask(stage, ["a", "bb"])
    batch = await ask(stage, ["ccc", "a", "dddd", "bb"])
    again = await ask(stage, ["dddd", "ccc"], encoding_format="base64")

    texts = ["ccc", "a", "dddd", "bb"]
    assert told(batch) == (list(map(vector, texts)), 10, "miss")
    assert told(again) == ([vector("dddd"), vector("ccc")], 7, "hit")
    assert asked(stage) == [["a", "bb"], ["ccc", "dddd"]]
    first, second, third = await stage.records()
    assert (first.cost_microusd, first.saved_tokens) == (3000, 0)
    assert (second.cost_microusd, second.saved_tokens, second.saved_microusd) == (7000, 3, 3000)
    assert (third.cost_microusd, third.saved_tokens, third.saved_microusd) == (None, 7, 7000)
    assert second.usage.input_tokens == 7
    assert stage.cache is not None
    assert stage.cache.stats.misses["default", "m"] == 4
    assert stage.cache.stats.hits["memory", "default", "m"].hits == 4


@staged(KEPT)
async def test_the_same_text_is_asked_for_once_and_answered_wherever_it_stands(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a", "bb"], tokens=3))
    person = await ask(stage, ["a", "bb", "a", "a"])
    assert asked(stage) == [["a", "bb"]]
    assert told(person)[0] == [vector("a"), vector("bb"), vector("a"), vector("a")]


@staged(KEPT)
async def test_a_text_alone_and_in_a_list_is_the_same(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a"]))
    alone = await ask(stage, "a")
    assert told(await ask(stage, ["a"])) == (told(alone)[0], 1, "hit")


@staged(KEPT)
async def test_tokens_are_inputs_too(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a"]), made(["bb"]))
    await ask(stage, [1, 2])
    both = await ask(stage, [[3], [1, 2]])
    assert asked(stage) == [[1, 2], [[3]]]
    assert told(both)[0] == [vector("bb"), vector("a")]


@pytest.mark.parametrize("more", [{"dimensions": 2}, {"headers": {"cache-control": "no-cache"}}])
def test_another_question_about_the_same_texts_is_asked(more: dict[str, Any]) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        stage.network.plan("a.test", made(["a"]), made(["a"], salt=1))
        await ask(stage, ["a"])
        assert told(await ask(stage, ["a"], **more))[0] == [vector("a", 1)]

    scenario()


@staged(KEPT)
async def test_only_if_cached_asks_for_nothing(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a"]))
    await ask(stage, ["a"])
    headers = {"cache-control": "only-if-cached"}
    assert told(await ask(stage, ["a"], headers=headers))[2] == "hit"
    assert (await ask(stage, ["a", "bb"], headers=headers)).last.status == 504
    assert len(stage.network.requests) == 1


@staged(FALLBACK)
async def test_vectors_of_two_models_never_meet(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a"]), refusal(500), refusal(500))
    stage.network.plan("b.test", made(["bb"], salt=9), made(["a", "bb"], salt=9), made(["bb"], salt=9))
    await ask(stage, ["a"])
    both = await ask(stage, ["a", "bb"])
    assert told(both)[0] == [vector("a", 9), vector("bb", 9)]
    # What the fallback has made is not kept.
    assert told(await ask(stage, ["bb"]))[2] == "miss"


@staged(ONCE)
async def test_an_answer_with_too_few_vectors_is_no_answer(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a"]), made(["bb"]))
    await ask(stage, ["a"])
    person = await ask(stage, ["a", "bb", "ccc"])
    assert person.last.status == 502
    assert "1 of 2 inputs" in person.error["message"]


@staged(STALE)
async def test_in_an_outage_expired_vectors_are_given_when_all_are_there(stage: Stage) -> None:
    stage.network.plan("a.test", made(["a", "bb"]), refusal(500), refusal(500))
    await ask(stage, ["a", "bb"])
    await asyncio.sleep(0.03)
    assert told(await ask(stage, ["bb", "a"])) == ([vector("bb"), vector("a")], 3, "stale")
    assert (await ask(stage, ["a", "ccc"])).last.status in (502, 503)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=6), min_size=1, max_size=6))
def test_whatever_was_asked_before_every_answer_is_that_of_the_model(batches: list[list[str]]) -> None:
    @staged(KEPT)
    async def scenario(stage: Stage) -> None:
        known: set[str] = set()
        for batch in batches:
            missing = [text for text in dict.fromkeys(batch) if text not in known]
            if missing:
                stage.network.plan("a.test", made(missing))
            vectors, tokens, cached = told(await ask(stage, batch))
            assert vectors == list(map(vector, batch))
            if missing == batch:
                # Otherwise each text counts with its part of the batch that it first came in.
                assert tokens == sum(map(len, batch))
            assert cached == ("miss" if missing else "hit")
            known.update(batch)

    scenario()
