"""Strategies for whole answers."""

from __future__ import annotations

import json

import msgspec
from hypothesis import strategies as st
from tests.unit.providers.neutral import objects, texts, words

from fairlead.providers.chat import (
    Answer,
    Choice,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)
from fairlead.types import Usage

thoughts = st.one_of(
    st.builds(ReasoningPart, text=texts, signature=st.none() | words),
    st.builds(ReasoningPart, redacted=words),
)
calls = st.builds(ToolCallPart, id=words.map("call_{}".format), name=words, arguments=objects.map(json.dumps))


def probabilities(*tokens: str) -> msgspec.Raw:
    """What the chat API says of tokens."""
    content = [{"token": token, "logprob": -0.5, "bytes": None, "top_logprobs": []} for token in tokens]
    return msgspec.Raw(msgspec.json.encode({"content": content, "refusal": None}))


def _apart(parts: list[Part]) -> tuple[Part, ...]:
    """Without parts that would run together in a stream, and calls of one id."""
    kept: list[Part] = []
    ids: set[str] = set()
    for part in parts:
        last = kept[-1] if kept else None
        if isinstance(part, ToolCallPart):
            if part.id in ids:
                continue
            ids.add(part.id)
        elif type(part) is type(last):
            sealed = isinstance(last, ReasoningPart) and (last.signature or last.redacted is not None)
            if not sealed:
                continue
        kept.append(part)
    return tuple(kept)


@st.composite
def answers(
    draw: st.DrawFn,
    *,
    parts: st.SearchStrategy[Part] | None = None,
    most_choices: int = 3,
    logprobs: bool = True,
) -> Answer:
    """Whole answers; by default of everything that the neutral model can say."""
    if parts is None:
        parts = st.builds(TextPart, text=texts) | st.builds(RefusalPart, text=texts) | thoughts | calls
    choices = []
    for index in range(draw(st.integers(1, most_choices))):
        said = _apart(draw(st.lists(parts, max_size=5)))
        called = any(isinstance(part, ToolCallPart) for part in said)
        choices.append(
            Choice(
                index=index,
                parts=said,
                finish=FinishReason.TOOL_CALLS if called else FinishReason.STOP,
                logprobs=draw(st.none() | st.just(probabilities("a", "b"))) if logprobs else None,
            )
        )
    return Answer(
        id=draw(words),
        model=draw(words),
        created=draw(st.integers(0, 2_000_000_000)),
        choices=tuple(choices),
        usage=draw(
            st.none() | st.builds(Usage, input_tokens=st.integers(0, 99), output_tokens=st.integers(0, 99))
        ),
    )
