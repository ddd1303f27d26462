from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.anthropic import AnthropicClient
from fairlead.providers.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from fairlead.providers.gemini import GeminiUpstream

USER = Message(role="user", parts=(TextPart(text="hi"),))
NEW, OLD = "gemini-3-pro", "gemini-2.5-flash"


def encode(*messages: Message, model: str = NEW, **fields: Any) -> dict[str, Any]:
    request = ChatRequest(model="m", messages=messages or (USER,), **fields)
    found: dict[str, Any] = json.loads(GeminiUpstream().encode(request, model).body)
    return found


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (NEW, False, "/models/gemini-3-pro:generateContent"),
        (NEW, True, "/models/gemini-3-pro:streamGenerateContent?alt=sse"),
        ("publishers/google/models/x", False, "/publishers/google/models/x:generateContent"),
        ("a?b", False, "/models/a%3Fb:generateContent"),
    ],
)
def test_path(model: str, stream: bool, path: str) -> None:
    request = ChatRequest(model="m", messages=(USER,), stream=stream)

    assert GeminiUpstream().encode(request, model).path == path


def test_every_option() -> None:
    config = encode(
        max_output_tokens=5,
        temperature=2.0,
        top_p=0.5,
        top_k=3,
        stop=("a",),
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        n=2,
        response_format=ResponseFormat(kind="json_object"),
    )["generationConfig"]

    assert config == {
        "maxOutputTokens": 5,
        "temperature": 2.0,
        "topP": 0.5,
        "topK": 3,
        "stopSequences": ["a"],
        "seed": 7,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "candidateCount": 2,
        "responseMimeType": "application/json",
    }


@pytest.mark.parametrize(
    ("reasoning", "model", "expected"),
    [
        (Reasoning(effort="none"), OLD, {"thinkingBudget": 0}),
        (Reasoning(enabled=False), NEW, {"thinkingLevel": "MINIMAL"}),
        (Reasoning(effort="low"), OLD, {"thinkingBudget": 1024, "includeThoughts": True}),
        (Reasoning(effort="high"), NEW, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        (Reasoning(adaptive=True), OLD, {"thinkingBudget": -1, "includeThoughts": True}),
        (Reasoning(adaptive=True), NEW, {"includeThoughts": True}),
        (Reasoning(budget_tokens=99), NEW, {"thinkingBudget": 99, "includeThoughts": True}),
    ],
)
def test_thinking(reasoning: Reasoning, model: str, expected: object) -> None:
    assert encode(model=model, reasoning=reasoning)["generationConfig"]["thinkingConfig"] == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 1}, "top_logprobs"),
        ({"service_tier": "scale"}, "service_tier"),
        ({"tools": (Tool(name="a"), Tool(name="b")), "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"reasoning": Reasoning(effort="extreme")}, "reasoning_effort"),
        ({"extras": {"logit_bias": msgspec.Raw(b"{}")}}, "logit_bias"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        encode(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "part",
    [
        ImagePart(url="https://example.com/a.png"),
        FilePart(file_id="file-1"),
        FilePart(url="http://example.com/a.pdf"),
        AudioPart(data="x", format="midi"),
    ],
)
def test_content_that_cannot_be_carried_is_refused(part: Any) -> None:
    with pytest.raises(UnsupportedByTarget):
        encode(Message(role="user", parts=(part,)))


def test_files_in_googles_storage_go_by_reference() -> None:
    uri = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    sent = encode(
        Message(
            role="user",
            parts=(
                ImagePart(url="gs://b/a.png", media_type="image/png"),
                FilePart(url=uri),
                AudioPart(data="x", format="wav"),
            ),
        )
    )

    assert sent["contents"][0]["parts"] == [
        {"fileData": {"fileUri": "gs://b/a.png", "mimeType": "image/png"}},
        {"fileData": {"fileUri": uri}},
        {"inlineData": {"mimeType": "audio/wav", "data": "x"}},
    ]


def turn(*results: ToolResultPart) -> tuple[Message, ...]:
    call = ToolCallPart(id="c1", name="look", arguments='{"a": 1.0}')
    return (USER, Message(role="assistant", parts=(call,)), Message(role="user", parts=results))


def test_a_result_finds_its_name_by_the_calls_id() -> None:
    sent = encode(*turn(ToolResultPart(call_id="c1", content=(TextPart(text="sunny"),))), model=OLD)

    assert sent["contents"][1]["parts"] == [
        {"functionCall": {"name": "look", "id": "c1", "args": {"a": 1.0}}}
    ]
    assert sent["contents"][2]["parts"] == [
        {"functionResponse": {"name": "look", "id": "c1", "response": {"output": "sunny"}}}
    ]


def test_a_result_without_its_call_is_the_clients_mistake() -> None:
    with pytest.raises(InvalidRequest, match="answers no call"):
        encode(*turn(ToolResultPart(call_id="other", content=())))


def test_pictures_in_results_need_gemini_3() -> None:
    result = ToolResultPart(call_id="c1", content=(ImagePart(media_type="image/png", data="aGk="),))

    sent = encode(*turn(result))

    assert sent["contents"][2]["parts"][0]["functionResponse"]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    ]
    with pytest.raises(UnsupportedByTarget):
        encode(*turn(result), model=OLD)


def test_signatures_return_to_the_part_they_came_on_through_an_anthropic_client() -> None:
    body = json.dumps(
        {
            "responseId": "r",
            "candidates": [
                {
                    "finishReason": "STOP",
                    "content": {
                        "parts": [
                            {"text": "a", "thoughtSignature": "S1"},
                            {"functionCall": {"id": "c1", "name": "f", "args": {}}, "thoughtSignature": "S2"},
                            {"functionCall": {"id": "c2", "name": "f", "args": {}}},
                            {"text": "", "thoughtSignature": "S3"},
                        ]
                    },
                }
            ],
        }
    ).encode()
    client = AnthropicClient()
    request = ChatRequest(model="m", messages=(USER,))
    message = json.loads(client.render(GeminiUpstream().decode(body, []), request, "r"))
    history = {
        "model": "m",
        "max_tokens": 1,
        "messages": [{"role": "assistant", "content": message["content"]}],
    }

    again = json.loads(GeminiUpstream().encode(client.parse(json.dumps(history).encode()), NEW).body)

    signatures = [part.get("thoughtSignature") for part in again["contents"][0]["parts"]]
    assert signatures == ["S1", "S2", None, "S3"]


def test_a_call_that_another_model_made_gets_googles_stand_in() -> None:
    message = Message(
        role="assistant",
        parts=(
            ReasoningPart(text="hm", signature="claudes"),
            ToolCallPart(id="a", name="f", arguments="{}"),
            ToolCallPart(id="b", name="f", arguments="{}"),
        ),
    )

    signatures = [part.get("thoughtSignature") for part in encode(message)["contents"][0]["parts"]]

    assert signatures == ["skip_thought_signature_validator", None]
    assert "thoughtSignature" not in json.dumps(encode(message, model=OLD))


def test_what_is_left_out_is_listed() -> None:
    request = ChatRequest(
        model="m",
        messages=(Message(role="assistant", parts=(ReasoningPart(text="x"), TextPart(text="y"))),),
        user="u",
        tools=(Tool(name="a", strict=True),),
        parallel_tool_calls=False,
        advisory={"metadata": msgspec.Raw(b"{}")},
    )

    ignored = GeminiUpstream().encode(request, NEW).ignored

    assert ignored == ("messages.reasoning", "metadata", "user", "parallel_tool_calls", "tools.strict")
