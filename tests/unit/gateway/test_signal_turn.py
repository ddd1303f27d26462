"""Requests and answers of every dialect, as semantic metrics read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fairlead.gateway.signal_turn import Read, answered, read
from fairlead.signals.questions import Sampled

ALL_CONTEXT = ("tool_results", "documents", "tags")
CHAT_ANSWER = {
    "id": "c1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [
        {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "Hello"}},
    ],
}  # fmt: skip
MESSAGE = {
    "id": "m1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "max_tokens",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hello"}],
    "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
RESPONSE = {
    "id": "r1", "object": "response", "created_at": 1, "model": "m", "status": "incomplete",
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": [{"type": "message", "id": "i", "role": "assistant", "status": "completed",
                "content": [{"type": "output_text", "text": "Hello", "annotations": []}]}],
}  # fmt: skip
COMPLETION = {
    "id": "t1", "object": "text_completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "length", "text": "Hello", "logprobs": None}],
}  # fmt: skip


def sampled(request: dict[str, Any], answer: Any = CHAT_ANSWER, api: str = "chat", **more: Any) -> Sampled:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Sampled(
        id="req_1", at=1.0, model="m", tenant="t", key_id="k", api=api, stream=more.pop("stream", False),
        request=json.dumps(request).encode(), answer=body, **more,
    )  # fmt: skip


def done(found: Read | None) -> Read:
    assert found is not None
    return found


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks)


def chat(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": list(messages), **more}


USER = {"role": "user", "content": "Where is it?"}


@pytest.mark.parametrize(
    ("api", "request_body", "answer"),
    [
        ("chat", chat(USER), CHAT_ANSWER),
        ("completions", {"model": "m", "prompt": "Where is it?"}, COMPLETION),
        ("messages", chat(USER, max_tokens=9), MESSAGE),
        ("responses", {"model": "m", "input": "Where is it?"}, RESPONSE),
    ],
)
def test_every_api_is_read(api: str, request_body: dict[str, Any], answer: dict[str, Any]) -> None:
    found = done(read(sampled(request_body, answer, api), ALL_CONTEXT))

    assert (found.turn.prompt, found.turn.answer, found.turn.finish) == ("Where is it?", "Hello", "length")
    assert found.response_id == answer["id"]


def test_streams_are_read() -> None:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
        }

    body = b": still working\n\n" + events(
        chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop")
    )
    found = done(read(sampled(chat(USER), body + b"data: [DONE]\n\n", stream=True), ()))

    assert (found.turn.answer, found.turn.finish) == ("Hello", "stop")


def test_a_responses_stream_is_read_by_its_last_event() -> None:
    body = events({"type": "response.incomplete", "response": RESPONSE})

    found = answered("responses", body, stream=True)

    assert found is not None
    assert (found.text, found.finish) == ("Hello", "length")


@pytest.mark.parametrize(
    ("api", "body", "stream"),
    [
        ("chat", b"", False),
        ("chat", b"[]", False),
        ("chat", b'{"choices": []}', False),
        ("chat", b'data: {"id": "c", "choices": []}\n\n', True),
        ("messages", b"data: {}\n\n", True),
        ("responses", b'{"status": "failed", "output": [1]}', False),
        ("responses", b'{"status": "completed", "output": [1]}', False),
        ("chat", b"\xff" * 20, False),
    ],
)
def test_answers_that_are_none_are_left(api: str, body: bytes, stream: bool) -> None:
    assert answered(api, body, stream=stream) is None


def test_a_request_that_only_its_provider_understands_is_left() -> None:
    assert read(sampled({"model": "m"}), ()) is None
    assert read(sampled(chat({"role": "nobody", "content": 1})), ()) is None


def test_the_question_is_the_last_text_of_the_user_without_what_was_retrieved() -> None:
    body = chat(
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "<context>Lamps cost 9 euros.</context>How much is a lamp?"},
    )

    found = done(read(sampled(body), ALL_CONTEXT))

    assert found.turn.prompt == "How much is a lamp?"
    assert found.turn.context == "Lamps cost 9 euros."
    # Every later turn of the conversation has these two as well.
    later = done(read(sampled(chat(*body["messages"], {"role": "assistant", "content": "9."}, USER)), ()))
    assert later.session == found.session


def test_what_answers_are_grounded_in() -> None:
    body = chat(
        {"role": "system", "content": "The shop is in Lyon."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "Parcel 7 is in Lyon."},
    )  # fmt: skip

    assert done(read(sampled(body), ALL_CONTEXT)).turn.context == "Parcel 7 is in Lyon."
    both = done(read(sampled(body), (*ALL_CONTEXT, "system"))).turn.context
    assert both == "The shop is in Lyon.\nParcel 7 is in Lyon."
    assert done(read(sampled(body), ())).turn.context == ""
    # A turn that only brings results has the question of the last one that asked.
    assert done(read(sampled(body), ())).turn.prompt == "Where is it?"


def test_documents_are_a_context() -> None:
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "Cats purr."},
    }
    body = chat({"role": "user", "content": [document, {"type": "text", "text": "Why?"}]}, max_tokens=9)

    assert done(read(sampled(body, MESSAGE, "messages"), ALL_CONTEXT)).turn.context == "Cats purr."


def test_schemas_of_formats_and_tools_come_with_the_answer() -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}}
    calls = [
        {"id": "1", "type": "function", "function": {"name": name, "arguments": '{"a": 1}'}}
        for name in ("find", "lose")
    ]
    choice = {
        "index": 0,
        "finish_reason": "tool_calls",
        "message": {"role": "assistant", "tool_calls": calls},
    }

    turn = done(
        read(sampled(chat(USER, tools=[tool], response_format=form), CHAT_ANSWER | {"choices": [choice]}), ())
    ).turn

    assert (turn.wants_json, json.loads(turn.schema or b"")) == (True, {"type": "array"})
    assert [(call.name, call.known, call.schema is not None) for call in turn.calls] == [
        ("find", True, True),
        ("lose", False, False),
    ]


def test_users_and_sessions_are_what_the_application_says() -> None:
    plain = done(read(sampled(chat(USER)), ()))
    named = done(read(sampled(chat(USER, user="u1", metadata={"session_id": "s1"})), ()))
    header = done(read(sampled(chat(USER, metadata={"session_id": "s1"}), session="h1"), ()))
    message = done(
        read(sampled(chat(USER, max_tokens=9, metadata={"user_id": "u2"}), MESSAGE, "messages"), ())
    )

    assert (plain.user, plain.session) == ("", "Where is it?")
    assert (named.user, named.session) == ("u1", "s1")
    assert (header.user, header.session) == ("", "h1")
    assert message.user == "u2"
