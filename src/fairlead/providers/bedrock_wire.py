"""Bedrock's Converse API as types: only the shapes, no meaning. Blobs are base64 text."""

from __future__ import annotations

import msgspec

from fairlead.providers.raw import NOTHING


class CachePoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: str
    ttl: str | None = None


class S3Location(msgspec.Struct, frozen=True, kw_only=True):
    uri: str


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    bytes: str | None = None
    s3_location: S3Location | None = None
    text: str | None = None


class Image(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    source: Source


class Audio(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    source: Source


class Document(msgspec.Struct, frozen=True, kw_only=True):
    format: str
    name: str
    source: Source


class ToolUse(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = NOTHING


class ToolResultContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    text: str | None = None
    image: Image | None = None
    document: Document | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    tool_use_id: str
    content: list[ToolResultContent]
    status: str | None = None


class ReasoningText(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    text: str
    signature: str | None = None


class ReasoningContent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Of a whole block; a stream's deltas have `text`, `signature` and `redactedContent` directly."""

    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None
    text: str | None = None
    signature: str | None = None


class Block(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A content block; one of the fields is set."""

    text: str | None = None
    image: Image | None = None
    audio: Audio | None = None
    document: Document | None = None
    tool_use: ToolUse | None = None
    tool_result: ToolResult | None = None
    reasoning_content: ReasoningContent | None = None
    cache_point: CachePoint | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: str
    content: list[Block]


# --- requests -----------------------------------------------------------------------------------


class InferenceConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: tuple[str, ...] = ()


class InputSchema(msgspec.Struct, frozen=True, kw_only=True):
    json: msgspec.Raw


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: str
    input_schema: InputSchema
    description: str | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    tool_spec: ToolSpec | None = None
    cache_point: CachePoint | None = None


class ToolConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    tools: list[Tool]
    tool_choice: dict[str, dict[str, str]] | None = None


class JsonSchema(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    schema: str
    """JSON text, not an object."""
    name: str | None = None
    description: str | None = None


class OutputStructure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    json_schema: JsonSchema


class TextFormat(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    structure: OutputStructure


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    text_format: TextFormat | None = None
    effort: str | None = None


class ServiceTier(msgspec.Struct, frozen=True, kw_only=True):
    type: str


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    messages: list[Message]
    system: list[Block] | None = None
    inference_config: InferenceConfig | None = None
    tool_config: ToolConfig | None = None
    output_config: OutputConfig | None = None
    service_tier: ServiceTier | None = None
    additional_model_request_fields: msgspec.Raw = NOTHING
    additional_model_response_field_paths: list[str] | None = None


# --- answers ------------------------------------------------------------------------------------


class CacheDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    ttl: str = ""
    input_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0
    cache_details: list[CacheDetail] | None = None


class AnswerBlock(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A block of an answer; one of the fields is set."""

    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: ReasoningContent | None = None


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    content: list[AnswerBlock]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    message: AnswerMessage


class ModelFields(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for by `additionalModelResponseFieldPaths`."""

    stop_sequence: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    output: Output
    stop_reason: str
    usage: Usage | None = None
    service_tier: ServiceTier | None = None
    additional_model_response_fields: ModelFields | None = None


# --- streams ------------------------------------------------------------------------------------


class ToolUseDelta(msgspec.Struct, frozen=True, kw_only=True):
    input: str = ""


class Delta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    text: str | None = None
    tool_use: ToolUseDelta | None = None
    reasoning_content: ReasoningContent | None = None


class Start(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    tool_use: ToolUse | None = None


class StreamPayload(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payload of any event; the event's type is in the message's headers."""

    content_block_index: int = 0
    start: Start | None = None
    delta: Delta | None = None
    stop_reason: str | None = None
    usage: Usage | None = None
    service_tier: ServiceTier | None = None
    additional_model_response_fields: ModelFields | None = None
    message: str | None = None
    """Of an exception."""


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    message: str = ""
    capital: str = msgspec.field(default="", name="Message")
    type: str = msgspec.field(default="", name="__type")
