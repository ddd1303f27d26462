"""Pseudo-answers."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairlead.simulate.text import Ask, Reply, Tool, answer

WEATHER = Tool(
    name="get_weather",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
TIME = Tool(name="get_time", parameters={"type": "object", "properties": {}})


def ask(question: str = "Where does the river end?", **fields: object) -> Ask:
    base = Ask(prompt=f"<|user|>\n{question}\n", question=question, temperature=0.0)
    return msgspec.structs.replace(base, **fields)


def text(reply: Reply) -> str:
    return reply.joined("text")


def test_at_temperature_zero_the_same_request_gets_the_same_answer() -> None:
    assert answer(ask(), roll=1) == answer(ask(), roll=2)
    assert answer(ask(), 1) != answer(ask("Another question"), 1)


def test_above_zero_answers_vary_unless_there_is_a_seed() -> None:
    assert answer(ask(temperature=0.7), 1) != answer(ask(temperature=0.7), 2)
    assert answer(ask(temperature=0.7, seed=5), 1) == answer(ask(temperature=0.7, seed=5), 2)


def test_an_answer_echoes_the_question_and_is_whole_sentences() -> None:
    reply = answer(ask(), 1)
    assert "Where does the river end?" in text(reply)
    assert text(reply).endswith(".")
    assert reply.finish == "stop"
    assert 10 < len(reply.tokens) <= 200


@given(st.integers(1, 300))
def test_max_tokens_is_respected_and_a_shorter_answer_is_a_prefix(limit: int) -> None:
    whole, cut = answer(ask(), 1), answer(ask(max_tokens=limit), 1)
    assert cut.tokens == whole.tokens[:limit]
    assert cut.finish == ("length" if limit < len(whole.tokens) else "stop")


@given(st.integers(1, 400))
def test_ignore_eos_gives_exactly_max_tokens(limit: int) -> None:
    reply = answer(ask(max_tokens=limit, ignore_eos=True), 1)
    assert len(reply.tokens) == limit
    assert reply.finish == "length"


def test_min_tokens_makes_a_longer_answer() -> None:
    assert len(answer(ask(min_tokens=400), 1).tokens) >= 380


def test_a_stop_sequence_ends_the_answer_before_it() -> None:
    whole = text(answer(ask(), 1))
    cut = answer(ask(stop=("zebra", "river end")), 1)
    assert text(cut) == whole[: whole.index("river end")]
    assert (cut.finish, cut.stop) == ("stop", "river end")


def test_a_prompt_can_dictate_the_answer() -> None:
    assert text(answer(ask("Please say exactly: pong, twice"), 1)) == "pong, twice"


def test_a_forced_tool_is_called_with_arguments_of_its_schema() -> None:
    reply = answer(ask(tools=(TIME, WEATHER), tool_mode="required", tool_name="get_weather"), 1)
    assert reply.finish == "tool_calls"
    assert [call.name for call in reply.calls] == ["get_weather"]
    arguments = msgspec.json.decode(reply.arguments(0))
    assert isinstance(arguments["city"], str)


def test_a_tool_is_called_when_the_prompt_says_so_and_not_after_its_result() -> None:
    invited = ask("Use the tool to look at the weather", tools=(WEATHER,))
    assert answer(invited, 1).calls
    assert not answer(msgspec.structs.replace(invited, after_tool=True), 1).calls
    assert not answer(msgspec.structs.replace(invited, tool_mode="none"), 1).calls
    assert not answer(ask(tools=(WEATHER,)), 1).calls


def test_a_tool_that_is_named_in_the_prompt_is_chosen() -> None:
    reply = answer(ask("use the tool get_time", tools=(WEATHER, TIME)), 1)
    assert [call.name for call in reply.calls] == ["get_time"]


def test_several_tools_are_called_when_asked_for_in_the_plural() -> None:
    reply = answer(ask("use the tools", tools=(WEATHER, TIME)), 1)
    assert [call.name for call in reply.calls] == ["get_weather", "get_time"]
    assert len({call.id for call in reply.calls}) == 2
    serial = answer(ask("use the tools", tools=(WEATHER, TIME), parallel_tools=False), 1)
    assert len(serial.calls) == 1


def test_structured_output_is_json_of_the_schema() -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red"]}}, "required": ["colour"]}
    reply = answer(ask(output="json", schema=schema), 1)
    assert msgspec.json.decode(text(reply)) == {"colour": "red"}
    free = msgspec.json.decode(text(answer(ask(output="json"), 1)))
    assert set(free) == {"answer", "confidence"}


def test_a_choice_is_one_of_the_choices() -> None:
    assert text(answer(ask(output="choice", choices=("yes", "no")), 1)) in ("yes", "no")


def test_thinking_comes_first_and_counts() -> None:
    reply = answer(ask(think=True), 1)
    kinds = [token.kind for token in reply.tokens]
    assert kinds[0] == "reasoning"
    assert kinds[-1] == "text"
    assert reply.reasoning_tokens == kinds.index("text")


def test_an_empty_answer_still_takes_one_token() -> None:
    reply = answer(ask("say exactly: x", stop=("x",)), 1)
    assert [token.text for token in reply.tokens] == [""]
    assert reply.finish == "stop"
