"""Same dialect: the client's bytes travel. Another dialect: the request is translated once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.gateway.stage import ONE, Stage, completion, hello, staged, stream

from fairlead.errors import InvalidRequest
from fairlead.gateway.prepare import require_model
from fairlead.providers.rewrite import read_head
from fairlead.testing import answer

NAMED = ONE.replace("{provider: a}", "{provider: a, model: real-name}")
ANTHROPIC = """\
auth: {required: false}
providers: {a: {type: anthropic, base_url: "http://a.test/v1", api_key: "env:K"}}
models: {m: {targets: [{provider: a}]}}
"""


@staged()
async def test_the_clients_bytes_travel_as_they_are(stage: Stage) -> None:
    body = b'{ "model" : "m", "messages":[{"role":"user","content":"\\u00e9"}], "top_p":1.0e0, "odd":[1] }'
    stage.network.plan("a.test", completion())
    await stage.ask(body)
    assert stage.network.requests[0].body == body
    assert stage.network.requests[0].target == "/v1/chat/completions"


@staged(NAMED)
async def test_only_the_models_name_is_replaced(stage: Stage) -> None:
    stage.network.plan("a.test", completion())
    await stage.ask(b'{"model":"m","messages":[],"top_p":1.0e0,"model":"m","odd":{"a" : 1}}')
    assert stage.network.requests[0].body == (
        b'{"model":"real-name","messages":[],"top_p":1.0e0,"odd":{"a" : 1}}'
    )


@pytest.mark.parametrize(
    ("given", "sent", "shown"),
    [
        (None, {"include_usage": True}, False),
        ({}, {"include_usage": True}, False),
        ({"include_usage": False}, {"include_usage": True}, False),
        ({"include_usage": True}, {"include_usage": True}, True),
        ({"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}, False),
    ],
)
@staged()
async def test_usage_is_asked_for_and_shown_only_to_who_asked(
    stage: Stage, given: Any, sent: Any, shown: bool
) -> None:
    stage.network.plan("a.test", stream("Hi"))
    more = {} if given is None else {"stream_options": given}
    person = await stage.ask(hello(stream=True, **more))
    assert stage.network.requests[0].json["stream_options"] == sent
    assert any("usage" in event and event["usage"] for event in person.events[:-1]) == shown
    assert (await stage.record()).usage.input_tokens == 5


@staged(ANTHROPIC)
async def test_another_dialect_is_translated_both_ways(stage: Stage) -> None:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }  # fmt: skip
    stage.network.plan("a.test", answer(json.dumps(message).encode()))
    person = await stage.ask(hello(max_tokens=7))
    assert json.loads(person.last.body)["choices"][0]["message"]["content"] == "Hello"
    request = stage.network.requests[0]
    assert (request.target, request.json["max_tokens"]) == ("/v1/messages", 7)
    assert request.headers[b"x-api-key"] == b"secret"
    assert (await stage.record()).usage.output_tokens == 1


@staged(ANTHROPIC)
async def test_what_a_target_cannot_carry_is_refused_by_name(stage: Stage) -> None:
    person = await stage.ask(hello(n=2, max_tokens=7))
    assert (person.last.status, person.error["param"]) == (400, "n")
    assert not stage.network.requests


@staged(ANTHROPIC)
async def test_what_a_target_ignores_is_told_in_a_header_that_clients_cannot_write(stage: Stage) -> None:
    message = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }  # fmt: skip
    stage.network.plan("a.test", answer(json.dumps(message).encode()))
    body = hello(max_tokens=7, seed=1, **{"x\r\nset-cookie: evil=1": 1, "\u20ac": 2})
    person = await stage.ask(body)
    assert "set-cookie" not in person.last.headers
    if person.last.status == 200:
        assert "seed" in person.last.headers["x-fairlead-ignored"]
    else:
        assert person.last.status == 400


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/moderations", "/v1/audio/speech"])
@staged(ANTHROPIC)
async def test_what_no_dialect_can_translate_is_refused(stage: Stage, path: str) -> None:
    person = await stage.ask({"model": "m", "input": "x"}, path)
    assert person.last.status == 400
    assert not stage.network.requests


@pytest.mark.parametrize(("encoding", "expected"), [("float", [0.5, 1.0]), ("base64", "AAAAPwAAgD8=")])
@staged()
async def test_embeddings_come_in_the_encoding_asked_for(stage: Stage, encoding: str, expected: Any) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}]
    body = {"object": "list", "model": "x", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    stage.network.plan("a.test", answer(json.dumps(body).encode()))
    person = await stage.ask({"model": "m", "input": "x", "encoding_format": encoding}, "/v1/embeddings")
    assert json.loads(person.last.body)["data"][0]["embedding"] == expected


@staged()
async def test_tokens_are_counted_here_when_no_target_can(stage: Stage) -> None:
    person = await stage.ask(hello(), "/v1/messages/count_tokens")
    assert person.last.status == 200
    assert json.loads(person.last.body)["input_tokens"] > 0
    assert not stage.network.requests
    assert (await stage.record()).status == 200


AFFINITY = """\
auth: {required: false}
providers:
  a: {type: vllm, base_url: "http://a.test/v1"}
  b: {type: vllm, base_url: "http://b.test/v1"}
models: {m: {strategy: prefix-affinity, targets: [{provider: a}, {provider: b}]}}
"""


@staged(AFFINITY)
async def test_the_same_prompt_goes_to_the_same_replica_whatever_stands_around_it(stage: Stage) -> None:
    hosts = set()
    for number in range(6):
        for host in ("a.test", "b.test"):
            stage.network.plan(host, completion())
        messages = [
            {"role": "system", "content": "You are helpful. " * 80},
            {"role": "user", "content": str(number)},
        ]
        await stage.ask({"user": f"user {number}", "model": "m", "messages": messages})
        hosts.add(stage.network.requests[-1].host)
    assert len(hosts) == 1


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":""}'])
def test_a_request_names_its_model(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="model"):
        require_model(read_head(body))
