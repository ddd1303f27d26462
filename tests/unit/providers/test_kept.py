"""Bodies to streams and back, in every dialect: what is kept of an answer is the answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers.answers import answers, calls, thoughts
from tests.unit.providers.neutral import comparable, texts

from fairlead.providers.anthropic import AnthropicClient
from fairlead.providers.chat import Answer, ChatRequest, RefusalPart, TextPart
from fairlead.providers.dialect import ClientDialect
from fairlead.providers.fold import unfold
from fairlead.providers.kept import STREAMED, glance, stream_of_whole, whole_of_stream
from fairlead.providers.openai_chat import OpenAIChatClient
from fairlead.providers.openai_completions import CompletionsClient
from fairlead.providers.openai_responses import ResponsesClient
from fairlead.types import Usage

REQUEST = ChatRequest(model="m", messages=(), include_usage=True)
texts_only = st.builds(TextPart, text=texts)

DIALECTS: dict[str, ClientDialect] = {
    "chat": OpenAIChatClient(),
    "completions": CompletionsClient(),
    "messages": AnthropicClient(),
    "responses": ResponsesClient(),
}
SAYS = {
    "chat": answers(parts=texts_only | st.builds(RefusalPart, text=texts) | thoughts | calls),
    "completions": answers(parts=texts_only, logprobs=False),
    "messages": answers(parts=texts_only | thoughts | calls, most_choices=1, logprobs=False),
    "responses": answers(parts=texts_only | thoughts | calls, most_choices=1, logprobs=False),
}


def rendered(api: str, answer: Answer) -> bytes:
    return DIALECTS[api].render(answer, REQUEST, "req_1")


def there_and_back(api: str, body: bytes) -> bytes | None:
    stream = stream_of_whole(api, body, include_usage=True, request_id="req_2")
    assert stream is not None
    return whole_of_stream(api, stream, None, "req_3")


def test_every_api_that_streams_is_covered() -> None:
    assert set(DIALECTS) == STREAMED


@pytest.mark.parametrize("api", sorted(DIALECTS))
@given(data=st.data())
def test_a_body_that_became_a_stream_becomes_the_body_again(api: str, data: st.DataObject) -> None:
    body = rendered(api, data.draw(SAYS[api]))

    again = there_and_back(api, body)

    assert again is not None
    assert _joined(json.loads(again)) == _joined(json.loads(body))


@pytest.mark.parametrize("api", sorted(DIALECTS))
@given(data=st.data())
def test_a_stream_and_a_whole_answer_say_the_same(api: str, data: st.DataObject) -> None:
    """The dialect's own stream of an answer folds into what the dialect renders of it at once."""
    answer = data.draw(SAYS[api])
    request = msgspec.structs.replace(REQUEST, n=len(answer.choices))
    stream = DIALECTS[api].encoder(request, "req_1").encode(unfold(answer))

    whole = whole_of_stream(api, stream, answer.usage, "req_1")

    assert whole is not None
    assert _told(api, json.loads(whole)) == _told(api, json.loads(rendered(api, answer)))


@pytest.mark.parametrize("api", sorted(DIALECTS))
@given(data=st.data())
def test_a_cut_stream_makes_no_body(api: str, data: st.DataObject) -> None:
    answer = data.draw(SAYS[api])
    stream = DIALECTS[api].encoder(REQUEST, "req_1").encode(unfold(answer))
    # Before the last event; its blank line may be missing.
    end = stream.rstrip().rindex(b"\n\n")

    cut = data.draw(st.integers(0, end))

    assert whole_of_stream(api, stream[:cut], None, "req_1") is None


@pytest.mark.parametrize("api", sorted(DIALECTS))
@given(junk=st.binary(max_size=80))
def test_what_is_no_answer_is_none_either_way(api: str, junk: bytes) -> None:
    assert whole_of_stream(api, junk, None, "req_1") is None
    assert stream_of_whole(api, junk, include_usage=True, request_id="req_1") is None
    assert glance(api, junk) is None


def test_usage_that_the_client_did_not_see_is_kept() -> None:
    stream = (
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m",'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}\n\n'
        b": ping\n\n"
        b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"m",'
        b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )

    whole = whole_of_stream("chat", stream, Usage(input_tokens=3, output_tokens=1), "req_1")

    assert whole is not None
    body = json.loads(whole)
    assert body["usage"]["total_tokens"] == 4
    assert body["choices"][0]["message"]["content"] == "hi"
    assert body["id"] == "chatcmpl-1"


def test_usage_is_streamed_to_those_who_asked_for_it() -> None:
    body = chat_body({"role": "assistant", "content": "hi"})

    shown = stream_of_whole("chat", body, include_usage=True, request_id="r")
    hidden = stream_of_whole("chat", body, include_usage=False, request_id="r")

    assert shown is not None
    assert hidden is not None
    assert b'"total_tokens":3' in shown
    assert b"usage" not in hidden
    assert hidden.endswith(b"data: [DONE]\n\n")


def chat_body(message: dict[str, Any], **fields: Any) -> bytes:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 5, "model": "m", "usage": usage}
    return json.dumps(body | {"choices": [choice]} | fields).encode()


def test_what_the_neutral_model_cannot_say_is_not_dropped_unnoticed() -> None:
    plain = chat_body({"role": "assistant", "content": "hi", "annotations": []}, system_fingerprint="x")
    cited = chat_body({"role": "assistant", "content": "hi", "annotations": [{"type": "url_citation"}]})
    spoken = chat_body({"role": "assistant", "content": None, "audio": {"data": "aGk="}})
    extended = chat_body({"role": "assistant", "content": "hi"}, citations=["https://example.com"])

    def stream(body: bytes) -> bytes | None:
        return stream_of_whole("chat", body, include_usage=True, request_id="r")

    assert stream(plain) is not None
    assert stream(cited) is None
    assert stream(spoken) is None
    assert stream(extended) is None


def test_a_stream_with_more_than_the_neutral_model_is_not_kept() -> None:
    head = b'data: {"id":"c","model":"m","created":1,"choices":[{"index":0,"delta":{"content":"hi"%b}}]}\n\n'
    end = b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    done = b"data: [DONE]\n\n"

    assert whole_of_stream("chat", head % b"" + end + done, None, "r") is not None
    assert whole_of_stream("chat", head % b',"annotations":[{"a":1}]' + end + done, None, "r") is None
    citation = (
        b'data: {"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}\n\n'
    )
    assert whole_of_stream("messages", citation, None, "r") is None


def test_a_response_keeps_items_that_nobody_here_knows() -> None:
    body = json.dumps(
        {
            "id": "resp_1",
            "status": "completed",
            "usage": {"total_tokens": 3},
            "output": [
                {"type": "novel_call", "id": "n_1", "status": "completed", "result": [1]},
                {
                    "type": "message",
                    "id": "msg_1",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {"type": "output_text", "text": "hi", "annotations": [{"a": 1}], "logprobs": []}
                    ],
                },
            ],
        }
    ).encode()

    stream = stream_of_whole("responses", body, include_usage=False, request_id="r")

    assert stream is not None
    assert whole_of_stream("responses", stream, None, "r") == body
    assert stream.count(b"response.output_text.annotation.added") == 2  # its `event:` line and its `type`
    numbers = [
        json.loads(line[6:])["sequence_number"] for line in stream.split(b"\n") if line[:5] == b"data:"
    ]
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize(
    ("api", "body", "finishes", "calls_tools"),
    [
        ("chat", chat_body({"content": "hi"}), {"stop"}, False),
        ("chat", chat_body({"tool_calls": [{"id": "a", "function": {"name": "f"}}]}), {"tool_calls"}, True),
        ("messages", b'{"id":"a","content":[],"stop_reason":"max_tokens"}', {"length"}, False),
        ("responses", b'{"status":"completed","output":[{"type":"message"}]}', {"completed"}, False),
        ("responses", b'{"status":"completed","output":[{"type":"function_call"}]}', {"completed"}, True),
        (
            "responses",
            b'{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[]}',
            {"max_output_tokens"},
            False,
        ),
        ("rerank", b"anything", {"stop"}, False),
    ],
)
def test_what_decides_whether_a_body_is_kept(
    api: str, body: bytes, finishes: set[str], calls_tools: bool
) -> None:
    found = glance(api, body)

    assert found is not None
    assert found.finishes == finishes
    assert found.calls_tools == calls_tools


def _joined(body: dict[str, Any]) -> object:
    """With unsealed thoughts that follow each other as one: nothing in a stream keeps them apart."""
    for choice in body.get("choices", ()):
        kept: list[dict[str, Any]] = []
        for detail in choice.get("message", {}).get("reasoning_details", ()):
            last = kept[-1] if kept else {"type": "", "signature": ""}
            if last["type"] == "reasoning.text" and "signature" not in last and "text" in detail:
                kept[-1] = detail | {"text": last["text"] + detail["text"], "index": last["index"]}
            else:
                kept.append(detail | {"index": len(kept)})
        if kept:
            choice["message"]["reasoning_details"] = kept
    return comparable(body)


def _told(api: str, body: dict[str, Any]) -> object:
    """What a client is told; a stream has no place for some details of a whole response."""
    if api == "responses":
        body.pop("service_tier", None)
        for item in body["output"]:
            for part in item.get("content") or []:
                part.pop("logprobs", None)
    return _joined(body)
