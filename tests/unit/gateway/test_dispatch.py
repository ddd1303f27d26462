"""Retries, fallbacks, hedges and places: what is asked, and that every place is given back."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from tests.unit.gateway.stage import (
    DROP,
    HANG,
    ONE,
    TWO,
    Person,
    Stage,
    begun,
    completion,
    ended,
    hello,
    refusal,
    staged,
    stream,
)

from fairlead.gateway.health import BreakerState
from fairlead.types import FailureKind, Outcome

NARROW = """\
auth: {required: false}
providers: {a: {type: openai-compatible, base_url: "http://a.test/v1"}}
models:
  m: {targets: [{provider: a, model: x, max_concurrency: 1}]}
  other: {targets: [{provider: a, model: x, max_concurrency: 1}]}
"""
IMPATIENT = {"x-stainless-read-timeout": "0.000001"}


def done(people: list[Person]) -> list[int]:
    """Which of the clients have their answer."""
    return [number for number, person in enumerate(people) if person.answers]


# --- places -------------------------------------------------------------------------------------


@staged(NARROW)
async def test_a_place_that_several_models_share_wakes_the_waiters_of_each(stage: Stage) -> None:
    first = await stage.ask(hello())
    people = [await stage.ask(hello(model="other")), await stage.ask(hello(model="m"))]
    assert len(stage.network.requests) == 1
    for _ in range(3):
        stage.network.peers[-1].send(completion())
        await stage.settle()
    assert first.statuses == [200]
    assert [person.statuses for person in people] == [[200], [200]]


@staged(NARROW)
async def test_who_waits_is_served_in_order_also_after_losing_a_place(stage: Stage) -> None:
    await stage.ask(hello())
    people = [await stage.ask(hello(model="m")) for _ in range(3)]
    await stage.ask(hello(model="other"))
    order = []
    for _ in range(5):
        # A place wakes a waiter of each model, and one of the two comes too late.
        stage.network.peers[-1].send(completion())
        await stage.settle()
        order += [number for number in done(people) if number not in order]
    assert order == [0, 1, 2]


@staged(NARROW)
async def test_a_waiter_that_leaves_takes_no_place_with_it(stage: Stage) -> None:
    await stage.ask(hello())
    leaving, staying = await stage.ask(hello()), await stage.ask(hello())
    leaving.leave()
    stage.network.plan("a.test", completion())
    stage.network.peers[0].send(completion())
    await stage.settle()
    assert staying.statuses == [200]
    outcomes = sorted(record.outcome for record in await stage.records())
    assert outcomes == [Outcome.CLIENT_GONE, Outcome.OK, Outcome.OK]


@staged(NARROW)
async def test_a_waiter_that_leaves_when_its_place_comes_passes_it_on(stage: Stage) -> None:
    await stage.ask(hello())
    leaving, staying = await stage.ask(hello()), await stage.ask(hello())
    stage.network.peers[0].send(completion())
    leaving.leave()  # woken, and not yet on its way
    await stage.settle()
    stage.network.peers[-1].send(completion())
    await stage.settle()
    assert staying.statuses == [200]


@staged(NARROW)
async def test_the_time_spent_waiting_is_recorded(stage: Stage) -> None:
    await stage.ask(hello())
    await stage.ask(hello())
    stage.network.plan("a.test", completion())
    stage.network.peers[0].send(completion())
    await stage.settle()
    first, second = await stage.records()
    assert first.queue_s == 0.0
    assert second.queue_s > 0.0


@staged(NARROW)
async def test_who_has_no_time_to_wait_is_refused_as_overloaded(stage: Stage) -> None:
    await stage.ask(hello())
    person = await stage.ask(hello(), headers=IMPATIENT)
    await stage.settle()
    assert person.last.status in (503, 429)
    assert "retry-after" in person.last.headers


@staged(ONE)
async def test_a_place_that_an_older_configurations_request_frees_wakes_who_waits_now(stage: Stage) -> None:
    await stage.ask(hello())
    stage.reload(ONE.replace("{provider: a}", "{provider: a, max_concurrency: 1}"))
    stage.network.plan("a.test", completion())
    waiting = await stage.ask(hello())
    stage.network.peers[0].send(completion())
    await stage.settle()
    assert waiting.statuses == [200]


# --- cancellation at every wait -----------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n", begun(), begun("Hi"), begun("Hi") + b"3\r\nda"]
)
@staged(NARROW)
async def test_a_client_may_leave_at_any_byte_of_the_answer(
    stage: Stage, sent: bytes, streamed: bool
) -> None:
    person = await stage.ask(hello(stream=streamed))
    if sent:
        stage.network.peers[0].send(sent)
        await stage.settle()
    person.leave()
    await stage.settle()
    assert stage.network.peers[0].closed
    record = await stage.record()
    assert record.outcome is Outcome.CLIENT_GONE
    assert len(record.attempts) == 1
    # Its place is free.
    stage.network.plan("a.test", completion())
    assert (await stage.ask(hello())).statuses == [200]


@staged(NARROW)
async def test_a_client_may_leave_while_a_connection_is_made(stage: Stage) -> None:
    stage.network.gates["a.test"] = asyncio.Event()
    person = await stage.ask(hello())
    person.leave()
    stage.network.gates["a.test"].set()
    await stage.settle()
    assert not stage.network.requests
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


@staged(NARROW)
async def test_a_client_may_leave_when_its_connection_has_just_been_made(stage: Stage) -> None:
    gate = stage.network.gates["a.test"] = asyncio.Event()
    person = await stage.ask(hello())
    gate.set()
    for _ in range(20):  # at each turn of the loop on the way
        if stage.network.peers:
            break
        await asyncio.sleep(0)
    person.leave()
    await stage.settle()
    assert all(peer.closed for peer in stage.network.peers)


@staged(NARROW + "outages: {retry: {backoff_s: 60, max_backoff_s: 60}}")
async def test_a_client_may_leave_while_a_retry_is_paused_for(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(500))
    person = await stage.ask(hello())
    assert not person.answers
    person.leave()
    await stage.settle()
    record = await stage.record()
    assert record.outcome is Outcome.CLIENT_GONE
    assert [attempt.status for attempt in record.attempts] == [500]


@staged(
    TWO.replace("models: {m: {", "models: {m: {hedge: {after_s: 0.001, max_fraction: 1}, ").replace(
        ", priority: 1", ""
    )
)
async def test_a_client_may_leave_in_the_middle_of_a_hedge(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    await stage.until(lambda: len(stage.network.requests) == 2)
    person.leave()
    await stage.settle()
    assert [peer.closed for peer in stage.network.peers] == [True, True]
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


@staged(
    TWO.replace("models: {m: {", "models: {m: {hedge: {after_s: 0.001, max_fraction: 1}, ").replace(
        ", priority: 1", ""
    )
)
async def test_the_first_token_wins_a_hedge_and_the_other_is_hung_up_on(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    await stage.until(lambda: len(stage.network.requests) == 2)
    slow, quick = stage.network.peers
    quick.send(begun("Hi"))
    await stage.settle()
    assert slow.closed
    quick.send(ended(1))
    await stage.settle()
    assert person.events[-1] == "[DONE]"
    record = await stage.record()
    assert sorted(attempt.hedge for attempt in record.attempts) == [False, True]
    assert stage.target("a/*").breaker.state is BreakerState.CLOSED


HEDGED = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models:
  m:
    hedge: {after_s: 0.001, max_fraction: 1}
    targets: [{provider: a, max_concurrency: 1}, {provider: b, max_concurrency: 1}]
"""


@pytest.mark.parametrize("turns", range(6))
@staged(HEDGED)
async def test_a_client_that_leaves_a_hedge_at_once_leaves_no_place_taken(stage: Stage, turns: int) -> None:
    person = stage.connect()
    person.post(hello(stream=True))
    for _ in range(turns):
        await asyncio.sleep(0)
    person.leave()
    await stage.settle()
    for host in ("a.test", "b.test"):
        stage.network.plan(host, *[stream("Hi")] * 4)
    for _ in range(2):
        assert (await stage.ask(hello(stream=True))).statuses == [200]


@staged(NARROW + "outages: {retry: {backoff_s: 0.001, max_backoff_s: 0.001}}")
async def test_a_retry_waits_for_a_place_like_everybody(stage: Stage) -> None:
    first = await stage.ask(hello())
    second = await stage.ask(hello())
    stage.network.peers[0].send(refusal(500))
    await stage.until(lambda: len(stage.network.requests) == 2)
    assert stage.network.requests[0].json == stage.network.requests[1].json
    assert not first.answers  # its place went to the second while it paused
    stage.network.plan("a.test", completion())
    stage.network.peers[-1].send(completion())
    await stage.until(lambda: first.answers)
    assert (first.statuses, second.statuses) == ([200], [200])


# --- who is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plan",
    [refusal(500), refusal(503), refusal(529), refusal(429), (DROP,), (begun(), DROP), b"nonsense\r\n\r\n"],
    ids=["500", "503", "529", "429", "closed", "empty stream", "not HTTP"],
)
@staged(TWO)
async def test_what_fails_at_one_target_is_asked_of_the_next(stage: Stage, plan: Any) -> None:
    stage.network.plan("a.test", plan)
    stage.network.plan("b.test", stream("Hi"))
    person = await stage.ask(hello(stream=True))
    assert person.events[-1] == "[DONE]"
    assert stage.network.asked() == ["a.test", "b.test"]
    record = await stage.record()
    assert [attempt.failure is None for attempt in record.attempts] == [False, True]
    assert person.last.headers["x-fairlead-target"] == "b/*"


@staged(TWO)
async def test_a_dead_target_costs_no_retry_of_the_budget(stage: Stage) -> None:
    stage.network.refusing.add("a.test")
    before = stage.budget.remaining(math.inf)
    stage.network.plan("b.test", completion())
    assert (await stage.ask(hello())).statuses == [200]
    assert stage.budget.remaining(math.inf) >= before
    record = await stage.record()
    assert record.attempts[0].failure is not None
    assert record.attempts[0].failure.kind is FailureKind.UNREACHABLE


@staged(TWO)
async def test_an_invalid_request_is_asked_once_and_blamed_on_nobody(stage: Stage) -> None:
    for _ in range(5):
        stage.network.plan("a.test", refusal(400, message="max_tokens is too large", param="max_tokens"))
        person = await stage.ask(hello())
        assert (person.last.status, person.error["param"]) == (400, "max_tokens")
    assert stage.network.asked() == ["a.test"] * 5
    assert stage.target("a/*").breaker.state is BreakerState.CLOSED
    assert {record.outcome for record in await stage.records()} == {Outcome.UPSTREAM_REFUSED}


@staged(TWO.replace("retry: {", "retry: {max_attempts: 2, "))
async def test_attempts_are_bounded_and_the_client_is_told_not_to_multiply_them(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(500), refusal(500))
    stage.network.plan("b.test", refusal(500), refusal(500))
    person = await stage.ask(hello())
    assert person.last.status == 502
    assert person.last.headers["x-should-retry"] == "false"
    assert len(stage.network.requests) == 2


@staged(ONE + "outages: {retry: {max_attempts: 1}, breaker: {failures: 2}}")
async def test_an_open_breaker_refuses_at_once_and_says_when_to_come_back(stage: Stage) -> None:
    for _ in range(2):
        stage.network.plan("a.test", (DROP,))
        assert (await stage.ask(hello())).last.status == 502
    person = await stage.ask(hello())
    assert person.last.status == 503
    assert float(person.last.headers["retry-after"]) >= 1
    assert len(stage.network.requests) == 2


FALLBACK = """\
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://a.test/v1"}
  b: {type: openai-compatible, base_url: "http://b.test/v1"}
models:
  m: {targets: [{provider: a, OPTIONS}], fallbacks: {KIND: [big]}, MORE}
  big: {targets: [{provider: b, model: bigger}]}
outages: {retry: {max_attempts: 1}}
"""


def fallback(kind: str, options: str = "weight: 1", more: str = "strategy: weighted") -> str:
    return FALLBACK.replace("KIND", kind).replace("OPTIONS", options).replace("MORE", more)


@staged(fallback("any"))
async def test_another_model_is_asked_when_every_target_failed(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(500))
    stage.network.plan("b.test", completion())
    assert (await stage.ask(hello())).statuses == [200]
    assert stage.network.requests[1].json["model"] == "bigger"
    assert (await stage.record()).model == "m"


@staged(fallback("context_window"))
async def test_a_prompt_that_is_too_long_for_one_model_goes_to_another(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(400, code="context_length_exceeded"))
    stage.network.plan("b.test", completion())
    assert (await stage.ask(hello())).statuses == [200]
    assert stage.target("a/*").breaker.state is BreakerState.CLOSED


@staged(fallback("context_window", "context_window: 50"))
async def test_a_prompt_that_is_certainly_too_long_is_not_sent(stage: Stage) -> None:
    stage.network.plan("b.test", completion())
    person = await stage.ask(hello(messages=[{"role": "user", "content": "so many words " * 100}]))
    assert person.statuses == [200]
    assert stage.network.asked() == ["b.test"]


@staged(fallback("context_window", "context_window: 5000"))
async def test_a_picture_is_not_taken_for_as_much_text(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 60_000}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}
    assert (await stage.ask(hello(messages=[message]))).statuses == [200]
    assert stage.network.asked() == ["a.test"]


PRICED = "input_usd_per_mtok: 1, output_usd_per_mtok: 10"


@staged(fallback("cost_cap", PRICED, "max_cost_usd: 0.01"))
async def test_what_would_cost_too_much_goes_to_the_model_for_that(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    stage.network.plan("b.test", completion())
    assert (await stage.ask(hello(max_tokens=900))).statuses == [200]
    assert (await stage.ask(hello(max_tokens=1100))).statuses == [200]
    assert stage.network.asked() == ["a.test", "b.test"]


@staged(fallback("any", PRICED, "max_cost_usd: 0.01"))
async def test_without_such_a_model_the_cap_is_an_error_that_names_it(stage: Stage) -> None:
    person = await stage.ask(hello(max_tokens=1100))
    assert person.last.status == 400
    assert "max_cost_usd" in person.error["message"]


# --- whose fault it is --------------------------------------------------------------------------


@staged(ONE + "outages: {breaker: {failures: 1}}")
async def test_a_client_that_does_not_wait_is_nobodys_fault(stage: Stage) -> None:
    # A connection is there, so that what ends is the wait for the answer.
    stage.network.plan("a.test", completion())
    await stage.ask(hello())
    person = await stage.ask(hello(), headers=IMPATIENT)
    await stage.overdue()
    assert person.last.status == 504
    assert stage.target("a/*").breaker.state is BreakerState.CLOSED
    assert (await stage.records())[-1].error == "deadline_exceeded"


@staged(ONE + "outages: {breaker: {failures: 1}, retry: {max_attempts: 1}}")
async def test_an_upstream_that_does_not_answer_in_its_time_is_to_blame(stage: Stage) -> None:
    person = await stage.ask(hello())
    await stage.overdue()
    assert person.last.status == 504
    assert stage.target("a/*").breaker.state is BreakerState.OPEN


@staged(ONE + "outages: {breaker: {failures: 1}, retry: {backoff_s: 0.001, max_backoff_s: 0.001}}")
async def test_a_pooled_connection_that_was_closed_meanwhile_is_nobodys_fault(stage: Stage) -> None:
    stage.network.plan("a.test", completion(), (DROP,), completion())
    await stage.ask(hello())
    person = await stage.ask(hello())
    await stage.until(lambda: person.answers)
    assert person.statuses == [200]
    assert len(stage.network.peers) == 2


@staged(ONE + "outages: {breaker: {failures: 1}, retry: {max_attempts: 1}}")
async def test_a_trial_that_its_client_leaves_says_nothing_and_the_next_one_tries(stage: Stage) -> None:
    breaker = stage.target("a/*").breaker
    stage.network.plan("a.test", (DROP,))
    await stage.ask(hello())
    breaker.probe_succeeded()
    trial = await stage.ask(hello())
    assert (await stage.ask(hello())).last.status == 503  # one at a time
    trial.leave()
    await stage.settle()
    assert breaker.state is BreakerState.HALF_OPEN
    stage.network.plan("a.test", completion())
    assert (await stage.ask(hello())).statuses == [200]
    assert breaker.state is BreakerState.CLOSED


@staged(ONE + "outages: {breaker: {failures: 1}, retry: {max_attempts: 1}}")
async def test_an_earlier_request_that_is_left_does_not_let_a_second_trial_through(stage: Stage) -> None:
    breaker = stage.target("a/*").breaker
    earlier = await stage.ask(hello())
    stage.network.plan("a.test", (DROP,))
    await stage.ask(hello())
    breaker.probe_succeeded()
    await stage.ask(hello())  # the trial
    asked = len(stage.network.requests)
    earlier.leave()
    await stage.settle()
    await stage.ask(hello())
    assert len(stage.network.requests) == asked


@staged(TWO)
async def test_hanging_targets_end_with_the_clients_patience_and_one_record(stage: Stage) -> None:
    stage.network.plan("a.test", HANG, HANG)
    person = await stage.ask(hello(stream=True))
    for _ in range(6):
        await stage.overdue()
        await asyncio.sleep(0.002)
    await stage.settle()
    assert person.last.status in (503, 504)
    assert len((await stage.record()).attempts) == len(stage.network.requests)
