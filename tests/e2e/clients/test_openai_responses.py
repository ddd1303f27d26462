"""The `openai` SDK's Responses API: native at `openai`, translated for every other upstream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Literal

import openai
import pydantic
import pytest
from openai.types.responses import FunctionToolParam, ResponseInputParam
from tests.e2e.clients.test_openai_chat import PIXEL

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "The weather somewhere.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CLOCK: FunctionToolParam = {
    "type": "function",
    "name": "clock",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


class Event(pydantic.BaseModel):
    name: str
    day: Literal["monday", "tuesday"]


def test_a_text(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.responses.create(
        model=model,
        instructions="Be brief.",
        input="say exactly: Grüße, 世界!",
        temperature=0.5,
        max_output_tokens=200,
        store=False,
    )
    assert (answer.object, answer.status, answer.output_text) == ("response", "completed", "Grüße, 世界!")
    assert answer.error is None
    assert answer.incomplete_details is None
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0


def test_typed_events(openai_client: openai.OpenAI, model: str) -> None:
    events = list(openai_client.responses.create(model=model, input="say exactly: One, two.", stream=True))

    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert {
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    } <= set(kinds)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 1
    assert "".join(deltas) == "One, two."
    done = events[-1]
    assert done.type == "response.completed"
    assert done.response.output_text == "One, two."
    assert done.response.usage is not None
    assert done.response.usage.output_tokens > 0


def test_a_limit_makes_it_incomplete(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.responses.create(
        model=model, input="say exactly: " + "word " * 50, max_output_tokens=16
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool_round_trip_with_parallel_calls(
    openai_client: openai.OpenAI, model: str, stream: bool
) -> None:
    asked: ResponseInputParam = [{"role": "user", "content": "use the tools"}]
    if stream:
        with openai_client.responses.stream(model=model, input=asked, tools=[WEATHER, CLOCK]) as events:
            kinds = {event.type for event in events}
            answer = events.get_final_response()
        assert "response.function_call_arguments.delta" in kinds
    else:
        answer = openai_client.responses.create(model=model, input=asked, tools=[WEATHER, CLOCK])  # type: ignore[assignment]
    calls = [item for item in answer.output if item.type == "function_call"]
    assert sorted(call.name for call in calls) == ["clock", "weather"]
    assert len({call.call_id for call in calls}) == 2
    by_name = {call.name: json.loads(call.arguments) for call in calls}
    assert isinstance(by_name["weather"]["city"], str)

    asked += [item.model_dump(exclude={"parsed_arguments"}, exclude_none=True) for item in answer.output]  # type: ignore[misc]
    asked += [{"type": "function_call_output", "call_id": call.call_id, "output": "fine"} for call in calls]
    done = openai_client.responses.create(model=model, input=asked, tools=[WEATHER, CLOCK])
    assert done.status == "completed"
    assert done.output_text


def test_structured_output_is_parsed(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.responses.parse(model=model, input="An event, please.", text_format=Event)
    assert isinstance(answer.output_parsed, Event)

    with openai_client.responses.stream(model=model, input="An event, please.", text_format=Event) as events:
        assert isinstance(events.get_final_response().output_parsed, Event)


def test_reasoning_goes_round(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.responses.create(
        model=model,
        input="say exactly: The end.",
        reasoning={"effort": "low", "summary": "auto"},
        include=["reasoning.encrypted_content"],
        max_output_tokens=8000,
    )
    assert answer.output_text == "The end."
    thoughts = [item for item in answer.output if item.type == "reasoning"]
    assert thoughts
    asked: ResponseInputParam = [
        {"role": "user", "content": "say exactly: The end."},
        *(item.model_dump(exclude_none=True) for item in answer.output),  # type: ignore[list-item]
        {"role": "user", "content": "say exactly: Again."},
    ]
    again = openai_client.responses.create(
        model=model, input=asked, reasoning={"effort": "low"}, max_output_tokens=8000
    )
    assert again.output_text == "Again."

    events = openai_client.responses.create(
        model=model,
        input="say exactly: The end.",
        reasoning={"effort": "low", "summary": "auto"},
        max_output_tokens=8000,
        stream=True,
    )
    items = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.type for item in items] == ["reasoning", "message"]


def test_an_image_as_data(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.responses.create(
        model=model,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                    {"type": "input_text", "text": "say exactly: seen"},
                ],
            }
        ],
    )
    assert answer.output_text == "seen"


def test_async(async_openai: Callable[[], openai.AsyncOpenAI], model: str) -> None:
    async def scenario() -> None:
        async with async_openai() as client:
            answer = await client.responses.create(model=model, input="say exactly: whole")
            assert answer.output_text == "whole"
            stream = await client.responses.create(model=model, input="say exactly: pieces", stream=True)
            deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            assert "".join(deltas) == "pieces"
            parsed = await client.responses.parse(model=model, input="An event.", text_format=Event)
            assert isinstance(parsed.output_parsed, Event)

    asyncio.run(scenario())
