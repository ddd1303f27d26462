"""The chat dialect's two sides, put together."""

from __future__ import annotations

import json

from fairlead.errors import InvalidRequest
from fairlead.providers.chat import ChatRequest, End, Message, TextPart
from fairlead.providers.openai_chat import ENGINE, OpenAIChatClient, OpenAIChatUpstream
from fairlead.types import FailureKind

CLIENT, UPSTREAM = OpenAIChatClient(), OpenAIChatUpstream(ENGINE)
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_completion_tokens":5}'


def test_a_request_goes_through() -> None:
    request = CLIENT.parse(BODY)
    assert request == ChatRequest(
        model="m", messages=(Message(role="user", parts=(TextPart(text="hi"),)),), max_output_tokens=5
    )
    assert json.loads(UPSTREAM.encode(request, "theirs").body) == {
        "model": "theirs", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5,
    }  # fmt: skip


def test_an_answer_comes_back() -> None:
    theirs = (
        b'{"id":"chatcmpl-1","model":"m","choices":[{"message":{"content":"ho"},"finish_reason":"stop"}]}'
    )
    ours = json.loads(CLIENT.render(UPSTREAM.decode(theirs, []), CLIENT.parse(BODY), "r"))
    assert ours["choices"][0]["message"]["content"] == "ho"
    assert "usage" not in ours


def test_a_stream_comes_back() -> None:
    request = CLIENT.parse(BODY)
    decoder, encoder = UPSTREAM.decoder(request), CLIENT.encoder(request, "r")
    events = decoder.feed(b'data: {"id":"x","choices":[{"delta":{"content":"ho"}}]}\n\ndata: [DONE]\n\n')
    assert events[-1] == End()
    assert encoder.encode(events).endswith(b"data: [DONE]\n\n")
    assert encoder.encode(events) == b""


def test_failures_and_errors() -> None:
    assert UPSTREAM.failure(429, [], b"").kind is FailureKind.RATE_LIMITED
    error = InvalidRequest("no", param="n")
    assert json.loads(CLIENT.error_body(error, "r"))["error"]["param"] == "n"
    event = CLIENT.error_event(error, "r")
    assert event == b"data: " + CLIENT.error_body(error, "r") + b"\n\n"
    assert CLIENT.heartbeat() == b": ping\n\n"
