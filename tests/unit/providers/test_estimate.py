from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from tests.unit.providers import neutral

from fairlead.providers.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    ResponseFormat,
    TextPart,
    Tool,
)
from fairlead.providers.estimate import (
    IMAGE_TOKENS,
    LOW_DETAIL_IMAGE_TOKENS,
    MESSAGE_TOKENS,
    PAGE_TOKENS,
    REPLY_TOKENS,
    estimate_from_body,
    estimate_input_tokens,
    estimate_text,
)

FRAME = REPLY_TOKENS + MESSAGE_TOKENS


def of(*parts: object) -> int:
    messages = (Message(role="user", parts=parts),)  # type: ignore[arg-type]  # any part
    return estimate_input_tokens(ChatRequest(model="m", messages=messages)) - FRAME


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("nine char", 2),
        ("The quick brown fox jumps over the lazy dog.", 10.4),
        ("return f(a, b)", 2.4 + 2.4),
        ("敏捷", 2.04),
        ("Съешь", 3.11),
        ("😀", 1.42),
    ],
)
def test_texts_by_script(text: str, tokens: float) -> None:
    assert estimate_text(text) == pytest.approx(tokens, rel=0.02)


def test_everything_that_is_sent_counts() -> None:
    assert of(TextPart(text="x" * 450)) == 100
    assert of(ImagePart(data="x" * 10_000_000, media_type="image/png")) == IMAGE_TOKENS
    assert of(ImagePart(url="u", detail="low")) == LOW_DETAIL_IMAGE_TOKENS
    assert of(FilePart(text="x" * 450)) == 100
    assert of(FilePart(url="u")) == PAGE_TOKENS
    assert of(FilePart(data="x" * 4_000_000, media_type="application/pdf")) == 60 * PAGE_TOKENS
    assert of(FilePart(data="x" * 1600, media_type="text/plain")) == 300
    assert of(AudioPart(data="x" * 4_000_000, format="wav")) == 3000


def test_tools_and_schemas_count() -> None:
    bare = ChatRequest(model="m", messages=())
    schema = msgspec.Raw(b"x" * 350)
    tools = ChatRequest(model="m", messages=(), tools=(Tool(name="abcd", parameters=schema),))
    wanted = ChatRequest(
        model="m", messages=(), response_format=ResponseFormat(kind="json_schema", schema=schema)
    )

    assert estimate_input_tokens(tools) - estimate_input_tokens(bare) == 113
    assert estimate_input_tokens(wanted) - estimate_input_tokens(bare) == 100


@given(neutral.requests)
def test_every_request_has_an_estimate(request: ChatRequest) -> None:
    assert estimate_input_tokens(request) >= FRAME


def test_by_size() -> None:
    assert estimate_from_body(b"") == 1
    assert estimate_from_body(b"x" * 4000) == 1000
