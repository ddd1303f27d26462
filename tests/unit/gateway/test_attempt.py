"""One call to one target: what counts as an answer, and what every other end means."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.unit.gateway.stage import (
    DROP,
    ONE,
    TEXT_APIS,
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

from fairlead.errors import BadUpstreamAnswer, ConfigError, Overloaded, UpstreamCut, UpstreamTimeout
from fairlead.gateway.attempt import failure_of
from fairlead.net.http1 import LAST_CHUNK
from fairlead.testing import answer, sse_event, sse_head
from fairlead.types import FailureKind

ONCE = ONE + "outages: {retry: {max_attempts: 1}}\n"


async def failure_kind(stage: Stage, *, streamed: bool, plan: Any) -> FailureKind:
    """How the only attempt of a request ends."""
    stage.network.plan("a.test", plan)
    person = await stage.ask(hello(stream=streamed))
    assert person.last.status >= 400
    (attempt,) = (await stage.record()).attempts
    assert attempt.failure is not None
    return attempt.failure.kind


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (refusal(400), FailureKind.INVALID_REQUEST),
        (refusal(401), FailureKind.AUTH),
        (refusal(403), FailureKind.AUTH),
        (refusal(404), FailureKind.NOT_FOUND),
        (refusal(429), FailureKind.RATE_LIMITED),
        (refusal(429, code="insufficient_quota"), FailureKind.QUOTA),
        (refusal(500), FailureKind.SERVER_ERROR),
        (refusal(503), FailureKind.OVERLOADED),
        (answer(b"<html>", status=500, content_type="text/html"), FailureKind.SERVER_ERROR),
        (answer(b"\xff" * 1000, status=418), FailureKind.INVALID_REQUEST),
        ((DROP,), FailureKind.DISCONNECTED),
        ((b"HTTP/1.1 200 OK\r\n", DROP), FailureKind.CUT),
        ((completion()[:-10], DROP), FailureKind.CUT),
        (b"SSH-2.0-OpenSSH\r\n", FailureKind.BAD_ANSWER),
        (answer(b"<html>busy</html>"), FailureKind.BAD_ANSWER),
        (answer(b""), FailureKind.BAD_ANSWER),
        (answer(b"[" * 100_000), FailureKind.BAD_ANSWER),
        (answer(b'{"error":{"message":"no GPU","code":500}}'), FailureKind.SERVER_ERROR),
    ],
)
@staged(ONCE)
async def test_the_ends_of_a_whole_answer(stage: Stage, plan: Any, kind: FailureKind) -> None:
    assert await failure_kind(stage, streamed=False, plan=plan) == kind


@pytest.mark.parametrize(
    ("plan", "kind"),
    [
        (refusal(429), FailureKind.RATE_LIMITED),
        ((DROP,), FailureKind.DISCONNECTED),
        ((sse_head(), DROP), FailureKind.CUT),
        (sse_head() + LAST_CHUNK, FailureKind.EMPTY),
        (sse_head() + sse_event(b"[DONE]") + LAST_CHUNK, FailureKind.EMPTY),
        (sse_head() + sse_event(b'{"error":{"message":"no"}}') + LAST_CHUNK, FailureKind.SERVER_ERROR),
        (sse_head() + sse_event(b"not json") + LAST_CHUNK, FailureKind.BAD_ANSWER),
        (sse_head() + sse_event(b"[" * 100_000) + LAST_CHUNK, FailureKind.BAD_ANSWER),
        (completion(), FailureKind.BAD_ANSWER),
        (answer(b"<html>", content_type="text/html"), FailureKind.BAD_ANSWER),
        (answer(b'{"error":{"message":"bad key","type":"invalid_request_error"}}'), None),
    ],
)
@staged(ONCE)
async def test_the_ends_of_a_stream_before_its_first_token(stage: Stage, plan: Any, kind: Any) -> None:
    ended_as = await failure_kind(stage, streamed=True, plan=plan)
    assert kind is None or ended_as == kind


@staged(ONCE)
async def test_an_error_body_of_the_clients_dialect_reaches_it_untouched(stage: Stage) -> None:
    body = json.dumps({"error": {"message": "odd", "type": "t", "code": "c", "more": [1]}}).encode()
    stage.network.plan("a.test", answer(body, status=422))
    person = await stage.ask(hello())
    assert (person.last.status, person.last.body) == (422, body)


@staged(ONCE)
async def test_an_error_body_of_another_dialect_is_told_in_the_clients(stage: Stage) -> None:
    stage.network.plan("a.test", refusal(400, message="too hot", param="temperature"))
    person = await stage.ask(hello(max_tokens=5), "/v1/messages")
    assert json.loads(person.last.body)["type"] == "error"
    assert "too hot" in person.error["message"]


@pytest.mark.parametrize("status", [401, 402])
@staged(ONCE)
async def test_trouble_with_the_gateways_credential_is_not_shown_as_the_clients(
    stage: Stage, status: int
) -> None:
    stage.network.plan("a.test", refusal(status, message="Incorrect API key: sk-secret"))
    person = await stage.ask(hello())
    assert person.last.status == 502
    assert b"sk-secret" not in person.raw


@staged(ONE.replace("{targets: [{provider: a}]}", "{timeouts: {commit_tokens: 3}, targets: [{provider: a}]}"))
async def test_tokens_are_held_back_until_there_are_enough(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    (peer,) = stage.network.peers
    peer.send(begun("a", "b"))
    await stage.settle()
    assert person.raw == b""
    peer.send(sse_event(delta("c")))
    await stage.settle()
    assert [event["choices"][0]["delta"]["content"] for event in person.events] == ["a", "b", "c"]
    peer.send(ended(3))
    await stage.settle()
    assert (await stage.record()).chunks == 3


@staged(ONE.replace("{targets: [{provider: a}]}", "{timeouts: {commit_tokens: 9}, targets: [{provider: a}]}"))
async def test_a_stream_shorter_than_that_is_sent_at_its_end(stage: Stage) -> None:
    stage.network.plan("a.test", stream("a"))
    person = await stage.ask(hello(stream=True))
    assert person.events[-1] == "[DONE]"


@staged(
    ONCE.replace(
        "{targets: [{provider: a}]}",
        "{timeouts: {commit_tokens: 3, min_tokens_per_s: 10}, targets: [{provider: a}]}",
    )
)
async def test_a_stream_that_starts_too_slowly_is_given_up_before_it_is_committed(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a"))
    await stage.settle()
    await stage.overdue()
    assert person.last.status == 504
    (attempt,) = (await stage.record()).attempts
    assert attempt.failure is not None
    assert attempt.failure.kind is FailureKind.TOO_SLOW


@staged(ONCE)
async def test_a_stream_that_begins_and_then_hangs_is_cut_in_band(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    stage.network.peers[0].send(begun("a"))
    await stage.settle()
    await stage.overdue()
    assert person.last.complete
    assert "error" in person.events[-1] or "error" in person.events[-2]


@staged(ONE.replace('v1"}', 'v1", max_connections: 1}') + "outages: {retry: {max_attempts: 1}}")
async def test_when_all_connections_are_taken_nothing_is_sent(stage: Stage) -> None:
    await stage.ask(hello())
    person = await stage.ask(hello())
    assert person.last.status == 503
    assert len(stage.network.requests) == 1


@staged(ONCE)
async def test_a_connection_is_used_again_after_whole_answers_streams_and_errors(stage: Stage) -> None:
    stage.network.plan("a.test", completion(), stream("a"), refusal(400), completion())
    person = stage.connect()
    for streamed in (False, True, False, False):
        person.post(hello(stream=streamed))
        await stage.settle()
    assert person.statuses == [200, 200, 400, 200]
    assert len(stage.network.peers) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UpstreamTimeout(), FailureKind.TIMEOUT),
        (UpstreamCut(), FailureKind.CUT),
        (BadUpstreamAnswer(), FailureKind.BAD_ANSWER),
        (Overloaded(retry_after_s=3), FailureKind.UNREACHABLE),
        (ConfigError("no such file"), FailureKind.BAD_ANSWER),
    ],
)
def test_each_error_of_the_transport_has_a_kind(error: Any, kind: FailureKind) -> None:
    failure = failure_of(error)
    assert (failure.kind, failure.retry_after_s) == (kind, error.retry_after_s)


@staged(ONE + "outages: {retry: {max_attempts: 1}, breaker: {enabled: false}}\n")
async def test_what_an_upstream_sends_never_leaks_a_place(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    nasty = [
        b'{"choices":[{"index":0,"delta":{"content":"\\ud800"},"finish_reason":null}]}',
        b'{"choices":' + b"[" * 5000,
        b'{"choices":null,"usage":{"prompt_tokens":' + b"9" * 400 + b"}}",
        b'{"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":7}]}',
        b"\xff\xfe",
        b"",
    ]
    for data in nasty:
        for streamed in (False, True):
            for path in TEXT_APIS:
                plan = sse_head() + sse_event(data) + LAST_CHUNK if streamed else answer(data)
                stage.network.plan("a.test", plan)
                person = await stage.ask(asking(path, stream=streamed), path)
                await asyncio.sleep(0)
                assert person.answers, (data[:60], path, streamed)
    assert len(stage.network.requests) == len(nasty) * 8
    assert caplog.records == []
