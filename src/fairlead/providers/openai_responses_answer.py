"""The `response` object and its items, as OpenAI's own types declare them.

Whole answers are rendered here; a stream builds the same objects step by step
(`openai_responses_stream`) and takes its pieces from here.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fairlead.providers.chat import (
    Answer,
    ChatRequest,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
)
from fairlead.providers.openai_responses_parse import REDACTED_MARK, SIGNATURE_MARK
from fairlead.providers.openai_usage import responses_usage
from fairlead.types import Usage

Json = dict[str, object]

INCOMPLETE: Final = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
    FinishReason.REFUSAL: "content_filter",
}
"""Reasons for which a response is `incomplete`."""

_UNFIT: Final = re.compile(r"[^a-zA-Z0-9]")
_TIERS: Final = ("auto", "default", "flex", "scale", "priority")
_ECHOED: Final = ("metadata", "prompt_cache_key", "safety_identifier", "prompt_cache_retention")


class _Logprobs(msgspec.Struct, frozen=True, kw_only=True):
    """Log probabilities in the chat dialect's shape."""

    content: list[msgspec.Raw] | None = None


def stem_of(request_id: str) -> str:
    """What all ids of one response share."""
    return _UNFIT.sub("", request_id)


def response_fields(
    request: ChatRequest,
    *,
    request_id: str,
    created: int,
    model: str,
    status: str,
    output: list[Json],
    usage: Usage | None = None,
    incomplete: str | None = None,
    error: Json | None = None,
    service_tier: str | None = None,
) -> Json:
    """One `response` object; what the client asked for is echoed."""
    first = request.messages[0] if request.messages else None
    # A leading system message is what `instructions` became.
    instructions = (
        "".join(part.text for part in first.parts if isinstance(part, TextPart))
        if first is not None and first.role == "system"
        else None
    )
    reasoning = request.reasoning
    text: Json = {"format": _format(request.response_format)}
    if "verbosity" in request.extras:
        text["verbosity"] = request.extras["verbosity"]
    tier = service_tier or request.service_tier
    return {
        "id": f"resp_{stem_of(request_id)}",
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": error,
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "instructions": instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "model": model or request.model,
        "output": output,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": reasoning.summary if reasoning else None,
        },
        "service_tier": tier if tier in _TIERS else "default",
        "store": False,
        "temperature": request.temperature,
        "text": text,
        "tool_choice": _tool_choice(request.tool_choice),
        "tools": [_tool(tool) for tool in request.tools],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None if usage is None else responses_usage(usage),
        "user": request.user,
        "metadata": {},
    } | {name: request.advisory[name] for name in _ECHOED if name in request.advisory}


def render_response(answer: Answer, request: ChatRequest, request_id: str) -> bytes:
    """A whole `response`; the API has one choice only."""
    choice = answer.choices[0]
    incomplete = INCOMPLETE.get(choice.finish)
    logprobs = logprobs_of(choice.logprobs) if choice.logprobs is not None else []
    output = _items(choice.parts, request, request_id, logprobs)
    if incomplete is not None and output and output[-1]["type"] == "message":
        output[-1]["status"] = "incomplete"
    return msgspec.json.encode(
        response_fields(
            request,
            request_id=request_id,
            created=answer.created,
            model=answer.model,
            status="completed" if incomplete is None else "incomplete",
            output=output,
            usage=answer.usage,
            incomplete=incomplete,
            service_tier=answer.service_tier,
        )
    )


def _items(
    parts: tuple[Part, ...], request: ChatRequest, request_id: str, logprobs: list[msgspec.Raw]
) -> list[Json]:
    output: list[Json] = []
    for part in parts:
        if isinstance(part, TextPart):
            _message(output, request_id)["content"].append(text_part(part.text, logprobs))  # type: ignore[attr-defined]  # always a list
        elif isinstance(part, RefusalPart):
            _message(output, request_id)["content"].append({"type": "refusal", "refusal": part.text})  # type: ignore[attr-defined]  # always a list
        elif isinstance(part, ReasoningPart):
            item_id = item_id_of("rs", request_id, len(output))
            output.append(reasoning_item(item_id, part, as_summary=as_summary(request)))
        elif isinstance(part, ToolCallPart):
            item_id = item_id_of("fc", request_id, len(output))
            output.append(call_item(item_id, part, "completed"))
    return output


def _message(output: list[Json], request_id: str) -> Json:
    """The message under way: texts that follow each other are parts of one."""
    if not output or output[-1]["type"] != "message":
        output.append(message_item(item_id_of("msg", request_id, len(output)), [], "completed"))
    return output[-1]


def as_summary(request: ChatRequest) -> bool:
    """Reasoning is shown as a summary to those who asked for one, else as text."""
    return request.reasoning is not None and request.reasoning.summary is not None


def item_id_of(prefix: str, request_id: str, index: int) -> str:
    """The id of the item at `index`; its prefix tells the kind."""
    return f"{prefix}_{stem_of(request_id)}_{index}"


def message_item(item_id: str, content: list[Json], status: str) -> Json:
    """An assistant message."""
    return {"type": "message", "id": item_id, "status": status, "role": "assistant", "content": content}


def text_part(text: str, logprobs: list[msgspec.Raw]) -> Json:
    """A text part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def call_item(item_id: str, call: ToolCallPart, status: str) -> Json:
    """A function call."""
    item: Json = {
        "type": "function_call",
        "id": item_id,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }
    if call.signature is not None:
        item["extra_content"] = {"google": {"thought_signature": call.signature}}
    return item


def reasoning_item(item_id: str, part: ReasoningPart, *, as_summary: bool) -> Json:
    """A reasoning item; what seals it travels as `encrypted_content` and comes back with the item."""
    item: Json = {"type": "reasoning", "id": item_id, "summary": []}
    if part.text and as_summary:
        item["summary"] = [{"type": "summary_text", "text": part.text}]
    elif part.text:
        item["content"] = [{"type": "reasoning_text", "text": part.text}]
    if part.redacted is not None:
        item["encrypted_content"] = REDACTED_MARK + part.redacted
    elif part.signature is not None:
        item["encrypted_content"] = SIGNATURE_MARK + part.signature
    return item


def logprobs_of(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The tokens' log probabilities, out of the chat dialect's object."""
    try:
        return msgspec.json.decode(raw, type=_Logprobs).content or []
    except msgspec.DecodeError:
        return []


def _format(wanted: ResponseFormat | None) -> Json:
    if wanted is None or wanted.kind != "json_schema":
        return {"type": "text" if wanted is None else wanted.kind}
    return {
        "type": "json_schema",
        "name": wanted.name or "response",
        "description": wanted.description,
        "schema": wanted.schema if wanted.schema is not None else {},
        "strict": wanted.strict,
    }


def _tool(tool: Tool) -> Json:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }


def _tool_choice(choice: ToolChoice | None) -> object:
    if choice is None:
        return "auto"
    if choice.mode == "tool":
        return {"type": "function", "name": choice.name}
    return choice.mode
