"""The neutral chat model that every dialect is translated from and to.

A client dialect parses its body into a `ChatRequest`; an upstream dialect
encodes it. Answers travel back as an `Answer`, streams as `Event`s. The model
is the union of what the dialects can say: whatever a dialect cannot carry it
refuses by name with `UnsupportedByTarget`, never drops.

JSON that passes through (tool schemas, arguments, log probabilities) is kept
as `msgspec.Raw` or text, byte for byte.
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from fairlead.types import EngineTimes, Failure, Usage


class CacheHint(msgspec.Struct, frozen=True, kw_only=True):
    """The provider may cache the prompt up to here."""

    ttl: str | None = None


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text"):
    text: str
    cache: CacheHint | None = None


class ImagePart(msgspec.Struct, frozen=True, kw_only=True, tag="image"):
    """An image by URL or as base64 data; exactly one of `url` and `data` is set."""

    url: str | None = None
    media_type: str | None = None
    data: str | None = None
    detail: str | None = None
    cache: CacheHint | None = None


class AudioPart(msgspec.Struct, frozen=True, kw_only=True, tag="audio"):
    """Base64 audio; `format` is `wav`, `mp3`, ..."""

    data: str
    format: str


class FilePart(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    """A document by URL, provider file id or as base64 data (or plain text when `text` is set)."""

    filename: str | None = None
    media_type: str | None = None
    url: str | None = None
    data: str | None = None
    text: str | None = None
    file_id: str | None = None
    cache: CacheHint | None = None


class ToolCallPart(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call"):
    """The model asks for a tool; `arguments` is JSON text, `{}` when there are none."""

    id: str
    name: str
    arguments: str
    signature: str | None = None
    cache: CacheHint | None = None


class ToolResultPart(msgspec.Struct, frozen=True, kw_only=True, tag="tool_result"):
    """What a tool answered; `content` holds text, image and file parts."""

    call_id: str
    content: tuple[TextPart | ImagePart | FilePart, ...]
    is_error: bool = False
    name: str | None = None
    cache: CacheHint | None = None


class ReasoningPart(msgspec.Struct, frozen=True, kw_only=True, tag="reasoning"):
    """The model's reasoning; `redacted` holds provider-encrypted data instead of text."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None


class RefusalPart(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The model declined, in the field that OpenAI keeps apart for this."""

    text: str


Part = (
    TextPart | ImagePart | AudioPart | FilePart | ToolCallPart | ToolResultPart | ReasoningPart | RefusalPart
)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. Tool results are parts of a `user` message, as the neutral form."""

    role: Literal["system", "developer", "user", "assistant"]
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    """JSON Schema of the arguments; None means no parameters."""
    strict: bool | None = None
    cache: CacheHint | None = None


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None
    """The tool, when `mode` is `tool`."""


class ResponseFormat(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw | None = None
    strict: bool | None = None


class Reasoning(msgspec.Struct, frozen=True, kw_only=True):
    """How much to think: a named effort, a token budget, or adaptive. `enabled=False` turns it off."""

    enabled: bool = True
    effort: str | None = None
    budget_tokens: int | None = None
    adaptive: bool = False
    summary: str | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One request, in no provider's dialect."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    """The client wants usage in its stream (always true for dialects that always send it)."""
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int = 1
    logprobs: bool = False
    top_logprobs: int | None = None
    user: str | None = None
    service_tier: str | None = None
    extras: dict[str, msgspec.Raw] = {}
    """Top-level fields of the client's dialect that have no neutral meaning (`logit_bias`,
    `prediction`, `top_a`, ...). A translation that does not know a field refuses it by name."""
    advisory: dict[str, msgspec.Raw] = {}
    """Fields that never change the answer (`metadata`, `prompt_cache_key`, `store: false`,
    `safety_identifier`, ...). A translation carries what it can and lists the rest in the
    `x-fairlead-ignored` response header."""


class FinishReason(enum.StrEnum):
    STOP = "stop"
    STOP_SEQUENCE = "stop_sequence"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    parts: tuple[Part, ...]
    finish: FinishReason
    stop_sequence: str | None = None
    logprobs: msgspec.Raw | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `usage` is None when the upstream reported none."""

    id: str
    model: str
    created: int
    choices: tuple[Choice, ...]
    usage: Usage | None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    engine: EngineTimes | None = None
    """What the engine tells of its own work."""


# --- streams ------------------------------------------------------------------------------------


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """First event of every stream. `usage` holds what is known at the start (Anthropic's input tokens)."""

    id: str
    model: str
    created: int
    usage: Usage | None = None


class TextDelta(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0
    logprobs: msgspec.Raw | None = None


class ReasoningDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More reasoning text, or (with empty text) the signature or redacted block that ends it."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    choice: int = 0


class ToolCallBegin(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call starts. `index` counts the calls of its choice from 0."""

    index: int
    id: str
    name: str
    choice: int = 0
    signature: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, kw_only=True):
    """More of the arguments' JSON text of call `index`."""

    index: int
    arguments: str
    choice: int = 0


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None


class UsageReport(msgspec.Struct, frozen=True, kw_only=True):
    """Usage so far; a later report replaces an earlier one."""

    usage: Usage
    engine: EngineTimes | None = None
    """What the engine tells of its own work."""


class StreamError(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream reported an error inside a stream; nothing follows."""

    failure: Failure


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The dialect's own end mark was seen (`[DONE]`, `message_stop`, ...)."""


Event = (
    Begin
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallBegin
    | ToolCallDelta
    | Finish
    | UsageReport
    | StreamError
    | End
)
