"""The `anthropic` SDK, synchronous and asynchronous, against every upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anthropic
import pydantic
import pytest
from anthropic.types import MessageParam, ToolChoiceParam, ToolParam
from tests.e2e.clients.test_openai_chat import PIXEL

WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather somewhere.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "unit"],
    },
}
CLOCK: ToolParam = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}


class Event(pydantic.BaseModel):
    name: str
    guests: list[str]


def said(text: str) -> list[MessageParam]:
    return [{"role": "user", "content": f"say exactly: {text}"}]


def test_a_text(anthropic_client: anthropic.Anthropic, model: str) -> None:
    answer = anthropic_client.messages.create(
        model=model,
        max_tokens=200,
        system="Be brief.",
        messages=said("Grüße, 世界!"),
        extra_body={"temperature": 0.5},
        metadata={"user_id": "u-1"},
    )
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.id
    assert answer.model
    (block,) = answer.content
    assert (block.type, block.text) == ("text", "Grüße, 世界!")  # type: ignore[union-attr]
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0


def test_a_streamed_text(anthropic_client: anthropic.Anthropic, model: str) -> None:
    text = "One, two, three; Grüße."
    with anthropic_client.messages.stream(model=model, max_tokens=200, messages=said(text)) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert len(pieces) > 5
    assert "".join(pieces) == text
    assert final.stop_reason == "end_turn"
    assert final.usage.input_tokens > 0
    assert final.usage.output_tokens > 1

    raw = list(
        anthropic_client.messages.create(model=model, max_tokens=200, messages=said(text), stream=True)
    )
    kinds = [event.type for event in raw]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1


def test_limits_and_stop_sequences(anthropic_client: anthropic.Anthropic, model: str) -> None:
    cut = anthropic_client.messages.create(model=model, max_tokens=5, messages=said("word " * 50))
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 5)

    stopped = anthropic_client.messages.create(
        model=model, max_tokens=50, messages=said("left STOP right"), stop_sequences=["STOP"]
    )
    assert stopped.content[0].text.strip() == "left"  # type: ignore[union-attr]
    # Where the upstream does not tell a stop sequence from an end, nobody can.
    assert stopped.stop_reason in ("stop_sequence", "end_turn")
    if model in ("anthropic", "bedrock"):
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "STOP")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_tool_round_trip(anthropic_client: anthropic.Anthropic, model: str, stream: bool) -> None:
    messages: list[MessageParam] = [{"role": "user", "content": "use the tools"}]
    if stream:
        with anthropic_client.messages.stream(
            model=model, max_tokens=2000, messages=messages, tools=[WEATHER, CLOCK]
        ) as events:
            kinds = {event.type for event in events}
            answer: anthropic.types.Message = events.get_final_message()
        assert "input_json" in kinds
    else:
        answer = anthropic_client.messages.create(
            model=model, max_tokens=2000, messages=messages, tools=[WEATHER, CLOCK]
        )
    assert answer.stop_reason == "tool_use"
    uses = [block for block in answer.content if block.type == "tool_use"]
    assert sorted(use.name for use in uses) == ["clock", "weather"]
    assert len({use.id for use in uses}) == 2
    by_name = {use.name: use.input for use in uses}
    assert by_name["weather"]["unit"] in ("C", "F")

    messages.append({"role": "assistant", "content": answer.content})
    messages.append(
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": uses[0].id,
                    "content": [{"type": "text", "text": "sunny"}],
                },
                {"type": "tool_result", "tool_use_id": uses[1].id, "content": "broken", "is_error": True},
            ],
        }
    )
    done = anthropic_client.messages.create(
        model=model, max_tokens=2000, messages=messages, tools=[WEATHER, CLOCK]
    )
    assert done.stop_reason == "end_turn"
    assert done.content[0].type == "text"


def test_a_tool_can_be_forced(anthropic_client: anthropic.Anthropic, model: str) -> None:
    choices: tuple[ToolChoiceParam, ...] = ({"type": "any"}, {"type": "tool", "name": "clock"})
    for choice in choices:
        answer = anthropic_client.messages.create(
            model=model,
            max_tokens=2000,
            messages=[{"role": "user", "content": "Hello"}],
            tools=[WEATHER, CLOCK],
            tool_choice=choice,
        )
        assert answer.stop_reason == "tool_use"
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["clock"]


def test_thinking_goes_round_with_its_signature(anthropic_client: anthropic.Anthropic, model: str) -> None:
    messages = said("The end.")
    answer = anthropic_client.messages.create(
        model=model,
        max_tokens=8000,
        messages=messages,
        thinking={"type": "enabled", "budget_tokens": 1024},
    )
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking  # type: ignore[union-attr]
    messages = [
        *messages,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": "say exactly: Again."},
    ]
    with anthropic_client.messages.stream(
        model=model,
        max_tokens=8000,
        messages=messages,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        final = stream.get_final_message()
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[-1].text == "Again."  # type: ignore[union-attr]


def test_an_image_and_a_document(anthropic_client: anthropic.Anthropic, model: str) -> None:
    answer = anthropic_client.messages.create(
        model=model,
        max_tokens=100,
        messages=[
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {
                            "type": "base64",
                            "media_type": "image/png",
                            "data": PIXEL.partition(",")[2],
                        },
                    },
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "A plain text."},
                        "title": "Notes",
                    },
                    {"type": "text", "text": "say exactly: seen"},
                ],
            }
        ],
    )
    assert answer.content[-1].text == "seen"  # type: ignore[union-attr]


def test_structured_output(anthropic_client: anthropic.Anthropic, model: str) -> None:
    answer = anthropic_client.messages.parse(
        model=model,
        max_tokens=2000,
        messages=[{"role": "user", "content": "An event, please."}],
        output_format=Event,
    )
    assert isinstance(answer.parsed_output, Event)


def test_tokens_are_counted(anthropic_client: anthropic.Anthropic, model: str) -> None:
    short = anthropic_client.messages.count_tokens(model=model, messages=said("One."), system="Be brief.")
    long = anthropic_client.messages.count_tokens(model=model, messages=said("word " * 500), tools=[WEATHER])
    assert 0 < short.input_tokens < 60
    assert long.input_tokens > 400


def test_models_are_listed(anthropic_client: anthropic.Anthropic, model: str) -> None:
    listed = {entry.id for entry in anthropic_client.models.list()}
    assert {model, f"other/{model}"} <= listed
    found = anthropic_client.models.retrieve(f"other/{model}")
    assert (found.id, found.type) == (f"other/{model}", "model")
    assert found.display_name
    assert found.created_at.tzinfo is not None


def test_async(async_anthropic: Callable[[], anthropic.AsyncAnthropic], model: str) -> None:
    async def scenario() -> None:
        async with async_anthropic() as client:
            answer = await client.messages.create(model=model, max_tokens=50, messages=said("whole"))
            assert answer.content[0].text == "whole"  # type: ignore[union-attr]
            async with client.messages.stream(model=model, max_tokens=50, messages=said("pieces")) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            assert text == "pieces"

    asyncio.run(scenario())
