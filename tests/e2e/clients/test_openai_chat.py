"""The `openai` SDK's chat completions, synchronous and asynchronous, against every upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Literal

import openai
import pydantic
import pytest
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessage,
    ChatCompletionMessageParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolParam,
)

WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather somewhere.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
CLOCK: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}},
}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Event(pydantic.BaseModel):
    name: str
    day: Literal["monday", "tuesday"]
    guests: list[str]


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"say exactly: {text}"},
    ]


def test_a_text(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.chat.completions.create(
        model=model, messages=said("Grüße, 世界!"), temperature=0.5, top_p=0.9, max_completion_tokens=100
    )

    assert answer.object == "chat.completion"
    assert answer.model
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "Grüße, 世界!")
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert 0 < answer.usage.prompt_tokens < answer.usage.total_tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_text_with_and_without_usage(openai_client: openai.OpenAI, model: str) -> None:
    text = "One, two, three; Grüße."
    chunks = list(
        openai_client.chat.completions.create(
            model=model, messages=said(text), stream=True, stream_options={"include_usage": True}
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert len(chunks) > 5, "it came in pieces"
    assert len({chunk.id for chunk in chunks}) == 1
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == [
        "stop"
    ]
    assert chunks[0].choices[0].delta.role == "assistant"
    usage = chunks[-1].usage
    assert chunks[-1].choices == []
    assert usage is not None
    assert usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])

    bare = list(openai_client.chat.completions.create(model=model, messages=said(text), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in bare)


def test_a_limit_and_a_stop_sequence_end_an_answer(openai_client: openai.OpenAI, model: str) -> None:
    cut = openai_client.chat.completions.create(model=model, messages=said("word " * 50), max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage is not None
    assert cut.usage.completion_tokens == 5

    stopped = openai_client.chat.completions.create(
        model=model, messages=said("left STOP right"), stop=["STOP"]
    )
    assert stopped.choices[0].finish_reason == "stop"
    assert (stopped.choices[0].message.content or "").strip() == "left"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool_round_trip(openai_client: openai.OpenAI, model: str, stream: bool) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "use the tool"}]
    if stream:
        with openai_client.chat.completions.stream(model=model, messages=messages, tools=[WEATHER]) as events:
            kinds = {event.type for event in events}
            answer: ChatCompletion = events.get_final_completion()
        assert "tool_calls.function.arguments.delta" in kinds
    else:
        answer = openai_client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])

    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    (call,) = choice.message.tool_calls
    assert call.type == "function"
    assert (call.function.name, bool(call.id)) == ("weather", True)
    arguments = json.loads(call.function.arguments)
    assert set(arguments) == {"city", "unit"}
    assert arguments["unit"] in ("C", "F")

    messages.append(choice.message.model_dump(exclude_none=True))  # type: ignore[arg-type]  # as the SDK's guide does
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "21 degrees"})
    done = openai_client.chat.completions.create(model=model, messages=messages, tools=[WEATHER])
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].message.content


def test_parallel_calls_go_round(openai_client: openai.OpenAI, model: str) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "use the tools"}]
    for stream in (False, True):
        if stream:
            with openai_client.chat.completions.stream(
                model=model, messages=messages, tools=[WEATHER, CLOCK]
            ) as events:
                message: ChatCompletionMessage = events.until_done().get_final_completion().choices[0].message
        else:
            message = (
                openai_client.chat.completions.create(model=model, messages=messages, tools=[WEATHER, CLOCK])
                .choices[0]
                .message
            )
        calls = message.tool_calls or []
        assert sorted(call.function.name for call in calls if call.type == "function") == ["clock", "weather"]
        assert len({call.id for call in calls}) == 2

    results: list[ChatCompletionMessageParam] = [
        {"role": "tool", "tool_call_id": call.id, "content": "fine"} for call in calls
    ]
    again = openai_client.chat.completions.create(
        model=model,
        messages=[*messages, message.model_dump(exclude_none=True), *results],  # type: ignore[list-item]
        tools=[WEATHER, CLOCK],
    )
    assert again.choices[0].finish_reason == "stop"


def test_a_tool_can_be_forced(openai_client: openai.OpenAI, model: str) -> None:
    choices: tuple[ChatCompletionToolChoiceOptionParam, ...] = (
        "required",
        {"type": "function", "function": {"name": "clock"}},
    )
    for choice in choices:
        answer = openai_client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Hello"}],
            tools=[WEATHER, CLOCK],
            tool_choice=choice,
        )
        calls = answer.choices[0].message.tool_calls or []
        assert calls
    assert [call.function.name for call in calls if call.type == "function"] == ["clock"]


def test_structured_output_is_parsed(openai_client: openai.OpenAI, model: str) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "An event, please."}]
    answer = openai_client.chat.completions.parse(model=model, messages=messages, response_format=Event)
    assert isinstance(answer.choices[0].message.parsed, Event)

    with openai_client.chat.completions.stream(
        model=model, messages=messages, response_format=Event
    ) as events:
        for _ in events:
            pass
        assert isinstance(events.get_final_completion().choices[0].message.parsed, Event)


def test_a_parsed_tool_call(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.chat.completions.parse(
        model=model,
        messages=[{"role": "user", "content": "use the tool"}],
        tools=[openai.pydantic_function_tool(Event)],
    )
    (call,) = answer.choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, Event)


def test_an_image_as_data(openai_client: openai.OpenAI, model: str) -> None:
    bare = openai_client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "say exactly: seen"}]
    )
    answer = openai_client.chat.completions.create(
        model=model,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": PIXEL}},
                    {"type": "text", "text": "say exactly: seen"},
                ],
            }
        ],
    )
    assert answer.choices[0].message.content == "seen"
    assert answer.usage is not None
    assert bare.usage is not None
    assert answer.usage.prompt_tokens > bare.usage.prompt_tokens, "the image arrived"


def test_reasoning(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.chat.completions.create(
        model=model, messages=said("The end."), reasoning_effort="low", max_completion_tokens=8000
    )
    message = answer.choices[0].message
    assert message.content == "The end."
    assert getattr(message, "reasoning_content", None)
    details = answer.usage and answer.usage.completion_tokens_details
    if model != "bedrock":  # Converse does not count reasoning apart
        assert details
        assert details.reasoning_tokens

    pieces = [
        getattr(chunk.choices[0].delta, "reasoning_content", None)
        for chunk in openai_client.chat.completions.create(
            model=model,
            messages=said("The end."),
            reasoning_effort="low",
            max_completion_tokens=8000,
            stream=True,
        )
        if chunk.choices
    ]
    assert any(pieces)


def test_async_and_at_once(async_openai: Callable[[], openai.AsyncOpenAI], model: str) -> None:
    async def one(client: openai.AsyncOpenAI, number: int) -> str:
        stream = await client.chat.completions.create(model=model, messages=said(f"n{number}"), stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

    async def scenario() -> None:
        async with async_openai() as client:
            answer = await client.chat.completions.create(model=model, messages=said("whole"))
            assert answer.choices[0].message.content == "whole"
            assert await asyncio.gather(*(one(client, number) for number in range(8))) == [
                f"n{number}" for number in range(8)
            ]
            parsed = await client.chat.completions.parse(
                model=model,
                messages=[{"role": "user", "content": "An event, please."}],
                response_format=Event,
            )
            assert isinstance(parsed.choices[0].message.parsed, Event)

    asyncio.run(scenario())


def test_a_stream_that_is_left_early_leaves_the_client_usable(
    openai_client: openai.OpenAI, model: str
) -> None:
    with openai_client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "Tell me a lot."}], stream=True
    ) as stream:
        assert next(iter(stream)).choices
    answer = openai_client.chat.completions.create(model=model, messages=said("still here"))
    assert answer.choices[0].message.content == "still here"
