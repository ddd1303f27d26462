"""A committed stream goes on to its end, and no end is taken for another."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.gateway.stage import (
    CUT,
    DROP,
    ONE,
    TEXT_APIS,
    TWO,
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

from fairlead.gateway.health import BreakerState
from fairlead.net.http1 import LAST_CHUNK
from fairlead.testing import sse_event, sse_head
from fairlead.types import Outcome

STRICT = ONE + "outages: {retry: {max_attempts: 1}, breaker: {failures: 1}}\n"
CONTINUED = TWO.replace("openai-compatible", "vllm").replace(
    "models: {m: {", "models: {m: {continue_cut_streams: true, "
)


def texts(events: list[Any]) -> str:
    """What a client shows of a stream."""
    choices = [choice for event in events if isinstance(event, dict) for choice in event.get("choices", ())]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


# --- the end of a stream ------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(0, 900), max_size=6))
def test_however_a_stream_is_cut_into_packets_the_client_gets_the_same(cuts: list[int]) -> None:
    whole = begun("Hel", "lo", " w\u00f6rld") + ended(3)

    async def scenario() -> None:
        stage = Stage()
        person = await stage.ask(hello(stream=True))
        edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
        for start, end in itertools.pairwise(edges):
            stage.network.peers[0].send(whole[start:end])
        await stage.settle()
        assert texts(person.events) == "Hello w\u00f6rld"
        assert person.events[-1] == "[DONE]"
        assert person.last.complete
        record = await stage.record()
        assert (record.outcome, record.chunks, record.usage.output_tokens) == (Outcome.OK, 3, 3)
        await stage.leave()
        stage.check()
        await stage.client.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("path", TEXT_APIS)
@pytest.mark.parametrize(
    "rest",
    [
        (DROP,),
        (LAST_CHUNK,),
        (sse_event(b"[DONE]") + LAST_CHUNK,),
        (sse_event(b'{"error":{"message":"x"}}'),),
    ],
    ids=["closed", "ended", "done without a finish", "error event"],
)
@staged(STRICT)
async def test_a_stream_that_ends_early_is_never_a_success(stage: Stage, path: str, rest: Any) -> None:
    choice = {"index": 0, "text": "Hi", "finish_reason": None, "logprobs": None}
    body = {"id": "1", "object": "text_completion", "created": 1, "model": "x", "choices": [choice]}
    first = json.dumps(body).encode() if path == "/v1/completions" else delta("Hi")
    person = await stage.ask(asking(path, stream=True), path)
    stage.network.peers[0].send(sse_head() + sse_event(first))
    await stage.settle()
    stage.network.peers[0].send(*rest)
    await stage.settle()
    assert person.last.complete
    assert b"error" in person.last.body
    record = await stage.record()
    assert (record.outcome, record.status) == (Outcome.CUT, 200)
    assert stage.target("a/*").breaker.state is BreakerState.OPEN


@staged(STRICT)
async def test_a_missing_end_mark_is_added_once(stage: Stage) -> None:
    stage.network.plan(
        "a.test", sse_head() + sse_event(delta("Hi")) + sse_event(delta(finish="stop")) + LAST_CHUNK
    )
    person = await stage.ask(hello(stream=True))
    assert person.events.count("[DONE]") == 1
    assert (await stage.record()).outcome is Outcome.OK


@staged(STRICT)
async def test_a_missing_end_mark_is_added_once_also_when_the_only_event_lacks_its_blank_line(
    stage: Stage,
) -> None:
    choice = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}
    event = json.dumps(
        {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "x", "choices": [choice]}
    )
    data = f"data: {event}".encode()
    stage.network.plan("a.test", (sse_head() + b"%x\r\n%b\r\n" % (len(data), data), LAST_CHUNK))
    person = await stage.ask(hello(stream=True))
    assert texts(person.events) == "Hi"
    assert person.events.count("[DONE]") == 1
    assert (await stage.record()).outcome is Outcome.OK


@staged()
async def test_the_connection_rests_only_after_its_last_chunk(stage: Stage) -> None:
    whole = stream("Hi")
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(whole[:-5])
    await stage.settle()
    assert person.last.complete
    assert not await stage.records()
    stage.network.peers[0].send(whole[-5:])
    await stage.settle()
    assert (await stage.record()).outcome is Outcome.OK
    stage.network.plan("a.test", completion())
    person.post(hello())
    await stage.settle()
    assert len(stage.network.peers) == 1


@staged()
async def test_a_complete_stream_whose_connection_breaks_then_is_complete(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(stream("Hi")[:-5], DROP)
    await stage.settle()
    assert person.last.complete
    assert (await stage.record()).outcome is Outcome.OK


@staged()
async def test_a_client_that_reads_slowly_holds_the_upstream_and_blames_nobody(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    (peer,) = stage.network.peers
    peer.send(begun("Hi"))
    await stage.settle()
    person.transport.stuck = True
    for _ in range(10):
        peer.send(sse_event(delta("x" * 65_536)))
    await stage.settle()
    assert not (await stage.records())
    person.transport.stuck = False
    person.transport.take()
    peer.send(ended(11))
    await stage.settle()
    assert texts(person.events) == "Hi" + "x" * 655_360
    assert (await stage.record()).outcome is Outcome.OK


@staged()
async def test_a_slow_client_that_leaves_ends_everything(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    (peer,) = stage.network.peers
    peer.send(begun("Hi"))
    await stage.settle()
    person.transport.stuck = True
    for _ in range(10):
        peer.send(sse_event(delta("x" * 65_536)))
    await stage.settle()
    person.leave()
    person.transport.abort()
    await stage.settle()
    assert peer.closed
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


# --- whose fault it is --------------------------------------------------------------------------


@staged(STRICT)
async def test_silence_beyond_the_clients_own_patience_is_nobodys_fault(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True), headers={"x-stainless-read-timeout": "30"})
    stage.network.peers[0].send(begun("Hi"))
    await stage.settle()
    await stage.overdue()
    assert any("error" in event for event in person.events)
    assert stage.target("a/*").breaker.state is BreakerState.CLOSED
    assert (await stage.record()).error == "deadline_exceeded"


@staged(STRICT)
async def test_silence_beyond_the_configured_stall_is_the_targets(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("Hi"))
    await stage.settle()
    await stage.overdue()
    assert any("error" in event for event in person.events)
    assert stage.target("a/*").breaker.state is BreakerState.OPEN


@staged(
    STRICT.replace(
        "models: {m: {targets",
        "models: {short: {timeouts: {total_s: 0.02}, targets: [{provider: a}]}, m: {targets",
    )
)
async def test_a_stream_that_outlives_the_requests_whole_time_is_nobodys_fault(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    await stage.ask(hello())
    person = await stage.ask(hello(stream=True, model="short"))
    stage.network.peers[0].send(begun("Hi"))
    await stage.settle()
    while stage.pipeline.in_flight:  # its time is twenty milliseconds
        await asyncio.sleep(0.01)
        await stage.overdue()
    assert any("error" in event for event in person.events)
    assert stage.target("a/*").breaker.state is BreakerState.CLOSED


# --- what was used ------------------------------------------------------------------------------


@staged(STRICT)
async def test_the_tokens_of_a_cut_stream_are_counted_from_what_came(stage: Stage) -> None:
    await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a", "b", "c"), DROP)
    await stage.settle()
    record = await stage.record()
    assert record.usage_estimated
    assert record.usage.output_tokens == 3
    assert record.usage.input_tokens > 0
    assert record.attempts[0].usage == record.usage


@staged(STRICT)
async def test_the_tokens_of_a_stream_whose_client_left_are_counted_too(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a", "b"))
    await stage.settle()
    person.leave()
    record = await stage.record()
    assert (record.usage.output_tokens, record.usage_estimated) == (2, True)


# --- continuing ---------------------------------------------------------------------------------


@staged(CONTINUED)
async def test_a_cut_stream_goes_on_at_another_target_as_one_answer(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True, max_tokens=100))
    first = stage.network.peers[0]
    first.send(begun("Once", " upon", " a"))
    await stage.settle()
    for _ in range(3):
        stage.target("a/*").breaker.fail(CUT, 1e12)  # so that it is not asked again
    stage.network.plan(
        "b.test",
        begun(" time", ".")
        + b"".join(map(sse_event, (delta(finish="stop"), usage(8, 2), b"[DONE]")))
        + LAST_CHUNK,
    )
    first.send(sse_event(usage(5, 3)), DROP)
    await stage.settle()
    assert texts(person.events) == "Once upon a time."
    assert person.events.count("[DONE]") == 1
    assert not any("error" in event for event in person.events)
    again = stage.network.requests[1].json
    assert again["messages"][-1] == {"role": "assistant", "content": "Once upon a"}
    assert again["max_tokens"] == 97 if "max_tokens" in again else again["max_completion_tokens"] == 97
    record = await stage.record()
    assert record.outcome is Outcome.OK
    assert [attempt.usage.output_tokens for attempt in record.attempts if attempt.usage] == [3, 2]
    assert (record.usage.input_tokens, record.usage.output_tokens) == (13, 5)
    assert record.chunks == 5


@staged(CONTINUED)
async def test_the_halves_of_a_stream_without_usage_are_counted_one_by_one(stage: Stage) -> None:
    await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a", "b"))
    await stage.settle()
    for _ in range(3):
        stage.target("a/*").breaker.fail(CUT, 1e12)
    stage.network.plan(
        "b.test",
        sse_head() + b"".join(map(sse_event, (delta("c"), delta(finish="stop"), b"[DONE]"))) + LAST_CHUNK,
    )
    stage.network.peers[0].send(DROP)
    await stage.settle()
    record = await stage.record()
    assert record.usage.output_tokens == 3
    assert [attempt.usage.output_tokens for attempt in record.attempts if attempt.usage] == [2, 1]


@pytest.mark.parametrize("plan", [refusal(500), (DROP,), (begun(), DROP)], ids=["500", "closed", "cut again"])
@staged(CONTINUED)
async def test_a_stream_that_cannot_go_on_ends_with_an_error(stage: Stage, plan: Any) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a", "b"))
    await stage.settle()
    for _ in range(3):
        stage.target("a/*").breaker.fail(CUT, 1e12)
    stage.network.plan("b.test", plan, plan, plan)
    stage.network.peers[0].send(DROP)
    await stage.settle()
    assert texts(person.events) == "ab"
    assert any("error" in event for event in person.events)
    assert person.last.complete
    assert (await stage.record()).outcome is Outcome.CUT


@staged(CONTINUED)
async def test_a_client_may_leave_while_its_stream_is_continued(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a"))
    await stage.settle()
    for _ in range(3):
        stage.target("a/*").breaker.fail(CUT, 1e12)
    stage.network.peers[0].send(DROP)
    await stage.settle()
    assert stage.network.asked() == ["a.test", "b.test"]
    person.leave()
    await stage.settle()
    assert stage.network.peers[1].closed
    record = await stage.record()
    assert record.outcome is Outcome.CLIENT_GONE
    assert len(record.attempts) == 2
