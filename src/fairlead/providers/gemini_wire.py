"""Gemini's `generateContent` API (v1beta) as types: only the shapes, no meaning."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.providers.raw import NOTHING


class Blob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    mime_type: str
    data: str


class FileData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    file_uri: str
    mime_type: str | None = None


class FunctionCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = NOTHING


class FunctionResponsePart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    inline_data: Blob | None = None
    file_data: FileData | None = None


class FunctionResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: str
    response: msgspec.Raw
    id: str | None = None
    parts: list[FunctionResponsePart] | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A part; one of the data fields is set. The fields after `function_response` come in answers only."""

    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None
    function_call: FunctionCall | None = None
    function_response: FunctionResponse | None = None
    executable_code: msgspec.Raw = NOTHING
    code_execution_result: msgspec.Raw = NOTHING
    tool_call: msgspec.Raw = NOTHING


class Content(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    role: str | None = None
    parts: list[Part] | None = None


# --- requests -----------------------------------------------------------------------------------


class FunctionDeclaration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    name: str
    description: str | None = None
    parameters_json_schema: msgspec.Raw = NOTHING


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    function_declarations: list[FunctionDeclaration]


class FunctionCallingConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    mode: Literal["AUTO", "ANY", "NONE"]
    allowed_function_names: list[str] | None = None


class ToolConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    function_calling_config: FunctionCallingConfig


class ThinkingConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    include_thoughts: bool | None = None
    thinking_budget: int | None = None
    thinking_level: str | None = None


class GenerationConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: tuple[str, ...] = ()
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    candidate_count: int | None = None
    response_mime_type: str | None = None
    response_json_schema: msgspec.Raw = NOTHING
    thinking_config: ThinkingConfig | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[Tool] | None = None
    tool_config: ToolConfig | None = None
    generation_config: GenerationConfig | None = None
    service_tier: str | None = None


# --- answers ------------------------------------------------------------------------------------


class Candidate(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0


class PromptFeedback(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class ModalityTokens(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    modality: str = ""
    token_count: int = 0


class UsageMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    prompt_tokens_details: list[ModalityTokens] | None = None
    candidates_tokens_details: list[ModalityTokens] | None = None
    cache_tokens_details: list[ModalityTokens] | None = None
    tool_use_prompt_tokens_details: list[ModalityTokens] | None = None
    service_tier: str | None = None
    traffic_type: str | None = None


class QuotaViolation(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    quota_id: str = ""


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Any of Google's error details; which fields are set depends on `type`."""

    type: str = msgspec.field(default="", name="@type")
    reason: str | None = None
    retry_delay: str | None = None
    violations: list[QuotaViolation] | None = None


class Error(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    code: int = 0
    message: str = ""
    status: str = ""
    details: list[ErrorDetail] | None = None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    error: Error


class Response(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A whole answer, or one chunk of a stream: they are the same."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: UsageMetadata | None = None
    model_version: str = ""
    response_id: str = ""
    create_time: str | None = None
    error: Error | None = None
