"""Strategies for neutral requests and events, shared by the dialects' property tests."""

from __future__ import annotations

import json

import msgspec
from hypothesis import strategies as st

from fairlead.providers.chat import (
    Begin,
    CacheHint,
    ChatRequest,
    End,
    Event,
    FilePart,
    Finish,
    FinishReason,
    ImagePart,
    Message,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    ResponseFormat,
    StreamError,
    TextDelta,
    TextPart,
    Tool,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
    UsageReport,
)
from fairlead.types import Failure, FailureKind, Usage

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
words = st.text(st.sampled_from("abcdefgh_-0189"), min_size=1, max_size=10)
caches = st.none() | st.builds(CacheHint, ttl=st.sampled_from([None, "5m", "1h"]))
objects = st.dictionaries(words, st.integers() | texts | st.lists(st.integers(), max_size=3), max_size=3)
schemas = objects.map(lambda found: msgspec.Raw(json.dumps({"type": "object", **found}).encode()))

text_parts = st.builds(TextPart, text=texts, cache=caches)
images = st.builds(
    ImagePart, media_type=st.just("image/png"), data=st.just("aGk="), cache=caches
) | st.builds(ImagePart, url=st.just("https://example.com/a.png"), cache=caches)
files = st.builds(
    FilePart,
    filename=st.none() | words,
    media_type=st.just("application/pdf"),
    data=st.just("aGk="),
    cache=caches,
) | st.builds(
    FilePart, filename=st.none() | words, media_type=st.just("text/plain"), text=texts, cache=caches
)
results = st.builds(
    ToolResultPart,
    call_id=words,
    content=st.lists(text_parts | images, max_size=2).map(tuple),
    is_error=st.booleans(),
    cache=caches,
)
calls = st.builds(ToolCallPart, id=words, name=words, arguments=objects.map(json.dumps), cache=caches)
thoughts = st.builds(ReasoningPart, text=texts, signature=words) | st.builds(ReasoningPart, redacted=words)

user_turns = st.tuples(
    st.lists(results, max_size=2), st.lists(text_parts | images | files, min_size=1, max_size=3)
).map(lambda both: Message(role="user", parts=(*both[0], *both[1])))
assistant_turns = st.lists(text_parts | calls | thoughts, min_size=1, max_size=4).map(
    lambda parts: Message(role="assistant", parts=tuple(parts))
)


def _conversation(pairs: list[tuple[Message, Message]], system: str | None) -> tuple[Message, ...]:
    turns = [turn for pair in pairs for turn in pair]
    if system is not None:
        turns.insert(0, Message(role="system", parts=(TextPart(text=system),)))
    return tuple(turns)


requests = st.builds(
    ChatRequest,
    model=words,
    messages=st.builds(
        _conversation,
        st.lists(st.tuples(user_turns, assistant_turns), min_size=1, max_size=3),
        st.none() | texts,
    ),
    stream=st.booleans(),
    include_usage=st.just(True),
    tools=st.lists(
        st.builds(
            Tool,
            name=words,
            description=st.none() | texts,
            parameters=schemas,
            strict=st.none() | st.booleans(),
            cache=caches,
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    tool_choice=st.none()
    | st.builds(ToolChoice, mode=st.sampled_from(["auto", "required", "none"]))
    | st.builds(ToolChoice, mode=st.just("tool"), name=words),
    response_format=st.none()
    | st.builds(ResponseFormat, kind=st.just("json_schema"), schema=schemas, strict=st.just(True)),
    max_output_tokens=st.integers(1, 9999),
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 99),
    stop=st.lists(texts, max_size=2).map(tuple),
    user=st.none() | texts,
    service_tier=st.sampled_from([None, "auto", "default"]),
)
"""Requests that Anthropic's dialect carries without loss."""

events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Begin, id=words, model=words, created=st.just(0)),
    st.builds(TextDelta, text=texts),
    st.builds(RefusalDelta, text=texts),
    st.builds(ReasoningDelta, text=texts),
    st.builds(ReasoningDelta, signature=words),
    st.builds(ReasoningDelta, redacted=words),
    st.builds(ToolCallBegin, index=st.integers(0, 3), id=words, name=words, signature=st.none() | words),
    st.builds(
        ToolCallDelta, index=st.integers(0, 3), arguments=st.sampled_from(["", "{", "}", '{"a":1}', '"b":2'])
    ),
    st.builds(Finish, reason=st.sampled_from(FinishReason)),
    st.builds(
        UsageReport, usage=st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9))
    ),
)
endings: st.SearchStrategy[Event] = st.just(End()) | st.just(
    StreamError(failure=Failure(kind=FailureKind.CUT, message="cut"))
)


def comparable(value: object) -> object:
    """A form in which equal raw JSON is equal, wherever it lies."""
    return msgspec.json.decode(msgspec.json.encode(value))
