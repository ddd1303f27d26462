"""Requests of `/v1/responses` as structs, for reading a client's body.

As in chat, an unknown field below the top level is forbidden, because a
translation would lose it; what clients send back from an answer is known.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.providers.openai_chat_wire import CacheBreakpoint, ExtraContent
from fairlead.providers.raw import NOTHING


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Part of a request in which nothing may be overlooked."""


class InputText(_Strict, frozen=True, kw_only=True, tag="input_text", tag_field="type"):
    text: str
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputImage(_Strict, frozen=True, kw_only=True, tag="input_image", tag_field="type"):
    image_url: str | None = None
    detail: str | None = None
    file_id: None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class InputFile(_Strict, frozen=True, kw_only=True, tag="input_file", tag_field="type"):
    file_data: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    filename: str | None = None
    detail: None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


class OutputText(_Strict, frozen=True, kw_only=True, tag="output_text", tag_field="type"):
    text: str
    annotations: msgspec.Raw = NOTHING
    logprobs: msgspec.Raw = NOTHING
    parsed: msgspec.Raw = NOTHING


class Refusal(_Strict, frozen=True, kw_only=True, tag="refusal", tag_field="type"):
    refusal: str


Content = InputText | InputImage | InputFile | OutputText | Refusal
ToolOutput = InputText | InputImage | InputFile


class Message(_Strict, frozen=True, kw_only=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Content]
    type: str | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class FunctionCall(_Strict, frozen=True, kw_only=True):
    call_id: str
    name: str
    arguments: str
    type: str
    id: str | None = None
    status: str | None = None
    caller: None = None
    namespace: None = None
    async_: Literal[False] | None = msgspec.field(name="async", default=None)
    async_dumped: Literal[False] | None = msgspec.field(name="async_", default=None)
    """What `model_dump` of OpenAI's SDK calls the same field."""
    parsed_arguments: msgspec.Raw = NOTHING
    extra_content: ExtraContent | None = None


class FunctionCallOutput(_Strict, frozen=True, kw_only=True):
    call_id: str
    output: str | list[ToolOutput]
    type: str
    id: str | None = None
    status: str | None = None
    name: str | None = None
    caller: None = None
    namespace: None = None


class ReasoningText(_Strict, frozen=True, kw_only=True):
    text: str
    type: Literal["summary_text", "reasoning_text"]


class ReasoningItem(_Strict, frozen=True, kw_only=True):
    type: str
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None


class FunctionTool(_Strict, frozen=True, kw_only=True):
    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: msgspec.Raw = NOTHING
    strict: bool | None = None
    allowed_callers: None = None
    async_: Literal[False] | None = msgspec.field(name="async", default=None)
    defer_loading: Literal[False] | None = None
    output_schema: None = None


class FunctionChoice(_Strict, frozen=True, kw_only=True):
    type: Literal["function"]
    name: str


class Format(_Strict, frozen=True, kw_only=True):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = NOTHING
    strict: bool | None = None


class TextConfig(_Strict, frozen=True, kw_only=True):
    format: Format | None = None
    verbosity: str | None = None


class ReasoningConfig(_Strict, frozen=True, kw_only=True):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: None = None
    mode: None = None
