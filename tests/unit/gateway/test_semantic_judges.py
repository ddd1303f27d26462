"""Vectors and verdicts that the gateway's own models give."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.gateway.stage import Request, Stage, completion, refusal, staged

from fairlead import config as cfg
from fairlead.cache.semantic.budget import Budget
from fairlead.cache.semantic.embed import Remote, WrongVectors
from fairlead.cache.semantic.guarded import Guarded
from fairlead.cache.semantic.judge import Answers, Step, Verdict
from fairlead.cache.trouble import Trouble
from fairlead.errors import FairleadError
from fairlead.gateway.internal import Internal
from fairlead.gateway.semantic_judges import Comparer, Vectors
from fairlead.testing import answer

CONFIG = """\
auth: {required: false}
providers:
  e: {type: openai-compatible, base_url: "http://e.test/v1"}
  j: {type: openai-compatible, base_url: "http://j.test/v1"}
models:
  vectors: {targets: [{provider: e}]}
  judge: {targets: [{provider: j, input_usd_per_mtok: 1, output_usd_per_mtok: 2}]}
outages: {retry: {max_attempts: 1}, breaker: {enabled: false}}
"""
DIFFER = Answers(question="q", cached="It is so.", fresh="So it is, one may say.")


def internal(stage: Stage) -> Internal:
    return Internal(stage.table, stage.pipeline.dispatch, stage.recorder.emit)


def comparer(stage: Stage, budget: Budget | None = None, **options: Any) -> Comparer:
    made = internal(stage)
    embedder = Guarded(
        Remote("vectors", 2, lambda texts: Vectors(made).ask("vectors", texts)), Trouble(), clock=lambda: 0.0
    )
    return Comparer(
        cfg.SemanticJudge(**options),
        made,
        embedder,
        budget or Budget(per_hour=10, microusd_per_day=1000),
        pauses_s=(0.0,),
    )


def judge(verdict: str) -> Callable[[Request], bytes]:
    def reply(request: Request) -> bytes:
        check = request.json["messages"][0]["content"].rpartition('{"check": "')[2].partition('"')[0]
        return completion(json.dumps({"check": check, "verdict": verdict}))

    return reply


def embeddings(*vectors: list[float], backwards: bool = False) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return answer(json.dumps({"data": data[::-1] if backwards else data}).encode())


@staged(CONFIG)
async def test_vectors_come_in_the_order_of_their_texts(stage: Stage) -> None:
    stage.network.plan("e.test", embeddings([1.0, 0.0], [0.0, 1.0], backwards=True))
    assert await Vectors(internal(stage)).ask("vectors", ["a", "b"]) == [[1.0, 0.0], [0.0, 1.0]]


@staged(CONFIG)
async def test_what_is_no_list_of_vectors_is_refused(stage: Stage) -> None:
    stage.network.plan(
        "e.test", answer(b'{"data": [{"index": 0, "embedding": "AAAA"}]}'), answer(b'{"data": 5}')
    )
    for _ in range(2):
        with pytest.raises((WrongVectors, FairleadError)):
            await Vectors(internal(stage)).ask("vectors", ["a"])


@pytest.mark.parametrize(("said", "same"), [("same", True), ("different", False), ("unsure", False)])
def test_the_judge_is_asked_last_and_widens_the_bound(said: str, same: bool) -> None:
    @staged(CONFIG)
    async def scenario(stage: Stage) -> None:
        stage.network.scripts["j.test"] = judge(said)
        budget = Budget(per_hour=10, microusd_per_day=1000)
        one = comparer(stage, budget, model="judge", missed_share=0.2)

        equal = await one.compare(Answers(question="q", cached="Yes.", fresh="yes"))
        found = await one.compare(DIFFER)

        assert equal == Verdict(same=True, step=Step.EXACT, missed=0.0)
        assert (found.same, found.missed) == (same, 0.2 if same else 0.0)
        assert len(stage.network.requests) == 1
        assert budget.spent.microusd == 9

    scenario()


@staged(CONFIG)
async def test_vectors_decide_where_they_are_clear_and_the_answers_are_short(stage: Stage) -> None:
    one = comparer(stage, same_above=0.95, different_below=0.5)
    replies = iter([[1.0, 0.0], [1.0, 0.01], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.8]])
    stage.network.scripts["e.test"] = lambda request: embeddings(next(replies))

    steps = [await one.compare(DIFFER) for _ in range(3)]
    long = await one.compare(Answers(question="q", cached="a" * 2000, fresh="a" * 2000 + "b"))

    assert [(verdict.same, verdict.step) for verdict in steps] == [
        (True, Step.EMBEDDING),
        (False, Step.EMBEDDING),
        (False, Step.NONE),
    ]
    assert (long.same, long.step) == (False, Step.NONE)


@staged(CONFIG)
async def test_a_judge_that_fails_is_asked_again_and_then_left_alone(stage: Stage) -> None:
    one = comparer(stage, model="judge")
    stage.network.plan("j.test", refusal(500), refusal(500))

    assert one.affords(0.0, spare=False)
    found = await one.compare(DIFFER)

    assert (found.same, found.step) == (False, Step.NONE)
    assert len(stage.network.requests) == 2
    assert not one.affords(0.0, spare=False)


@staged(CONFIG)
async def test_without_a_judge_nothing_has_to_be_afforded(stage: Stage) -> None:
    budget = Budget(per_hour=1, microusd_per_day=0)
    one = comparer(stage, budget)
    assert all(one.affords(0.0, spare=True) for _ in range(9))
    judged = comparer(stage, budget, model="judge")
    assert judged.affords(0.0, spare=False)
    assert not judged.affords(0.0, spare=False)
