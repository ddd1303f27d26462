"""Anthropic's Messages API as types: only the shapes, no meaning.

The structs serve both directions: reading ignores unknown fields, writing
leaves defaults out. Content stays raw until its `type` is known, because a
valid block of a kind that cannot be translated must be refused by name.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fairlead.providers.raw import NOTHING

API_VERSION: Final = "2023-06-01"
FILES_BETA: Final = (b"anthropic-beta", b"files-api-2025-04-14")


class CacheControl(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="ephemeral"):
    ttl: str | None = None


class Base64Source(msgspec.Struct, frozen=True, kw_only=True, tag="base64"):
    media_type: str
    data: str


class UrlSource(msgspec.Struct, frozen=True, kw_only=True, tag="url"):
    url: str


class TextSource(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    data: str
    media_type: str = "text/plain"


class FileSource(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    file_id: str


class ContentSource(msgspec.Struct, frozen=True, kw_only=True, tag="content"):
    content: msgspec.Raw = NOTHING


class TextBlock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    text: str
    cache_control: CacheControl | None = None
    citations: msgspec.Raw = NOTHING


class ImageBlock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    source: Base64Source | UrlSource | FileSource
    cache_control: CacheControl | None = None
    transformations: msgspec.Raw = NOTHING


class Citations(msgspec.Struct, frozen=True, kw_only=True):
    enabled: bool = False


class DocumentBlock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="document"):
    source: Base64Source | UrlSource | TextSource | FileSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    cache_control: CacheControl | None = None


class ToolUseBlock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw = NOTHING
    cache_control: CacheControl | None = None
    caller: Kind | None = None
    toolset_name: str | None = None


class ToolResultBlock(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="tool_result"):
    tool_use_id: str
    content: str | list[msgspec.Raw] = ""
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: str | None = None


class ThinkingBlock(msgspec.Struct, frozen=True, kw_only=True, tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(msgspec.Struct, frozen=True, kw_only=True, tag="redacted_thinking"):
    data: str


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ToolUseBlock
    | ToolResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
)

BLOCKS: Final[dict[str, type[Block]]] = {
    "text": TextBlock,
    "image": ImageBlock,
    "document": DocumentBlock,
    "tool_use": ToolUseBlock,
    "tool_result": ToolResultBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
}
"""Blocks that have a neutral meaning. Anthropic has more: results of its server tools, search results,
container uploads, ... They are refused by name."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Only the `type` of an object."""

    type: str


# --- requests -----------------------------------------------------------------------------------


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = NOTHING
    strict: bool | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: msgspec.Raw = NOTHING


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(msgspec.Struct, frozen=True, kw_only=True):
    type: Literal["json_schema"]
    schema: msgspec.Raw


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    format: OutputFormat | None = None
    effort: str | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    budget_tokens: int | None = None
    display: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: Literal["user", "assistant", "system"]
    content: str | list[msgspec.Raw]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The fields with a neutral meaning; the rest is read as a mapping."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    """Required, but for counting tokens."""
    system: str | list[msgspec.Raw] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    metadata: dict[str, msgspec.Raw] | None = None
    service_tier: str | None = None


class OutMessage(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    content: list[Block]


class OutRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request as it is written."""

    model: str
    max_tokens: int
    messages: list[OutMessage]
    system: str | list[TextBlock] | None = None
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: tuple[str, ...] = ()
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None


# --- answers ------------------------------------------------------------------------------------


class CacheCreation(msgspec.Struct, frozen=True, kw_only=True):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class OutputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    thinking_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Counts as Anthropic gives them: `input_tokens` without the cached ones. None: not said."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputTokensDetails | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    content: list[msgspec.Raw]
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Usage | None = None


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    error_code: str | None = None


class Error(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str = ""
    message: str = ""
    details: ErrorDetails | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    error: Error


# --- streams ------------------------------------------------------------------------------------


class StartedMessage(msgspec.Struct, frozen=True, kw_only=True):
    id: str = ""
    model: str = ""
    usage: Usage | None = None


class StartedBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Any block at its start; which fields are set depends on `type`."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = NOTHING


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """Any delta: of a block (`type` is set) or of the message."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class StreamEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Any event of a stream."""

    type: str = ""
    index: int = 0
    message: StartedMessage | None = None
    content_block: StartedBlock | None = None
    delta: Delta | None = None
    usage: Usage | None = None
    error: Error | None = None
