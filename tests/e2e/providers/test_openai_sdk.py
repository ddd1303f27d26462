"""OpenAI's own SDK, unmodified, on everything that the OpenAI dialects render.

The SDK's types must validate all of it strictly, and its client and stream
decoder must understand it; bodies are handed to it by a transport in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx2
import openai
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from fairlead import errors
from fairlead.providers.chat import (
    Answer,
    Begin,
    ChatRequest,
    Choice,
    End,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    StreamError,
    TextDelta,
    TextPart,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.dialect import ClientDialect
from fairlead.providers.embeddings import Embeddings, parse_embeddings, render_embeddings
from fairlead.providers.openai_chat import OpenAIChatClient
from fairlead.providers.openai_completions import CompletionsClient
from fairlead.providers.openai_responses import ResponsesClient
from fairlead.types import Failure, FailureKind, Usage

Reply = tuple[int, str, bytes]
ANSWER = Answer(
    id="msg_1", model="real", created=7, usage=Usage(input_tokens=9, output_tokens=4, reasoning_tokens=2),
    choices=(
        Choice(
            index=0,
            parts=(
                ReasoningPart(text="hm", signature="s"), TextPart(text="hé"), RefusalPart(text="no"),
                ToolCallPart(id="c1", name="f", arguments='{"a":1}', signature="g"),
            ),
            finish=FinishReason.TOOL_CALLS,
        ),
    ),
)  # fmt: skip
EVENTS: list[Event] = [
    Begin(id="msg_1", model="real", created=7),
    ReasoningDelta(text="hm"),
    ReasoningDelta(signature="s"),
    ReasoningDelta(redacted="d"),
    TextDelta(text="h"),
    TextDelta(text="é"),
    RefusalDelta(text="no"),
    ToolCallBegin(index=0, id="c1", name="f", signature="g"),
    ToolCallDelta(index=0, arguments='{"a":'),
    ToolCallDelta(index=0, arguments="1}"),
    Finish(reason=FinishReason.TOOL_CALLS),
    UsageReport(usage=Usage(input_tokens=9, output_tokens=4)),
    End(),
]
CUT: list[Event] = [*EVENTS[:5], StreamError(failure=Failure(kind=FailureKind.CUT, message="it broke"))]
CHAT, COMPLETIONS, RESPONSES = OpenAIChatClient(), CompletionsClient(), ResponsesClient()


def client(reply: Callable[[httpx2.Request], Reply]) -> openai.OpenAI:
    """The SDK on a transport that answers with what `reply` makes of the request."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        status, kind, body = reply(request)
        # One byte at a time: the SDK must put the events together itself.
        stream = (body[start : start + 1] for start in range(len(body)))
        return httpx2.Response(status, headers={"content-type": kind}, content=stream)

    return openai.OpenAI(
        api_key="k", base_url="http://gateway/v1", max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )  # fmt: skip


def answering(dialect: ClientDialect, events: list[Event] = EVENTS) -> openai.OpenAI:
    """The SDK against a gateway that always gives `ANSWER`, or `events` when asked to stream."""

    def reply(request: httpx2.Request) -> Reply:
        asked = dialect.parse(request.read())
        if asked.stream:
            stream = dialect.heartbeat() + dialect.encoder(asked, "r-1").encode(events)
            return 200, "text/event-stream; charset=utf-8", stream
        return 200, "application/json", dialect.render(ANSWER, asked, "r-1")

    return client(reply)


def data_of(stream: bytes) -> Iterator[bytes]:
    for line in stream.split(b"\n"):
        if line.startswith(b"data: ") and line != b"data: [DONE]":
            yield line[6:]


def chat_request(**fields: object) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
    return CHAT.parse(json.dumps(body).encode())


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize("usage", [False, True])
def test_chat_validates_strictly(usage: bool) -> None:
    request = chat_request(stream=True, stream_options={"include_usage": usage}, n=2)
    TypeAdapter(ChatCompletion).validate_json(CHAT.render(ANSWER, request, "r"), strict=True)
    chunks = list(data_of(CHAT.encoder(request, "r").encode(EVENTS)))
    assert len(chunks) == 13 - (not usage)
    for chunk in chunks:
        TypeAdapter(ChatCompletionChunk).validate_json(chunk, strict=True)


def test_completions_validate_strictly() -> None:
    request = COMPLETIONS.parse(
        b'{"model":"m","prompt":"hi","stream":true,"stream_options":{"include_usage":true}}'
    )
    TypeAdapter(Completion).validate_json(COMPLETIONS.render(ANSWER, request, "r"), strict=True)
    for chunk in data_of(COMPLETIONS.encoder(request, "r").encode(EVENTS)):
        # OpenAI's own streams have `finish_reason: null`, which its type for whole answers lacks.
        body = json.loads(chunk)
        for choice in body["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        TypeAdapter(Completion).validate_python(body, strict=True)


RESPONSES_REQUESTS: list[dict[str, object]] = [
    {},
    {"reasoning": {"effort": "low", "summary": "auto"}, "text": {"verbosity": "low"}},
    {
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}},
        "metadata": {"k": "v"}, "instructions": "be nice", "max_output_tokens": 5, "service_tier": "flex",
        "top_logprobs": 2, "user": "u", "prompt_cache_key": "p",
    },
]  # fmt: skip


@pytest.mark.parametrize("fields", RESPONSES_REQUESTS)
@pytest.mark.parametrize("events", [EVENTS, CUT], ids=["whole", "cut"])
def test_responses_validate_strictly(fields: dict[str, object], events: list[Event]) -> None:
    request = RESPONSES.parse(json.dumps({"model": "m", "input": "hi", "stream": True} | fields).encode())
    TypeAdapter(Response).validate_json(RESPONSES.render(ANSWER, request, "r"), strict=True)
    count = 0
    for event in data_of(RESPONSES.encoder(request, "r").encode(events)):
        found = TypeAdapter(ResponseStreamEvent).validate_json(event, strict=True)
        assert found.type == json.loads(event)["type"]
        assert found.sequence_number == count
        count += 1
    assert count > 8


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_embeddings_validate(encoding: str) -> None:
    request = parse_embeddings(json.dumps({"model": "m", "input": "a", "encoding_format": encoding}).encode())
    body = json.loads(render_embeddings(Embeddings(vectors=([0.5, 1.0],), input_tokens=1), request))
    if encoding == "float":
        TypeAdapter(CreateEmbeddingResponse).validate_python(body, strict=True)
    else:
        # The type knows floats only; the SDK decodes base64 before it.
        assert isinstance(body["data"][0]["embedding"], str)


# --- the client ---------------------------------------------------------------------------------


def test_chat_completions_through_the_client() -> None:
    found = answering(CHAT).chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    message = found.choices[0].message
    assert (message.content, message.refusal, found.choices[0].finish_reason) == ("hé", "no", "tool_calls")
    assert message.tool_calls is not None
    # What an SDK dumps of an answer is what the next request holds.
    back = chat_request(messages=[{"role": "user", "content": "hi"}, message.model_dump()])
    assert back.messages[1].parts == ANSWER.choices[0].parts


def test_a_chat_stream_through_the_client() -> None:
    stream = answering(CHAT).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == "hé"
    calls = [call for choice in choices for call in choice.delta.tool_calls or []]
    assert "".join((call.function.arguments if call.function else None) or "" for call in calls) == '{"a":1}'
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 13


def test_the_clients_own_accumulator_understands_a_chat_stream() -> None:
    with answering(CHAT).chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "hé"
    calls = final.choices[0].message.tool_calls
    assert calls is not None
    assert (calls[0].id, calls[0].function.arguments) == ("c1", '{"a":1}')


def test_a_cut_chat_stream_raises() -> None:
    stream = answering(CHAT, CUT).chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    with pytest.raises(openai.APIError, match="it broke"):
        list(stream)


def test_completions_through_the_client() -> None:
    gateway = answering(COMPLETIONS)
    assert gateway.completions.create(model="m", prompt="hi").choices[0].text == "héno"
    stream = gateway.completions.create(model="m", prompt="hi", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "héno"


def test_responses_through_the_client() -> None:
    found = answering(RESPONSES).responses.create(model="m", input="hi")
    assert (found.output_text, found.status) == ("hé", "completed")
    back = RESPONSES.parse(
        json.dumps({"model": "m", "input": [item.model_dump() for item in found.output]}).encode()
    )
    assert back.messages[0].parts == ANSWER.choices[0].parts


def test_a_responses_stream_through_the_clients_accumulator() -> None:
    with answering(RESPONSES).responses.stream(model="m", input="hi") as stream:
        final = stream.get_final_response()
    assert final.output_text == "hé"
    assert final.usage is not None
    assert final.usage.total_tokens == 13
    assert [item.type for item in final.output] == ["reasoning", "reasoning", "message", "function_call"]


def test_a_cut_responses_stream_raises() -> None:
    stream = answering(RESPONSES, CUT).responses.create(model="m", input="hi", stream=True)
    with pytest.raises(openai.APIError, match="it broke"):
        list(stream)


def test_embeddings_through_the_client_which_asks_for_base64() -> None:
    def reply(request: httpx2.Request) -> Reply:
        asked = parse_embeddings(request.read())
        assert asked.encoding == "base64"
        return 200, "application/json", render_embeddings(Embeddings(vectors=([0.5, -2.0],)), asked)

    found = client(reply).embeddings.create(model="m", input="a")
    assert found.data[0].embedding == [0.5, -2.0]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.InvalidRequest("bad", param="n"), openai.BadRequestError),
        (errors.Unauthenticated(), openai.AuthenticationError),
        (errors.Forbidden(), openai.PermissionDeniedError),
        (errors.ModelNotFound(), openai.NotFoundError),
        (errors.RateLimited(), openai.RateLimitError),
        (errors.UpstreamsExhausted(), openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS, RESPONSES], ids=["chat", "completions", "responses"])
def test_errors_become_the_sdks_classes(
    dialect: ClientDialect, error: errors.FairleadError, kind: type[openai.APIStatusError]
) -> None:
    gateway = client(lambda _: (error.status, "application/json", dialect.error_body(error, "r")))
    with pytest.raises(kind) as caught:
        gateway.models.list()
    assert (caught.value.code, caught.value.param) == (error.code, error.param)


@pytest.mark.parametrize("dialect", [CHAT, COMPLETIONS, RESPONSES], ids=["chat", "completions", "responses"])
def test_an_error_event_raises(dialect: ClientDialect) -> None:
    event = dialect.heartbeat() + dialect.error_event(errors.UpstreamCut("it broke"), "r")
    gateway = client(lambda _: (200, "text/event-stream", event))
    stream = gateway.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    with pytest.raises(openai.APIError, match="it broke"):
        list(stream)
