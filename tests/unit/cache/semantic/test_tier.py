"""The tier of a process: its share of a promise, its budget, its work in the background."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.unit.cache.semantic.known import known, vector

from fairlead.cache.semantic.audit import Rules, State
from fairlead.cache.semantic.store import Store
from fairlead.cache.semantic.tier import SemanticTier
from fairlead.cache.trouble import Trouble


def tier(workers: int = 1, **options: int) -> SemanticTier:
    return SemanticTier(Store(100_000), Trouble(lambda: 0.0), workers=workers, **options)


def test_workers_share_the_error_probability_and_the_budget() -> None:
    alone, one_of_four = tier(), tier(4)
    rules = Rules(max_false_hit_rate=0.1, audits_per_hour=100)
    for each in (alone, one_of_four):
        watch = each.watch("m", "e", rules)
        for _ in range(40):
            watch.verified(0.99, right=True, hit=False)

    assert alone.watch("m", "e", rules).state is State.ACTIVE
    assert one_of_four.watch("m", "e", rules).state is State.LEARNING
    assert one_of_four.watch("m", "e", rules).rules.audits_per_hour == 25
    budget = one_of_four.budget("m", per_hour=100, microusd_per_day=100)
    assert budget.allows(25, 0.0)
    assert not budget.allows(26, 0.0)
    assert one_of_four.budget("m", per_hour=400, microusd_per_day=400) is budget
    assert budget.allows(100, 0.0)


def test_models_that_have_the_tier_no_more_are_not_published() -> None:
    one = tier()
    one.watch("m", "e", Rules())
    one.watch("n", "e", Rules())
    one.unwatch({"n"})
    assert [name for name, _ in one.statuses()] == ["n"]


def test_a_vector_of_another_size_is_counted_and_left_out() -> None:
    one = tier()
    one.keep(known(1), vector(1, 0))
    one.keep(known(2), vector(1, 0, 0))
    assert len(one.store) == 1
    assert one.trouble.counts == {("embedder", "wrong"): 1}


def test_what_leaves_takes_what_was_learned_of_it_along() -> None:
    one = tier()
    one.keep(known(1), vector(1, 0))
    one.verifier("e").model._entries[known(1).key.hex()] = (0.1, 0.1)
    one.lost(known(1))
    assert len(one.store) == 0
    assert one.verifier("e").model.saved().entries == {}


def test_more_work_than_fits_is_left_out_and_what_fails_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        one = tier(most_jobs=1)
        gate = asyncio.Event()

        async def job() -> None:
            await gate.wait()
            raise KeyError("a bug")

        assert one.spawn(job())
        assert not one.spawn(job())
        gate.set()
        for _ in range(10):
            await asyncio.sleep(0)
        assert one.trouble.counts == {("semantic", "job"): 1}
        assert one.spawn(asyncio.sleep(1000))
        await one.close()
        assert not one.busy

    caplog.set_level(logging.CRITICAL)
    asyncio.run(scenario())
