"""Writing chat requests, and reading them back."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import UnsupportedByTarget
from fairlead.providers.chat import (
    AudioPart,
    CacheHint,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from fairlead.providers.openai_chat_encode import encode_chat
from fairlead.providers.openai_chat_parse import parse_chat
from fairlead.providers.openai_flavour import ENGINE, OPENAI, Flavour

EVERYTHING = Flavour(
    limit_field="max_completion_tokens",
    developer_role=True,
    reasoning_field="reasoning_content",
    reasoning_details=True,
    cache_breakpoints=True,
    tool_result_media=True,
    carries_advisory=True,
)

# --- whatever can be said in this dialect comes back the same -----------------------------------

WORDS = st.text(min_size=1, max_size=6)
DATA = st.binary(min_size=1, max_size=6).map(lambda data: base64.b64encode(data).decode())
RAW = st.sampled_from([b'{"type":"object"}', b"[1.50]", b'{"a":"\\u00e9"}']).map(msgspec.Raw)
CACHE = st.none() | st.builds(CacheHint, ttl=st.none() | st.just("30m"))
TEXT = st.builds(TextPart, text=WORDS, cache=CACHE)
DETAIL = st.none() | st.sampled_from(["low", "high"])
IMAGE = st.builds(
    ImagePart, url=WORDS.map(lambda word: f"https://x/{word}"), detail=DETAIL, cache=CACHE
) | st.builds(ImagePart, media_type=st.just("image/png"), data=DATA, detail=DETAIL, cache=CACHE)
FILE = st.builds(
    FilePart, filename=st.none() | WORDS, media_type=st.just("application/pdf"), data=DATA, cache=CACHE
) | st.builds(FilePart, filename=st.none() | WORDS, file_id=WORDS, cache=CACHE)
AUDIO = st.builds(AudioPart, data=DATA, format=st.sampled_from(["wav", "mp3"]))
CALL = st.builds(
    ToolCallPart, id=WORDS, name=WORDS, arguments=st.just('{"a":1}'), signature=st.none() | WORDS
)
REASONING = st.builds(ReasoningPart, text=WORDS, signature=st.none() | WORDS) | st.builds(
    ReasoningPart, redacted=WORDS
)
RESULT = st.builds(
    ToolResultPart, call_id=WORDS, content=st.lists(TEXT | IMAGE | FILE, max_size=2).map(tuple),
    name=st.none() | WORDS,
)  # fmt: skip


def _parts(parts: st.SearchStrategy[Part], least: int = 1) -> st.SearchStrategy[tuple[Part, ...]]:
    return st.lists(parts, min_size=least, max_size=3).map(tuple)


@st.composite
def assistants(draw: st.DrawFn) -> Message:
    # Reasoning, then what was said, then calls: the order in which the dialect holds them.
    reasoning = draw(_parts(REASONING, 0))
    said = draw(_parts(st.builds(TextPart, text=WORDS) | st.builds(RefusalPart, text=WORDS), 0))
    calls = draw(_parts(CALL, 0))
    return Message(role="assistant", parts=(*reasoning, *said, *calls), name=draw(st.none() | WORDS))


NAME = st.none() | WORDS
TURN = (
    st.builds(Message, role=st.sampled_from(["system", "developer"]), parts=_parts(TEXT), name=NAME)
    | st.builds(Message, role=st.just("user"), parts=_parts(TEXT | IMAGE | AUDIO | FILE), name=NAME)
    | assistants()
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    turns: list[Message] = []
    for turn in draw(st.lists(TURN, min_size=1, max_size=4)):
        turns.append(turn)
        if turn.role == "assistant" and draw(st.booleans()):
            turns.append(Message(role="user", parts=draw(_parts(RESULT))))
    return tuple(turns)


EFFORT = st.sampled_from(["minimal", "low", "high"])
NUMBER = st.none() | st.floats(0, 2)
COUNT = st.none() | st.integers(1, 1000)
REQUEST = st.builds(
    ChatRequest,
    model=WORDS,
    messages=conversations(),
    stream=st.just(False),
    tools=st.lists(
        st.builds(
            Tool, name=WORDS, description=st.none() | WORDS, parameters=st.none() | RAW,
            strict=st.none() | st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    tool_choice=st.none()
    | st.sampled_from(["auto", "none", "required"]).map(lambda mode: ToolChoice(mode=mode))
    | WORDS.map(lambda name: ToolChoice(mode="tool", name=name)),
    parallel_tool_calls=st.none() | st.booleans(),
    response_format=st.none()
    | st.sampled_from(["text", "json_object"]).map(lambda kind: ResponseFormat(kind=kind))
    | st.builds(
        ResponseFormat, kind=st.just("json_schema"), name=WORDS, description=st.none() | WORDS,
        schema=st.none() | RAW, strict=st.none() | st.booleans(),
    ),
    reasoning=st.none()
    | EFFORT.map(lambda effort: Reasoning(effort=effort))
    | st.just(Reasoning(enabled=False, effort="none")),
    max_output_tokens=COUNT,
    temperature=NUMBER,
    top_p=NUMBER,
    top_k=COUNT,
    stop=st.lists(WORDS, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 2**31),
    presence_penalty=NUMBER,
    frequency_penalty=NUMBER,
    n=st.integers(1, 4),
    logprobs=st.booleans(),
    top_logprobs=COUNT,
    user=st.none() | WORDS,
    service_tier=st.none() | st.just("flex"),
    extras=st.dictionaries(st.sampled_from(["guided_json", "min_p", "verbosity"]), RAW, max_size=2),
    advisory=st.dictionaries(st.sampled_from(["safety_identifier", "prompt_cache_key"]), RAW, max_size=2),
)  # fmt: skip


@settings(max_examples=150)
@given(REQUEST, st.booleans())
def test_what_is_encoded_is_parsed_the_same(request: ChatRequest, stream: bool) -> None:
    # Usage is always asked for in a stream.
    request = msgspec.structs.replace(request, stream=stream, include_usage=stream)
    outgoing = encode_chat(request, request.model, EVERYTHING)
    assert outgoing.ignored == ()
    assert parse_chat(outgoing.body) == request


# --- flavours -----------------------------------------------------------------------------------


def ask(*parts: Part, flavour: Flavour = OPENAI, role: str = "user", **fields: object) -> dict[str, object]:
    message = Message(role=role, parts=parts or (TextPart(text="hi"),))  # type: ignore[arg-type]  # the role is one
    outgoing = encode_chat(ChatRequest(model="asked", messages=(message,), **fields), "theirs", flavour)  # type: ignore[arg-type]  # fields by name
    body: dict[str, object] = json.loads(outgoing.body)
    assert outgoing.path == "/chat/completions"
    assert body.pop("model") == "theirs"
    return body | {"ignored": outgoing.ignored}


def test_a_plain_request_is_plain() -> None:
    assert ask() == {"messages": [{"role": "user", "content": "hi"}], "ignored": ()}


def test_each_flavour_has_its_names() -> None:
    assert ask(max_output_tokens=5)["max_completion_tokens"] == 5
    assert ask(max_output_tokens=5, flavour=ENGINE)["max_tokens"] == 5
    assert ask(role="developer")["messages"] == [{"role": "developer", "content": "hi"}]
    assert ask(role="developer", flavour=ENGINE)["messages"] == [{"role": "system", "content": "hi"}]
    assert ask(top_k=5, flavour=ENGINE)["top_k"] == 5


def test_streams_always_ask_for_usage() -> None:
    body = ask(stream=True, advisory={"stream_options": msgspec.Raw(b'{"include_obfuscation":false}')})
    assert body["stream"] is True
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_extras_go_as_they_are() -> None:
    assert ask(extras={"min_p": msgspec.Raw(b"0.1")})["min_p"] == 0.1


def test_what_changes_no_answer_is_carried_or_reported() -> None:
    advisory = {"prompt_cache_key": msgspec.Raw(b'"k"'), "metadata.other": msgspec.Raw(b"1")}
    body = ask(advisory=advisory)
    assert (body["prompt_cache_key"], body["ignored"]) == ("k", ("metadata.other",))
    assert ask(advisory=advisory, flavour=ENGINE)["ignored"] == tuple(advisory)
    cached = TextPart(text="x", cache=CacheHint())
    assert ask(cached, cached)["ignored"] == ("cache_control",)


def test_metadata_goes_only_with_what_is_stored() -> None:
    advisory = {"metadata": msgspec.Raw(b'{"k":"v"}')}
    assert ask(advisory=advisory)["ignored"] == ("metadata",)
    assert ask(advisory=advisory, extras={"store": msgspec.Raw(b"true")})["metadata"] == {"k": "v"}


@pytest.mark.parametrize(
    ("reasoning", "effort", "ignored"),
    [
        (Reasoning(effort="xhigh"), "xhigh", ()),
        (Reasoning(budget_tokens=1024), "low", ()),
        (Reasoning(budget_tokens=10_000), "medium", ()),
        (Reasoning(budget_tokens=32_000), "high", ()),
        (Reasoning(budget_tokens=32_000, effort="low"), "low", ()),
        (Reasoning(adaptive=True), None, ()),
        (Reasoning(enabled=False, effort="none"), "none", ()),
        (Reasoning(enabled=False), None, ("reasoning",)),
        (Reasoning(enabled=False, effort="high"), None, ("reasoning",)),
        (Reasoning(effort="low", summary="auto"), "low", ("reasoning.summary",)),
    ],
)
def test_reasoning_becomes_an_effort(
    reasoning: Reasoning, effort: str | None, ignored: tuple[str, ...]
) -> None:
    body = ask(reasoning=reasoning)
    assert body.get("reasoning_effort") == effort
    assert body["ignored"] == ignored


def test_earlier_reasoning_goes_to_those_that_want_it() -> None:
    parts = (ReasoningPart(text="hm", signature="s"), TextPart(text="x"))
    openai = ask(*parts, role="assistant")
    assert openai["messages"] == [{"role": "assistant", "content": "x"}]
    assert openai["ignored"] == ("messages.reasoning",)
    engine = ask(*parts, role="assistant", flavour=ENGINE)
    assert engine["messages"] == [{"role": "assistant", "content": "x", "reasoning_content": "hm"}]


def test_answers_of_tools_come_before_what_the_user_adds() -> None:
    body = ask(
        TextPart(text="now"), ToolResultPart(call_id="c", content=(TextPart(text="r"),), is_error=True)
    )
    assert body["messages"] == [
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {"role": "user", "content": "now"},
    ]
    assert body["ignored"] == ("messages.tool_result.is_error",)


def test_a_call_without_text_has_null_content() -> None:
    body = ask(ToolCallPart(id="c", name="f", arguments=""), role="assistant")
    assert body["messages"] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }
    ]


def test_ids_that_are_too_long_are_shortened_alike_in_call_and_result() -> None:
    long = "x" * 100
    call = ask(ToolCallPart(id=long, name="f", arguments="{}"), role="assistant")["messages"]
    result = ask(ToolResultPart(call_id=long, content=()))["messages"]
    shortened = call[0]["tool_calls"][0]["id"]  # type: ignore[index]  # JSON
    assert shortened == result[0]["tool_call_id"]  # type: ignore[index]  # JSON
    assert len(shortened) <= 40


def test_text_documents_are_text() -> None:
    body = ask(FilePart(text="words", filename="a.txt"))
    assert body["messages"] == [{"role": "user", "content": "a.txt\n\nwords"}]


@pytest.mark.parametrize(
    ("part", "role"),
    [
        (FilePart(url="https://x/a.pdf"), "user"),
        (ToolResultPart(call_id="c", content=(ImagePart(url="https://x"),)), "user"),
        (ToolCallPart(id="c", name="f", arguments="{}"), "user"),
        (ToolResultPart(call_id="c", content=()), "assistant"),
    ],
)
def test_what_has_no_place_is_refused_with_its_message(part: Part, role: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        ask(part, role=role)
    assert caught.value.param == "messages[0]"


@pytest.mark.parametrize("name", ["mcp_servers", "container", "thinking"])
def test_options_of_other_dialects_are_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedByTarget) as caught:
        ask(extras={name: msgspec.Raw(b"{}")}, flavour=ENGINE)
    assert caught.value.param == name


def test_openai_has_no_top_k() -> None:
    with pytest.raises(UnsupportedByTarget, match="top_k"):
        ask(top_k=5)
