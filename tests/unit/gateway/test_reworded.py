"""The same request by OpenAI's and by Anthropic's SDK has one answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.gateway.stage import CHAT, ONE, Person, Stage, completion, staged, stream

KEPT = ONE.replace("[{provider: a}]", "[{provider: a}], cache: {}")
APART = KEPT.replace("cache: {}", "cache: {share_dialects: false}")
MESSAGES = "/v1/messages"
CHATS: dict[str, Any] = {
    "model": "m",
    "max_tokens": 50,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
}
MESSAGE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 50,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Hello"}],
}


def cached(person: Person) -> str | None:
    return person.last.headers.get("x-fairlead-cache")


@staged(KEPT)
async def test_an_answer_to_openais_client_is_one_to_anthropics(stage: Stage) -> None:
    stage.network.plan("a.test", completion("Hello!"))
    await stage.ask(CHATS)

    whole = await stage.ask(MESSAGE, MESSAGES)
    assert cached(whole) == "hit"
    body = json.loads(whole.last.body)
    assert body["content"] == [{"type": "text", "text": "Hello!"}]
    assert (body["type"], body["stop_reason"]) == ("message", "end_turn")
    assert (body["usage"]["input_tokens"], body["usage"]["output_tokens"]) == (5, 2)

    streamed = await stage.ask({**MESSAGE, "stream": True}, MESSAGES)
    assert cached(streamed) == "hit"
    kinds = [event["type"] for event in streamed.events]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert streamed.events[-2]["delta"]["stop_reason"] == "end_turn"
    assert len(stage.network.requests) == 1
    assert [record.saved_tokens for record in await stage.records()] == [0, 7, 7]


@staged(KEPT)
async def test_an_answer_to_anthropics_client_is_one_to_openais(stage: Stage) -> None:
    stage.network.plan("a.test", stream("Hel", "lo!"))
    await stage.ask({**MESSAGE, "stream": True}, MESSAGES)

    person = await stage.ask(CHATS)
    assert cached(person) == "hit"
    body = json.loads(person.last.body)
    assert body["choices"][0]["message"]["content"] == "Hello!"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == 7
    assert len(stage.network.requests) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"max_tokens": 51},
        {"temperature": 0.5},
        {"system": "Be long."},
        {"messages": [{"role": "user", "content": "Hello?"}]},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
        {"top_k": 5},
        {"model": "n"},
    ],
)
def test_what_changes_the_answer_in_either_dialect_is_another_request(changed: dict[str, Any]) -> None:
    two = KEPT.replace("models: {", "models: {n: {targets: [{provider: a}], cache: {}}, ")

    @staged(two)
    async def scenario(stage: Stage) -> None:
        stage.network.plan("a.test", completion("one"), completion("two"))
        await stage.ask(CHATS)
        await stage.ask({**MESSAGE, **changed}, MESSAGES)
        assert len(stage.network.requests) == 2

    scenario()


@staged(KEPT)
async def test_what_only_one_dialect_can_say_is_not_shared(stage: Stage) -> None:
    stage.network.plan("a.test", completion("one"), completion("two"))
    await stage.ask({**CHATS, "logit_bias": {"1": 5}})
    await stage.ask(MESSAGE, MESSAGES)
    assert len(stage.network.requests) == 2


@staged(APART)
async def test_a_model_can_keep_dialects_apart(stage: Stage) -> None:
    stage.network.plan("a.test", completion("one"), completion("two"))
    await stage.ask(CHATS)
    await stage.ask(MESSAGE, MESSAGES)
    assert len(stage.network.requests) == 2


@staged(KEPT.replace("required: false", "required: true"))
async def test_tenants_do_not_share_across_dialects_either(stage: Stage) -> None:
    one, two = stage.key(tenant="one"), stage.key(tenant="two")
    stage.network.plan("a.test", completion("one"), completion("two"))
    await stage.ask(CHATS, CHAT, key=one.secret)
    person = await stage.ask(MESSAGE, MESSAGES, key=two.secret)
    assert cached(person) == "miss"
    assert len(stage.network.requests) == 2
