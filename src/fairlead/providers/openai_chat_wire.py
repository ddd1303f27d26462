"""Requests of `/chat/completions` as structs, for reading a client's body.

Unknown fields are forbidden below the top level: what this module does not
know, a translation would lose. Fields that clients send back because an answer
had them (`annotations`, `parsed`, null `audio`) are known and skipped.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.providers.raw import NOTHING


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Part of a request in which nothing may be overlooked."""


class CacheBreakpoint(_Strict, frozen=True, kw_only=True):
    mode: Literal["explicit"] = "explicit"
    ttl: str | None = None


class Text(_Strict, frozen=True, kw_only=True, tag="text", tag_field="type"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class Refusal(_Strict, frozen=True, kw_only=True, tag="refusal", tag_field="type"):
    refusal: str


class ImageUrl(_Strict, frozen=True, kw_only=True):
    url: str
    detail: str | None = None


class Image(_Strict, frozen=True, kw_only=True, tag="image_url", tag_field="type"):
    image_url: ImageUrl | str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputAudio(_Strict, frozen=True, kw_only=True):
    data: str
    format: str


class Audio(_Strict, frozen=True, kw_only=True, tag="input_audio", tag_field="type"):
    input_audio: InputAudio


class FileContent(_Strict, frozen=True, kw_only=True):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class File(_Strict, frozen=True, kw_only=True, tag="file", tag_field="type"):
    file: FileContent
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class Function(_Strict, frozen=True, kw_only=True):
    name: str
    arguments: str = "{}"
    parsed_arguments: msgspec.Raw = NOTHING


class GoogleExtra(msgspec.Struct, frozen=True, kw_only=True):
    thought_signature: str | None = None


class ExtraContent(msgspec.Struct, frozen=True, kw_only=True):
    """Where Google's own OpenAI-compatible API keeps the signature of a call."""

    google: GoogleExtra | None = None


class ToolCall(_Strict, frozen=True, kw_only=True):
    id: str
    function: Function
    type: Literal["function"] = "function"
    index: int | None = None
    extra_content: ExtraContent | None = None


class ReasoningDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One block of reasoning, in the form that several hosted APIs use beside the plain text."""

    type: str = "reasoning.text"
    text: str | None = None
    summary: str | None = None
    signature: str | None = None
    data: str | None = None
    index: int | None = None


class ProviderFields(msgspec.Struct, frozen=True, kw_only=True):
    """Where LiteLLM's client keeps, and sends back, what it does not know of an answer."""

    reasoning_details: list[ReasoningDetail] | None = None


class SystemMessage(_Strict, frozen=True, kw_only=True, tag="system", tag_field="role"):
    content: str | list[Text]
    name: str | None = None


class DeveloperMessage(_Strict, frozen=True, kw_only=True, tag="developer", tag_field="role"):
    content: str | list[Text]
    name: str | None = None


class UserMessage(_Strict, frozen=True, kw_only=True, tag="user", tag_field="role"):
    content: str | list[Text | Image | Audio | File]
    name: str | None = None


class AssistantMessage(_Strict, frozen=True, kw_only=True, tag="assistant", tag_field="role"):
    content: str | list[Text | Refusal] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[ReasoningDetail] | None = None
    provider_specific_fields: ProviderFields | None = None
    audio: None = None
    function_call: None = None
    annotations: msgspec.Raw = NOTHING
    parsed: msgspec.Raw = NOTHING


class ToolMessage(_Strict, frozen=True, kw_only=True, tag="tool", tag_field="role"):
    tool_call_id: str
    content: str | list[Text | Image | File]
    name: str | None = None


WireMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage


class FunctionTool(_Strict, frozen=True, kw_only=True):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = NOTHING
    strict: bool | None = None


class ToolDefinition(_Strict, frozen=True, kw_only=True):
    function: FunctionTool
    type: Literal["function"] = "function"


class FunctionName(_Strict, frozen=True, kw_only=True):
    name: str


class NamedToolChoice(_Strict, frozen=True, kw_only=True):
    function: FunctionName
    type: Literal["function"] = "function"


class JsonSchema(_Strict, frozen=True, kw_only=True):
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = NOTHING
    strict: bool | None = None


class Format(_Strict, frozen=True, kw_only=True):
    type: str
    json_schema: JsonSchema | None = None


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What an object says it is, before it is read as that."""

    type: str = ""
