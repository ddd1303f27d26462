"""How many tokens a prompt probably has, without any model's tokenizer.

For context windows, cost caps and token counting where nothing better is at
hand. Every model family cuts text differently, so this is a rule of thumb that
is meant to be right within a third for prose and code, and it cannot be better.

Text: byte-pair vocabularies hold most English words, with the space before
them, and give punctuation a token of its own more often than not. So a token
for every 4.5 characters, and 0.8 for each mark of ASCII punctuation. UTF-8
tells scripts apart well enough for the rest: every byte that a character takes
beyond its first adds 0.4, which makes about one token of a Chinese character,
0.6 of a Cyrillic letter, 1.4 of an emoji.

Everything else counts a flat or size-based amount, named below.
"""

from __future__ import annotations

import string
from typing import Final

from fairlead.providers.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)

_CHARS_PER_TOKEN: Final = 4.5
_PUNCTUATION_TOKENS: Final = 0.8
_WITHOUT_PUNCTUATION: Final = dict.fromkeys(map(ord, string.punctuation))
_EXTRA_BYTE_TOKENS: Final = 0.4
_JSON_CHARS_PER_TOKEN: Final = 3.5
_TEXT_BYTES_PER_TOKEN: Final = 4.0
"""Where the text itself is not looked at."""

MESSAGE_TOKENS: Final = 4
"""Role and separators of one message."""
REPLY_TOKENS: Final = 3
"""What primes the answer."""
TOOL_TOKENS: Final = 12
"""The wrapping of one tool or tool call."""
IMAGE_TOKENS: Final = 1500
"""About the most that one image takes at the large providers after they have scaled it."""
LOW_DETAIL_IMAGE_TOKENS: Final = 85
PAGE_TOKENS: Final = 2000
"""One page of a document of unknown content, as text and picture."""
BYTES_PER_PAGE: Final = 50_000
AUDIO_TOKENS_PER_S: Final = 32
AUDIO_BYTES_PER_S: Final = {"wav": 32_000, "pcm16": 32_000, "flac": 20_000}
COMPRESSED_BYTES_PER_S: Final = 8000


def estimate_input_tokens(request: ChatRequest) -> int:
    """Tokens of everything that a request sends: messages, tools, schemas."""
    total: float = REPLY_TOKENS
    for message in request.messages:
        total += MESSAGE_TOKENS
        for part in message.parts:
            total += _part(part)
    for tool in request.tools:
        total += _tool(tool)
    if request.response_format is not None and request.response_format.schema is not None:
        total += _json(bytes(request.response_format.schema))
    return round(total)


def estimate_from_body(body: bytes) -> int:
    """Tokens of a body by its size alone, in constant time.

    Never much too low; too high by the share of base64, escapes and field
    names, so a caller that would act on it asks `estimate_input_tokens` first.
    """
    return max(1, len(body) // 4)


def estimate_text(text: str) -> float:
    """Tokens of a text."""
    chars = len(text)
    plain = len(text.translate(_WITHOUT_PUNCTUATION))
    total = plain / _CHARS_PER_TOKEN + (chars - plain) * _PUNCTUATION_TOKENS
    if text.isascii():
        return total
    return total + (len(text.encode("utf-8", "replace")) - chars) * _EXTRA_BYTE_TOKENS


def _json(data: bytes) -> float:
    return len(data) / _JSON_CHARS_PER_TOKEN


def _tool(tool: Tool) -> float:
    total = TOOL_TOKENS + estimate_text(tool.name) + estimate_text(tool.description or "")
    return total if tool.parameters is None else total + _json(bytes(tool.parameters))


def _part(part: Part) -> float:
    match part:
        case TextPart(text=text) | RefusalPart(text=text):
            return estimate_text(text)
        case ImagePart(detail=detail):
            return LOW_DETAIL_IMAGE_TOKENS if detail == "low" else IMAGE_TOKENS
        case FilePart():
            return _file(part)
        case AudioPart(data=data, format=kind):
            seconds = _decoded_size(data) / AUDIO_BYTES_PER_S.get(kind, COMPRESSED_BYTES_PER_S)
            return seconds * AUDIO_TOKENS_PER_S
        case ToolCallPart(name=name, arguments=arguments):
            return TOOL_TOKENS + estimate_text(name) + _json(arguments.encode("utf-8", "replace"))
        case ToolResultPart(content=content):
            return TOOL_TOKENS + sum(_part(inner) for inner in content)
        case ReasoningPart(text=text, redacted=redacted):
            # Sealed reasoning is longer than what it stands for.
            return estimate_text(text) + len(redacted or "") / _TEXT_BYTES_PER_TOKEN


def _file(part: FilePart) -> float:
    if part.text is not None:
        return estimate_text(part.text)
    if part.data is None:
        return PAGE_TOKENS
    size = _decoded_size(part.data)
    if part.media_type is not None and part.media_type.startswith("text/"):
        return size / _TEXT_BYTES_PER_TOKEN
    return PAGE_TOKENS * max(1.0, size / BYTES_PER_PAGE)


def _decoded_size(base64: str) -> float:
    return len(base64) * 0.75
