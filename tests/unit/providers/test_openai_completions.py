"""The legacy completions API, translated."""

from __future__ import annotations

import json

import pytest

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers.chat import (
    Answer,
    Begin,
    ChatRequest,
    Choice,
    End,
    Event,
    Finish,
    FinishReason,
    Message,
    ReasoningPart,
    StreamError,
    TextDelta,
    TextPart,
    UsageReport,
)
from fairlead.providers.openai_completions import CompletionsClient
from fairlead.types import Failure, FailureKind, Usage

CLIENT = CompletionsClient()


def parse(**fields: object) -> ChatRequest:
    return CLIENT.parse(json.dumps({"model": "m", "prompt": "hi"} | fields).encode())


@pytest.mark.parametrize("prompt", ["hi", ["hi"]])
def test_one_prompt_is_one_message(prompt: object) -> None:
    request = parse(prompt=prompt, echo=False, best_of=1, suffix=None, logprobs=None, temperature=0.5)
    assert request == ChatRequest(
        model="m", messages=(Message(role="user", parts=(TextPart(text="hi"),)),), temperature=0.5,
        max_output_tokens=16,
    )  # fmt: skip


def test_the_limit_is_the_clients_when_it_gives_one() -> None:
    assert parse(max_tokens=99).max_output_tokens == 99


def test_unknown_fields_become_extras() -> None:
    assert parse(min_p=0.1).extras.keys() == {"min_p"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 2}, "best_of"),
        ({"suffix": "end"}, "suffix"),
        ({"logprobs": 5}, "logprobs"),
        ({"logprobs": 0}, "logprobs"),
    ],
)
def test_what_a_chat_cannot_do_is_refused_by_name(fields: dict[str, object], param: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        parse(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize("fields", [{"prompt": None}, {"prompt": 5}, {"prompt": {"x": 1}}, {"best_of": "a"}])
def test_what_is_invalid_is_named(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**fields)
    assert caught.value.param in fields


def test_an_answer() -> None:
    choice = Choice(
        index=0, parts=(ReasoningPart(text="hm"), TextPart(text="x")), finish=FinishReason.TOOL_CALLS
    )
    answer = Answer(id="cmpl-1", model="", created=2, choices=(choice,), usage=Usage(input_tokens=1))
    body = json.loads(CLIENT.render(answer, parse(), "r1"))
    assert (body["id"], body["object"], body["model"], body["usage"]["total_tokens"]) == (
        "cmpl-1", "text_completion", "m", 1,
    )  # fmt: skip
    assert body["choices"] == [{"index": 0, "text": "x", "logprobs": None, "finish_reason": "stop"}]


def encode(*events: Event, **fields: object) -> list[str]:
    data = CLIENT.encoder(parse(stream=True, **fields), "r1").encode(list(events)).decode()
    return [frame.removeprefix("data: ") for frame in data.split("\n\n")[:-1]]


def test_a_stream() -> None:
    frames = encode(
        Begin(id="x", model="real", created=3),
        TextDelta(text="a"),
        Finish(reason=FinishReason.LENGTH),
        UsageReport(usage=Usage(input_tokens=1, output_tokens=1)),
        End(),
        stream_options={"include_usage": True},
    )
    text, finish, usage = (json.loads(frame) for frame in frames[:-1])
    assert text == {
        "id": "cmpl-x", "object": "text_completion", "created": 3, "model": "real", "usage": None,
        "choices": [{"index": 0, "text": "a", "logprobs": None, "finish_reason": None}],
    }  # fmt: skip
    assert finish["choices"] == [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 2)
    assert frames[-1] == "[DONE]"


def test_an_error_ends_a_stream() -> None:
    frames = encode(
        TextDelta(text="a"), StreamError(failure=Failure(kind=FailureKind.CUT, message="gone")), End()
    )
    assert json.loads(frames[-1])["error"]["message"] == "gone"
