"""What an OpenAI body asks of the model."""

import msgspec
import pytest

from fairlead.errors import InvalidRequest
from fairlead.simulate.chat_body import ChatBody, CompletionBody
from fairlead.simulate.service import decode

CHAT = msgspec.json.Decoder(ChatBody)
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def chat(**fields: object) -> ChatBody:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return decode(msgspec.json.encode(body), CHAT.decode)


def test_the_last_user_message_is_the_question() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "first"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "done"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "second"}, {"type": "image_url", "image_url": {}}],
        },
    ]
    ask = chat(messages=messages).ask()
    assert ask.question == "second\n<image_url>"
    assert not ask.after_tool
    assert chat(messages=messages[:4]).ask().after_tool
    assert ask.prompt.startswith("<|system|>\nbe brief\n<|user|>\nfirst\n")
    assert "f({})" in ask.prompt


def test_sampling_fields_are_taken_over() -> None:
    ask = chat(max_tokens=5, max_completion_tokens=7, temperature=0, seed=3, stop="x", ignore_eos=True).ask()
    assert (ask.max_tokens, ask.temperature, ask.seed, ask.stop, ask.ignore_eos) == (7, 0.0, 3, ("x",), True)
    assert chat().ask().temperature == 1.0


@pytest.mark.parametrize(
    ("choice", "mode", "name"),
    [
        (None, "auto", None),
        ("none", "none", None),
        ("required", "required", None),
        ({"type": "function", "function": {"name": "look"}}, "required", "look"),
    ],
)
def test_tool_choices(choice: object, mode: str, name: str | None) -> None:
    ask = chat(tools=[TOOL], tool_choice=choice).ask()
    assert (ask.tool_mode, ask.tool_name) == (mode, name)


def test_a_choice_without_its_tool_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        chat(tool_choice="required").ask()
    with pytest.raises(InvalidRequest):
        chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "x"}}).ask()


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({"response_format": {"type": "text"}}, "text"),
        ({"response_format": {"type": "json_object"}}, "json"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}}, "json"),
        ({"structured_outputs": {"json": {"type": "object"}}}, "json"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "choice"),
    ],
)
def test_output_constraints(fields: dict[str, object], output: str) -> None:
    assert chat(**fields).ask().output == output


@pytest.mark.parametrize("effort", [None, "none", "minimal", "low", "high"])
def test_reasoning_effort(effort: str | None) -> None:
    assert chat(reasoning_effort=effort).ask().think is (effort in ("low", "high"))


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [("a b", ["a b"]), (["a", "b"], ["a", "b"]), ([1, 2], ["1 2"]), ([[1, 2], [3]], ["1 2", "3"])],
)
def test_completion_prompts(prompt: object, texts: list[str]) -> None:
    body = msgspec.json.encode({"model": "m", "prompt": prompt})
    assert decode(body, msgspec.json.Decoder(CompletionBody).decode).prompts() == texts


def test_the_field_at_fault_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(max_tokens="many")
    assert caught.value.param == "max_tokens"
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        decode(b"{", CHAT.decode)
