"""The engine through the real OpenAI and Anthropic SDKs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import anthropic
import openai
import pytest
from tests.e2e.simulate.conftest import INSTANT, Served, served

from fairlead.simulate.server import EngineConfig

QUESTION = [{"role": "user", "content": "Where does the river end?"}]
COLD = {"temperature": 0}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture
def client(engine: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{engine.port}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="m", messages=QUESTION, temperature=0)
    stream = client.chat.completions.create(
        model="m", messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_tools_through_the_streaming_accumulator(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": SCHEMA, "strict": True}}]
    with client.chat.completions.stream(
        model="m", messages=QUESTION, tools=tools, tool_choice="required"
    ) as stream:
        final = stream.get_final_completion()
    call = final.choices[0].message.tool_calls[0]
    assert call.function.name == "look"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_embeddings_in_the_sdks_own_base64(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="m", input=["one", "two"], dimensions=16)
    assert [len(item.embedding) for item in answer.data] == [16, 16]


def test_responses_through_the_streaming_accumulator(client: openai.OpenAI) -> None:
    with client.responses.stream(model="m", input="Where does the river end?") as stream:
        final = stream.get_final_response()
    assert final.status == "completed"
    assert "river" in final.output_text


def test_completions_models_images_files_and_audio(client: openai.OpenAI) -> None:
    assert client.completions.create(model="m", prompt="go", max_tokens=3).usage.completion_tokens == 3
    assert [model.id for model in client.models.list()] == ["m", "other"]
    assert client.images.generate(model="m", prompt="a boat").data[0].b64_json
    stored = client.files.create(file=("x.jsonl", b"{}\n"), purpose="batch")
    assert client.files.content(stored.id).read() == b"{}\n"
    assert "a.wav" in client.audio.transcriptions.create(model="m", file=("a.wav", b"RIFF")).text


def test_errors_are_the_sdks_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=QUESTION)
    fault = {"x-simulate-fault": "status;status=429;header.retry-after=1"}
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m", messages=QUESTION, extra_headers=fault)
    with pytest.raises(openai.APIError):
        list(
            client.chat.completions.create(
                model="m",
                messages=QUESTION,
                stream=True,
                extra_headers={"x-simulate-fault": "error_in_stream"},
            )
        )


@pytest.fixture(scope="module")
def claude() -> Iterator[anthropic.Anthropic]:
    with served(EngineConfig(models=("m",), dialect="anthropic", latency=INSTANT)) as running:
        url = f"http://127.0.0.1:{running.port}"
        with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0) as client:
            yield client


def test_messages_whole_and_streamed(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(model="m", max_tokens=500, messages=QUESTION, extra_body=COLD)
    with claude.messages.stream(model="m", max_tokens=500, messages=QUESTION, extra_body=COLD) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert whole.content[0].text == text
    assert (whole.stop_reason, final.stop_reason) == ("end_turn", "end_turn")
    assert final.usage.output_tokens == whole.usage.output_tokens
    cut = claude.messages.create(model="m", max_tokens=3, messages=QUESTION)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 3)
    stopped = claude.messages.create(
        model="m", max_tokens=500, messages=QUESTION, stop_sequences=["river"], extra_body=COLD
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "river")


def test_messages_with_thinking_and_tools(claude: anthropic.Anthropic) -> None:
    tools = [{"name": "look", "input_schema": SCHEMA}]
    asked = {
        "model": "m",
        "max_tokens": 2000,
        "messages": [{"role": "user", "content": "use the tool"}],
        "tools": tools,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    whole = claude.messages.create(**asked)
    with claude.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    for message in (whole, final):
        assert [block.type for block in message.content] == ["thinking", "tool_use"]
        assert message.content[0].signature
        assert isinstance(message.content[1].input["city"], str)
        assert message.stop_reason == "tool_use"
        details = message.usage.output_tokens_details
        assert details is not None
        assert 0 < details.thinking_tokens < message.usage.output_tokens


def test_messages_count_tokens_and_models(claude: anthropic.Anthropic) -> None:
    counted = claude.messages.count_tokens(model="m", messages=QUESTION)
    usage = claude.messages.create(model="m", max_tokens=1, messages=QUESTION).usage
    # Anthropic reports cached tokens beside the others, not among them.
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens
    assert [model.id for model in claude.models.list()] == ["m"]


def test_messages_errors_are_the_sdks_own(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="none", max_tokens=5, messages=QUESTION)
    fault = {"x-simulate-fault": "error_in_stream;after=2"}
    with (
        pytest.raises(anthropic.APIStatusError, match="Overloaded"),
        claude.messages.stream(model="m", max_tokens=50, messages=QUESTION, extra_headers=fault) as stream,
    ):
        list(stream)
