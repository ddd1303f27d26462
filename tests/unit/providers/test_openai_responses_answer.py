"""Whole answers of the Responses API."""

from __future__ import annotations

import json

import msgspec

from fairlead.errors import InvalidRequest
from fairlead.providers.chat import (
    Answer,
    ChatRequest,
    Choice,
    FinishReason,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from fairlead.providers.openai_responses import ResponsesClient
from fairlead.types import Usage

CLIENT = ResponsesClient()


def parse(**fields: object) -> ChatRequest:
    return CLIENT.parse(json.dumps({"model": "asked", "input": "hi"} | fields).encode())


def render(*parts: Part, finish: FinishReason = FinishReason.STOP, **fields: object) -> dict[str, object]:
    choice = Choice(index=0, parts=parts, finish=finish, logprobs=msgspec.Raw(b'{"content":[{"token":"x"}]}'))
    answer = Answer(
        id="a", model="", created=7, choices=(choice,), usage=Usage(input_tokens=3, output_tokens=2)
    )
    body: dict[str, object] = json.loads(CLIENT.render(answer, parse(**fields), "r-1"))
    return body


def test_items_follow_the_parts() -> None:
    output = render(
        ReasoningPart(text="hm", signature="s"), TextPart(text="x"), RefusalPart(text="no"),
        ToolCallPart(id="c", name="f", arguments="{}", signature="g"), ReasoningPart(redacted="d"),
    )["output"]  # fmt: skip
    assert output == [
        {"type": "reasoning", "id": "rs_r1_0", "summary": [],
         "content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": "fairlead-signature:s"},
        {"type": "message", "id": "msg_r1_1", "status": "completed", "role": "assistant", "content": [
            {"type": "output_text", "text": "x", "annotations": [], "logprobs": [{"token": "x"}]},
            {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "id": "fc_r1_2", "call_id": "c", "name": "f", "arguments": "{}",
         "status": "completed", "extra_content": {"google": {"thought_signature": "g"}}},
        {"type": "reasoning", "id": "rs_r1_3", "summary": [], "encrypted_content": "fairlead-redacted:d"},
    ]  # fmt: skip


def test_the_output_can_be_sent_back() -> None:
    parts = (
        ReasoningPart(text="hm", signature="s"), ReasoningPart(redacted="d"), TextPart(text="x"),
        ToolCallPart(id="c", name="f", arguments="{}", signature="g"),
    )  # fmt: skip
    output = render(*parts)["output"]
    assert parse(input=output).messages == (Message(role="assistant", parts=parts),)


def test_reasoning_is_a_summary_for_those_who_asked_for_one() -> None:
    item = render(ReasoningPart(text="hm"), reasoning={"summary": "auto"})["output"]
    assert item == [
        {"type": "reasoning", "id": "rs_r1_0", "summary": [{"type": "summary_text", "text": "hm"}]}
    ]


def test_what_was_asked_for_is_echoed() -> None:
    body = render(
        TextPart(text="x"), instructions="be nice", temperature=0.5, max_output_tokens=9, metadata={"k": "v"},
        tools=[{"type": "function", "name": "f", "parameters": {"type": "object"}}], tool_choice="required",
        text={"verbosity": "low"}, reasoning={"effort": "low"}, user="u", parallel_tool_calls=False,
    )  # fmt: skip
    assert body["usage"] == {
        "input_tokens": 3, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 5,
    }  # fmt: skip
    expected = {
        "id": "resp_r1", "object": "response", "created_at": 7, "status": "completed", "model": "asked",
        "instructions": "be nice", "temperature": 0.5, "max_output_tokens": 9, "metadata": {"k": "v"},
        "tool_choice": "required", "text": {"format": {"type": "text"}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": None}, "user": "u", "parallel_tool_calls": False,
        "store": False, "error": None, "incomplete_details": None,
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    assert body["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": None,
            "parameters": {"type": "object"},
            "strict": None,
        }
    ]


def test_an_answer_that_was_cut_short_is_incomplete() -> None:
    body = render(TextPart(text="x"), finish=FinishReason.LENGTH)
    assert (body["status"], body["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert body["output"][0]["status"] == "incomplete"  # type: ignore[index]  # JSON


def test_errors_have_openais_envelope() -> None:
    error = json.loads(CLIENT.error_body(InvalidRequest("no", param="input"), "r1"))["error"]
    assert error == {
        "message": "no",
        "type": "invalid_request_error",
        "param": "input",
        "code": "invalid_request",
    }
    event = CLIENT.error_event(InvalidRequest("no"), "r1").decode()
    assert event.startswith("event: error\ndata: ")
    assert json.loads(event.split("data: ")[1])["error"]["message"] == "no"
    assert CLIENT.heartbeat() == b": ping\n\n"
    assert Reasoning(effort="low") == parse(reasoning={"effort": "low"}).reasoning
