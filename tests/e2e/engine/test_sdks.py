"""Both SDKs, unmodified, through the gateway to a real engine.

The engine differs from the simulated one where real ones do: streams end
without `[DONE]`, usage comes with the finish reason, several events arrive in
one piece, a text's tokens need not be valid UTF-8, errors are FastAPI's
`{"detail": ...}` or plain text, unknown fields are refused, and after a crash
in a request it closes the connection.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
from anthropic.types import ToolParam
from openai.types.chat import ChatCompletionToolParam
from openai.types.responses import FunctionToolParam
from tests.e2e.engine.make_models import ANSWER, ARGUMENTS, THOUGHT, TOOL
from tests.e2e.engine.server import RealEngine
from tests.e2e.gateway import GatewayProcess

pytestmark = pytest.mark.engine

SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
}
CHAT_TOOL: ChatCompletionToolParam = {"type": "function", "function": {"name": TOOL, "parameters": SCHEMA}}
RESPONSES_TOOL: FunctionToolParam = {
    "type": "function",
    "name": TOOL,
    "parameters": SCHEMA,
    "strict": False,
}
MESSAGES_TOOL: ToolParam = {"name": TOOL, "input_schema": {"type": "object", **SCHEMA}}
QUESTION = "When does the ship leave?"
EACH_RESPONSES_API = pytest.mark.parametrize("model", ["thinker", "native/thinker"])


def thoughts(delta: object) -> str:
    return getattr(delta, "reasoning_content", None) or ""


def test_a_whole_chat_completion(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model="thinker", messages=[{"role": "user", "content": QUESTION}]
    )
    (choice,) = answer.choices
    assert (choice.message.content, thoughts(choice.message)) == (ANSWER, THOUGHT)
    assert choice.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 5
    assert answer.usage.completion_tokens > 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_streamed_chat_completion_is_the_whole_one_in_pieces(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(
        model="thinker", messages=[{"role": "user", "content": QUESTION}]
    )
    with openai_client.chat.completions.create(
        model="thinker",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    said = [delta.content for delta in deltas if delta.content]
    assert "".join(said) == ANSWER
    assert "".join(thoughts(delta) for delta in deltas) == THOUGHT
    assert len(said) > 10
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]
    assert [chunk.usage for chunk in chunks if chunk.usage] == [whole.usage]


def test_a_stream_gets_the_end_mark_that_the_engine_leaves_out(
    engine: RealEngine, gateway: GatewayProcess
) -> None:
    body = {"model": "thinker", "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with openai.OpenAI(base_url=engine.base_url, api_key="none", max_retries=0) as client:
        theirs = client.post("/chat/completions", body=body, cast_to=str)
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client:
        ours = client.post("/chat/completions", body=body, cast_to=str)
    assert "[DONE]" not in theirs
    assert ours.endswith("data: [DONE]\n\n")
    assert ours.count("\n\n") - theirs.count("\n\n") in (0, 1)  # the engine ends with an empty event


def test_random_bytes_up_to_the_limit(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.create(
        model="talker",
        messages=[{"role": "user", "content": QUESTION}],
        max_tokens=300,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    assert len("".join(c.delta.content or "" for chunk in chunks for c in chunk.choices)) > 100
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["length"]
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [300]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_either_limit_reaches_the_engine(openai_client: openai.OpenAI, name: str) -> None:
    answer = openai_client.chat.completions.create(
        model="talker", messages=[{"role": "user", "content": QUESTION}], extra_body={name: 7}
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7


def test_a_stop_text_reaches_the_engine(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model="thinker", messages=[{"role": "user", "content": QUESTION}], stop=["leaves"]
    )
    assert THOUGHT.startswith(thoughts(answer.choices[0].message))
    assert thoughts(answer.choices[0].message).endswith("leaves")
    assert not answer.choices[0].message.content


def test_a_tool_call(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(
        model="caller", messages=[{"role": "user", "content": QUESTION}], tools=[CHAT_TOOL]
    )
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == (TOOL, ARGUMENTS)


def test_a_streamed_tool_call(openai_client: openai.OpenAI) -> None:
    with openai_client.chat.completions.stream(
        model="caller", messages=[{"role": "user", "content": QUESTION}], tools=[CHAT_TOOL]
    ) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    (call,) = final.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == (TOOL, ARGUMENTS)


def test_the_answer_of_a_tool_goes_back(openai_client: openai.OpenAI) -> None:
    first = openai_client.chat.completions.create(
        model="caller", messages=[{"role": "user", "content": QUESTION}], tools=[CHAT_TOOL]
    )
    (call,) = first.choices[0].message.tool_calls or []
    second = openai_client.chat.completions.create(
        model="thinker",
        messages=[
            {"role": "user", "content": QUESTION},
            first.choices[0].message.to_dict(),  # type: ignore[list-item]  # as the SDK's users do
            {"role": "tool", "tool_call_id": call.id, "content": "Fair, 4 knots."},
        ],
        tools=[CHAT_TOOL],
    )
    assert second.choices[0].message.content == ANSWER
    assert first.usage is not None
    assert second.usage is not None
    assert second.usage.prompt_tokens > first.usage.prompt_tokens + 10


def test_a_text_completion_whole_and_streamed(openai_client: openai.OpenAI) -> None:
    whole = openai_client.completions.create(model="thinker", prompt=QUESTION)
    assert whole.choices[0].text == f"<think>{THOUGHT}</think>{ANSWER}"
    assert whole.choices[0].finish_reason == "stop"
    with openai_client.completions.create(model="thinker", prompt=QUESTION, stream=True) as stream:
        chunks = list(stream)
    assert "".join(c.text for chunk in chunks for c in chunk.choices) == whole.choices[0].text
    assert [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason] == ["stop"]


@EACH_RESPONSES_API
def test_a_response_translated_and_native(openai_client: openai.OpenAI, model: str) -> None:
    # This engine streams a response unless told not to.
    answer = openai_client.responses.create(model=model, input=QUESTION, stream=False)
    assert answer.status == "completed"
    assert answer.output_text == ANSWER
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.usage is not None
    assert answer.usage.output_tokens > 20


@EACH_RESPONSES_API
def test_a_streamed_response_translated_and_native(openai_client: openai.OpenAI, model: str) -> None:
    with openai_client.responses.create(model=model, input=QUESTION, stream=True) as stream:
        events = list(stream)
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == ANSWER
    assert "".join(e.delta for e in events if e.type == "response.reasoning_text.delta") == THOUGHT
    assert [e.sequence_number for e in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == ANSWER


@pytest.mark.parametrize("model", ["caller", "native/caller"])
def test_a_responses_tool_call_translated_and_native(openai_client: openai.OpenAI, model: str) -> None:
    answer = openai_client.responses.create(model=model, input=QUESTION, tools=[RESPONSES_TOOL], stream=False)
    (call,) = [item for item in answer.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == (TOOL, ARGUMENTS)


def test_a_message_from_an_engine_that_only_knows_chat(anthropic_client: anthropic.Anthropic) -> None:
    answer = anthropic_client.messages.create(
        model="thinker", max_tokens=200, system="Brief.", messages=[{"role": "user", "content": QUESTION}]
    )
    thinking, text = answer.content
    assert thinking.type == "thinking"
    assert thinking.thinking == THOUGHT
    assert text.type == "text"
    assert text.text == ANSWER
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 5
    assert answer.usage.output_tokens > 20


def test_a_streamed_message(anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(
        model="thinker", max_tokens=200, messages=[{"role": "user", "content": QUESTION}]
    ) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == ANSWER
    assert len(pieces) > 10
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 20


def test_a_message_cut_by_its_limit(anthropic_client: anthropic.Anthropic) -> None:
    answer = anthropic_client.messages.create(
        model="talker", max_tokens=9, messages=[{"role": "user", "content": QUESTION}]
    )
    assert answer.stop_reason == "max_tokens"
    assert answer.usage.output_tokens == 9


def test_tool_use_and_its_result(anthropic_client: anthropic.Anthropic) -> None:
    with anthropic_client.messages.stream(
        model="caller",
        max_tokens=200,
        messages=[{"role": "user", "content": QUESTION}],
        tools=[MESSAGES_TOOL],
    ) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use"
    (use,) = first.content
    assert use.type == "tool_use"
    assert (use.name, use.input) == (TOOL, ARGUMENTS)
    second = anthropic_client.messages.create(
        model="thinker",
        max_tokens=200,
        messages=[
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": first.content},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "Fair, 4 knots."}],
            },
        ],
        tools=[MESSAGES_TOOL],
    )
    assert second.content[-1].type == "text"
    assert second.content[-1].text == ANSWER
    assert second.usage.input_tokens > first.usage.input_tokens + 10


def test_many_streams_at_once_stay_apart(openai_client: openai.OpenAI) -> None:
    def once(model: str) -> str:
        with openai_client.chat.completions.stream(
            model=model, messages=[{"role": "user", "content": QUESTION}], tools=[]
        ) as stream:
            message = stream.get_final_completion().choices[0].message
        return message.content or (message.tool_calls or [])[0].function.arguments

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(once, ["thinker", "caller"] * 12))
    assert set(answers[0::2]) == {ANSWER}
    assert [json.loads(answer) for answer in answers[1::2]] == [ARGUMENTS] * 12


def test_the_ledger_has_the_engines_counts(
    gateway: GatewayProcess, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic
) -> None:
    chat = openai_client.chat.completions.create(
        model="counted", messages=[{"role": "user", "content": QUESTION}], max_tokens=11
    )
    # Two that are streamed, of which the second did not ask for usage.
    with anthropic_client.messages.stream(
        model="counted", max_tokens=12, messages=[{"role": "user", "content": QUESTION}]
    ) as stream:
        stream.until_done()
    with openai_client.chat.completions.create(
        model="counted", messages=[{"role": "user", "content": QUESTION}], max_tokens=13, stream=True
    ) as chunks:
        list(chunks)
    assert chat.usage is not None
    records = gateway.requests(3, model="counted")
    assert [r["output_tokens"] for r in records] == [13, 12, 11]
    assert {r["input_tokens"] for r in records} == {chat.usage.prompt_tokens}
    assert {(r["outcome"], r["target"]) for r in records} == {("ok", "engine/talker")}


def test_a_field_that_the_engine_refuses_is_told_in_the_dialects_words(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError, match=r"Unexpected fields .*'anchor'") as caught:
        openai_client.chat.completions.create(
            model="thinker",
            messages=[{"role": "user", "content": QUESTION}],
            extra_body={"anchor": True},
        )
    assert caught.value.type == "invalid_request_error"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_what_the_engine_does_not_have_is_a_404(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        openai_client.embeddings.create(model="thinker", input=QUESTION)


@pytest.mark.parametrize("stream", [False, True])
def test_a_crash_in_the_engine_is_no_clients_fault_and_no_other_models(
    openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, stream: bool
) -> None:
    # The engine cannot load this model: it answers 500 in plain text and closes the connection.
    with pytest.raises(openai.InternalServerError, match=r"upstream|target"):
        openai_client.chat.completions.create(
            model="native/absent", messages=[{"role": "user", "content": QUESTION}], stream=stream
        )
    with pytest.raises(anthropic.APIStatusError, match=r"upstream|target") as caught:
        anthropic_client.messages.create(
            model="absent", max_tokens=9, messages=[{"role": "user", "content": QUESTION}], stream=stream
        )
    assert caught.value.status_code in (502, 503)
    answer = openai_client.chat.completions.create(
        model="thinker", messages=[{"role": "user", "content": QUESTION}]
    )
    assert answer.choices[0].message.content == ANSWER
