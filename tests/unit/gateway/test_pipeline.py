"""One line per request, exactly one record, and what is remembered of a connection opens no door."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import cast

import pytest
from tests.unit.gateway.stage import CHAT, ONE, Stage, begun, completion, ended, hello, staged

from fairlead.errors import Forbidden, Unauthenticated
from fairlead.gateway.auth import KeySnapshot
from fairlead.gateway.exchange import Exchange
from fairlead.net.server import Call, Head
from fairlead.providers.table import apis
from fairlead.types import Outcome

KEYS = ONE.replace("required: false", "required: true")
ONCE = ONE + "outages: {retry: {max_attempts: 1}}\n"
MORE_MODELS = KEYS.replace("models: {m:", "models: {other: {targets: [{provider: a}]}, m:")


# --- the record ---------------------------------------------------------------------------------


@staged()
async def test_an_answer_is_recorded_with_what_is_known_of_it(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    person = await stage.ask(hello())
    assert person.statuses == [200]
    record = await stage.record()
    assert (record.outcome, record.status, record.model, record.target) == (Outcome.OK, 200, "m", "a/*")
    assert (record.usage.input_tokens, record.usage.output_tokens) == (5, 2)
    assert [attempt.target for attempt in record.attempts] == ["a/*"]
    assert record.bytes_out == len(person.last.body)


@staged(KEYS)
async def test_a_refused_request_is_recorded_and_asks_nobody(stage: Stage) -> None:
    person = await stage.ask(hello())
    assert person.statuses == [401]
    record = await stage.record()
    assert (record.outcome, record.status, record.error) == (Outcome.REFUSED, 401, "invalid_api_key")
    assert not stage.network.requests


@staged()
async def test_an_unknown_model_is_recorded_without_its_name(stage: Stage) -> None:
    person = await stage.ask(hello(model="nobody-knows"))
    assert person.statuses == [404]
    assert (await stage.record()).model == ""


@staged()
async def test_a_client_that_leaves_is_recorded_and_the_upstream_is_told_at_once(stage: Stage) -> None:
    person = await stage.ask(hello())
    assert stage.pipeline.in_flight == 1
    person.leave()
    assert stage.network.peers[0].closed
    assert stage.pipeline.in_flight == 0
    record = await stage.record()
    assert (record.outcome, record.status) == (Outcome.CLIENT_GONE, 499)
    assert len(record.attempts) == 1


@staged(max_pending=0)
async def test_nothing_is_served_unrecorded(stage: Stage) -> None:
    person = await stage.ask(hello())
    assert person.statuses == [503]
    assert person.last.headers["retry-after"] == "2"
    assert not stage.network.requests


# --- what a connection repeats ------------------------------------------------------------------


@staged(KEYS)
async def test_a_key_revoked_between_two_requests_of_a_connection_is_refused(stage: Stage) -> None:
    key = stage.key()
    stage.network.plan("a.test", completion(), completion())
    person = await stage.ask(hello(), key=key.secret)
    stage.change(key, revoked_at=time.time() - 1)
    person.post(hello(), key=key.secret)
    await stage.settle()
    assert person.statuses == [200, 401]
    assert "revoked" in person.error["message"]
    person.post(hello(), key=key.secret)
    await stage.settle()
    assert person.statuses == [200, 401, 401]
    assert len(stage.network.requests) == 1


@staged(KEYS)
async def test_a_key_that_comes_back_is_served_again_on_the_same_connection(stage: Stage) -> None:
    key = stage.key()
    stage.change(key, revoked_at=time.time() - 1)
    person = await stage.ask(hello(), key=key.secret)
    stage.change(key)
    stage.network.plan("a.test", completion())
    person.post(hello(), key=key.secret)
    await stage.settle()
    assert person.statuses == [401, 200]


@staged(MORE_MODELS)
async def test_another_model_on_the_same_connection_is_checked(stage: Stage) -> None:
    key = stage.key(models=("m",))
    stage.network.plan("a.test", completion(), completion(), completion())
    person = await stage.ask(hello(), key=key.secret)
    # The length of the body differs, and then nothing of the head does.
    for body in (hello(model="other"), hello(model="x"), hello()):
        person.post(body, key=key.secret)
        await stage.settle()
    assert person.statuses == [200, 403, 403, 200]


@staged(KEYS)
async def test_a_narrowed_key_loses_what_it_was_allowed_on_the_same_connection(stage: Stage) -> None:
    key = stage.key()
    stage.network.plan("a.test", completion(), completion())
    person = await stage.ask(hello(), key=key.secret)
    stage.change(key, models=("other",))
    person.post(hello(), key=key.secret)
    await stage.settle()
    assert person.statuses == [200, 403]


@staged(KEYS)
async def test_another_endpoint_on_the_same_connection_is_checked(stage: Stage) -> None:
    key = stage.key(endpoints=("chat",))
    stage.network.plan("a.test", completion(), completion())
    person = await stage.ask(hello(), key=key.secret)
    for path in ("/v1/embeddings", "/v1/completions", "/v1/messages"):
        person.post(hello(), path, key=key.secret)
        await stage.settle()
    person.post(hello(), key=key.secret)
    await stage.settle()
    assert person.statuses == [200, 403, 403, 403, 200]


@staged(KEYS)
async def test_another_key_on_the_same_connection_is_another_caller(stage: Stage) -> None:
    first, second = stage.key(tenant="one"), stage.key(tenant="two", models=("other",))
    stage.network.plan("a.test", completion(), completion())
    person = await stage.ask(hello(), key=first.secret)
    for secret in (second.secret, "fl-unknown", first.secret):
        person.post(hello(), key=secret)
        await stage.settle()
    assert person.statuses == [200, 403, 401, 200]
    assert [record.tenant for record in await stage.records()] == ["one", "two", "", "one"]


@staged(KEYS)
async def test_an_address_outside_the_keys_ranges_is_refused_each_time(stage: Stage) -> None:
    key = stage.key(ip_ranges=("10.0.0.0/8",))
    person = stage.connect("192.0.2.1")
    for _ in range(2):
        person.post(hello(), key=key.secret)
        await stage.settle()
    assert person.statuses == [403, 403]
    inside = stage.connect("10.1.2.3")
    stage.network.plan("a.test", completion())
    inside.post(hello(), key=key.secret)
    await stage.settle()
    assert inside.statuses == [200]


@staged()
async def test_keys_that_a_reload_requires_are_required_on_open_connections(stage: Stage) -> None:
    stage.network.plan("a.test", completion(), completion())
    person = await stage.ask(hello())
    stage.reload(KEYS)
    person.post(hello())
    await stage.settle()
    assert person.statuses == [200, 401]
    key = stage.key()
    person.post(hello(), key=key.secret)
    await stage.settle()
    assert person.statuses == [200, 401, 200]


def _exchange(head: Head, started_at: float) -> Exchange:
    class Asked:
        body = b'{"model":"m"}'

        def __init__(self, head: Head) -> None:
            self.head = head

    ex = Exchange("req_1", cast(Call, Asked(head)), apis()[CHAT])
    ex.started_at = started_at
    return ex


@staged(KEYS)
async def test_a_key_that_expires_between_two_requests_of_a_connection_is_refused(stage: Stage) -> None:
    now = time.time()
    key = stage.key(expires_at=now + 60)
    head = Head(
        method="POST",
        target=CHAT,
        path=CHAT,
        query="",
        headers={b"authorization": f"Bearer {key.secret}".encode()},
        http10=False,
        peer="192.0.2.7",
        keep_alive=True,
        content_length=13,
        expects_continue=False,
    )
    before = _exchange(head, now + 59)
    grant = stage.pipeline.authenticate(before)
    assert grant is not None
    stage.pipeline.route(before, grant)
    late = _exchange(head, now + 60)
    with pytest.raises(Unauthenticated, match="expired"):
        stage.pipeline.authenticate(late)
    with pytest.raises(Unauthenticated, match="expired"):
        stage.pipeline.authenticate(_exchange(head, now + 61))


@staged(KEYS)
async def test_a_key_that_is_narrowed_while_its_request_is_routed_is_asked_anew(stage: Stage) -> None:
    key = stage.key(endpoints=("embeddings",))
    head = Head(
        method="POST", target=CHAT, path=CHAT, query="",
        headers={b"authorization": f"Bearer {key.secret}".encode()},
        http10=False, peer="192.0.2.7", keep_alive=True, content_length=13, expects_continue=False,
    )  # fmt: skip
    for _ in range(2):  # a refusal is not remembered as a permission
        ex = _exchange(head, time.time())
        grant = stage.pipeline.authenticate(ex)
        with pytest.raises(Forbidden):
            stage.pipeline.route(ex, grant)


@staged(KEYS)
async def test_idle_connections_do_not_keep_old_snapshots_of_all_keys(stage: Stage) -> None:
    key = stage.key()
    for _ in range(5):
        stage.network.plan("a.test", completion())
        assert (await stage.ask(hello(), key=key.secret)).statuses == [200]
        stage.change(key)
    gc.collect()
    assert sum(isinstance(each, KeySnapshot) for each in gc.get_objects()) <= 2


# --- heartbeats ---------------------------------------------------------------------------------


@staged()
async def test_a_waiting_stream_of_events_gets_heartbeats(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    await stage.wait(16)
    assert person.statuses == [200]
    assert person.last.body
    assert all(line.startswith(b":") for line in person.last.body.splitlines() if line)
    stage.network.peers[0].send(begun("Hi"), ended(1))
    await stage.settle()
    assert person.last.complete
    assert person.events[-1] == "[DONE]"
    assert (await stage.record()).outcome is Outcome.OK


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/moderations", "/v1/images/generations", "/v1/rerank"]
)
@staged(ONCE)
async def test_what_is_no_stream_of_events_never_begins_with_heartbeats(stage: Stage, path: str) -> None:
    person = await stage.ask({"model": "m", "input": "x", "prompt": "x", "stream": True}, path)
    await stage.wait(40)
    assert person.raw == b""
    stage.network.peers[0].drop()
    await stage.settle()
    assert person.answers[0].status >= 400


@staged(ONCE)
async def test_a_failure_after_heartbeats_is_told_in_the_stream(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    await stage.wait(16)
    stage.network.peers[0].drop()
    await stage.settle()
    assert person.last.complete
    assert any("error" in event for event in person.events)
    record = await stage.record()
    assert (record.outcome, record.status, record.error) == (Outcome.FAILED, 200, "upstream_error")


@staged()
async def test_a_client_that_leaves_between_heartbeats_gets_no_more(stage: Stage) -> None:
    person = await stage.ask(hello(stream=True))
    await stage.wait(16)
    person.leave()
    sent = person.raw
    await stage.wait(20)
    assert person.raw == sent
    assert (await stage.record()).outcome is Outcome.CLIENT_GONE


# --- bytes of clients ---------------------------------------------------------------------------

TEXT = b'"messages":[{"role":"user","content":"x"}],"input":"x","prompt":"x"'
NASTY = {
    "empty": b"",
    "no json": b"{",
    "a list": b"[1]",
    "null": b"null",
    "a string": b'"x"',
    "not utf-8": b'{"model":"\xff"}',
    "nested": b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"model":"m","metadata":' + b'{"a":' * 60_000 + b"1" + b"}" * 60_000 + b"}",
    "half nested": b'{"model":"m","messages":' + b"[" * 900 + b"]" * 900 + b"}",
    "high surrogate": b'{"model":"m","user":"\\udfff",%b}' % TEXT.replace(b'"x"', b'"\\ud800"'),
    "surrogate in a key": b'{"model":"m","\\ud800":1,%b}' % TEXT,
    "surrogate model": b'{"model":"\\ud800","messages":[]}',
    "raw surrogate": b'{"model":"\xed\xa0\x80","messages":[]}',
    "huge integer": b'{"model":"m","max_tokens":%b,"n":%b,%b}' % (b"9" * 4000, b"9" * 300, TEXT),
    "endless integer": b'{"model":"m","max_tokens":' + b"9" * 50_000 + b',"messages":[]}',
    "infinite float": b'{"model":"m","temperature":1e999,%b}' % TEXT,
    "negative": b'{"model":"m","max_tokens":-1,"n":-1,%b}' % TEXT,
    "wrong types": b'{"model":"m","tools":7,"stream":"yes",%b}' % TEXT.replace(b'"x"', b'{"a":1}'),
    "null bytes": b'{"model":"m\\u0000","messages":[{"role":"user","content":"\\u0000"}]}',
    "line ends in the model": b'{"model":"m\\r\\nx-evil: 1",%b}' % TEXT,
    "long model": b'{"model":"' + b"m" * 100_000 + b'","messages":[]}',
}
KINDS = {
    "openai": "{type: openai, api_key: 'env:K'}",
    "compatible": "{type: openai-compatible, base_url: 'http://a.test/v1'}",
    "anthropic": "{type: anthropic, base_url: 'http://a.test/v1', api_key: 'env:K'}",
    "gemini": "{type: gemini, base_url: 'http://a.test/v1beta', api_key: 'env:K'}",
    "bedrock": "{type: bedrock, base_url: 'http://a.test', region: us-east-1, api_key: 'env:K'}",
    "azure": "{type: azure, base_url: 'http://a.test', api_version: '2024-10-21', api_key: 'env:K'}",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nasty", NASTY)
def test_no_body_makes_the_gateway_fail(nasty: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    config = (
        f"auth: {{required: false}}\nproviders: {{a: {KINDS[kind]}}}\n"
        'models: {m: {targets: [{provider: a}]}, "*": {targets: [{provider: a}]}}\n'
    )

    async def scenario() -> None:
        stage = Stage(config)
        for path in apis():
            person = await stage.ask(NASTY[nasty], path)
            if person.answers:
                counted = path.endswith("count_tokens") and person.last.status == 200
                assert counted or 400 <= person.last.status < 500, (path, person.last)
            else:
                # It was sent on: then as one request whose head says what we said.
                request = stage.network.requests[-1]
                assert b"x-evil" not in request.headers
            person.leave()
            await stage.settle()
        await stage.leave()
        stage.check()
        await stage.client.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert [entry.message for entry in caplog.records] == []
