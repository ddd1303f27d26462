"""Requests that the gateway makes for itself."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.gateway.stage import DROP, HANG, TWO, Stage, completion, refusal, staged

from fairlead.errors import FairleadError, ModelNotFound, UpstreamTimeout
from fairlead.gateway.internal import TENANT, Internal
from fairlead.types import Outcome

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()
PRICED = TWO.replace("{provider: a}", "{provider: a, input_usd_per_mtok: 1, output_usd_per_mtok: 2}")
FALLBACK = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models:
  m: {targets: [{provider: a}], fallbacks: {any: [n]}}
  n: {targets: [{provider: b}]}
outages: {retry: {max_attempts: 1}}
"""


def internal(stage: Stage) -> Internal:
    return Internal(stage.table, stage.pipeline.dispatch, stage.recorder.emit)


@staged(PRICED)
async def test_it_is_answered_recorded_and_charged_to_nobody(stage: Stage) -> None:
    stage.network.plan("a.test", completion("Hi"))

    reply = await internal(stage).ask("m", "chat", BODY, timeout_s=5, extra=b"openai-beta: x\r\n")

    assert json.loads(reply.body)["choices"][0]["message"]["content"] == "Hi"
    assert reply.cost_microusd == 9
    record = await stage.record()
    assert (record.tenant, record.key_id, record.model, record.outcome) == (TENANT, "", "m", Outcome.OK)
    assert record.cost_microusd == 9
    assert stage.network.requests[0].headers[b"openai-beta"] == b"x"


@staged(TWO)
async def test_a_target_that_fails_is_followed_by_the_next(stage: Stage) -> None:
    stage.network.plan("a.test", (DROP,))
    stage.network.plan("b.test", completion("Hi"))

    reply = await internal(stage).ask("m", "chat", BODY, timeout_s=5)

    assert b"Hi" in reply.body
    assert len((await stage.record()).attempts) == 2


@staged(FALLBACK)
async def test_a_fallback_of_another_model_is_no_answer(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(500))
    stage.network.plan("b.test", completion("Hi"))

    with pytest.raises(FairleadError, match="fallback"):
        await internal(stage).ask("m", "chat", BODY, timeout_s=5)

    assert (await stage.record()).outcome is not Outcome.OK


@staged(TWO)
async def test_one_that_hangs_is_given_up_and_gives_its_place_back(stage: Stage) -> None:
    stage.network.plan("a.test", HANG)

    with pytest.raises(UpstreamTimeout):
        await internal(stage).ask("m", "chat", BODY, timeout_s=0.01)

    assert (await stage.record()).outcome is Outcome.FAILED


@staged(TWO)
async def test_who_asks_may_leave(stage: Stage) -> None:
    stage.network.plan("a.test", HANG)
    task = asyncio.ensure_future(internal(stage).ask("m", "chat", BODY, timeout_s=5))
    await stage.settle()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert task.cancelled()
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


@staged(TWO)
async def test_a_model_that_is_not_there_is_told(stage: Stage) -> None:
    with pytest.raises(ModelNotFound):
        await internal(stage).ask("other", "chat", BODY, timeout_s=5)
