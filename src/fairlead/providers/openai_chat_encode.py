"""A neutral request as a `/chat/completions` body, in the flavour of one kind of upstream.

What the chat dialect has no place for is refused by name; what never changes
an answer is reported as ignored. Reasoning of earlier turns counts among that:
providers drop it themselves, and it goes only to those that ask for it back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.errors import UnsupportedByTarget
from fairlead.providers.chat import (
    AudioPart,
    CacheHint,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from fairlead.providers.dialect import Outgoing
from fairlead.providers.openai_chat_parse import ADVISORY
from fairlead.providers.openai_flavour import Flavour

PATH: Final = "/chat/completions"

_OTHER_DIALECTS: Final = frozenset({"container", "context_management", "mcp_servers", "thinking"})
"""Extras of other dialects that engines would accept in silence, and not act on."""

_CARRIED: Final = ADVISORY | {"store", "stream_options"}

_MAX_CALL_ID: Final = 40

_EFFORT_BY_BUDGET: Final = ((2_048, "low"), (12_288, "medium"))
"""Most thinking tokens up to which an effort stands for a budget; `high` beyond."""


def encode_chat(request: ChatRequest, model: str, flavour: Flavour) -> Outgoing:
    """The request for the upstream's own `model` name.

    Raises:
        UnsupportedByTarget: names the first field that cannot be carried.
    """
    writer = _Writer(flavour)
    body: dict[str, object] = {"model": model, "messages": writer.messages(request.messages)}
    if request.tools:
        body["tools"] = [writer.tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    if request.reasoning is not None:
        effort = writer.effort(request.reasoning)
        if effort is not None:
            body["reasoning_effort"] = effort
    if request.top_k is not None and not flavour.top_k:
        raise _refusal("top_k", "has no such option")
    options: tuple[tuple[str, object], ...] = (
        ("parallel_tool_calls", request.parallel_tool_calls),
        (flavour.limit_field, request.max_output_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("top_k", request.top_k),
        ("seed", request.seed),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
        ("top_logprobs", request.top_logprobs),
        ("user", request.user),
        ("service_tier", request.service_tier),
        ("stop", request.stop or None),
        ("n", None if request.n == 1 else request.n),
        ("logprobs", request.logprobs or None),
    )
    body |= {name: value for name, value in options if value is not None}
    for name, value in request.extras.items():
        if name in _OTHER_DIALECTS:
            raise _refusal(name, "has no such option")
        body[name] = value
    stream_options = writer.advisory(request, body)
    if request.stream:
        # Usage is always asked for: the record needs it.
        body["stream"] = True
        body["stream_options"] = stream_options | {"include_usage": True}
    return Outgoing(path=PATH, body=msgspec.json.encode(body), ignored=tuple(dict.fromkeys(writer.ignored)))


def _refusal(param: str, why: str) -> UnsupportedByTarget:
    return UnsupportedByTarget(f"{param}: the chat completions API {why}", param=param)


class _Writer:
    """Writes the parts of one request, and notes what it left out."""

    __slots__ = ("_flavour", "ignored")

    def __init__(self, flavour: Flavour) -> None:
        self._flavour = flavour
        self.ignored: list[str] = []

    def advisory(self, request: ChatRequest, body: dict[str, object]) -> dict[str, object]:
        """Write the advisory fields that the target takes. Return those inside `stream_options`."""
        stream_options: dict[str, object] = {}
        # OpenAI refuses metadata for what is not stored.
        stored = "store" in request.extras and bytes(request.extras["store"]) == b"true"
        for name, value in request.advisory.items():
            unwanted = name == "metadata" and not stored
            if not self._flavour.carries_advisory or name not in _CARRIED or unwanted:
                self.ignored.append(name)
            elif name == "stream_options":
                stream_options |= msgspec.json.decode(value, type=dict[str, msgspec.Raw])
            else:
                body[name] = value
        return stream_options

    def effort(self, reasoning: Reasoning) -> str | None:
        if reasoning.summary is not None:
            self.ignored.append("reasoning.summary")
        if not self._flavour.reasoning_effort:
            self.ignored.append("reasoning")
            return None
        if not reasoning.enabled:
            # Models that cannot reason refuse the field, so it is sent only where a client wrote it.
            if reasoning.effort == "none":
                return "none"
            self.ignored.append("reasoning")
            return None
        if reasoning.effort is not None or reasoning.budget_tokens is None:
            return reasoning.effort
        for budget, effort in _EFFORT_BY_BUDGET:
            if reasoning.budget_tokens <= budget:
                return effort
        return "high"

    def tool(self, tool: Tool) -> dict[str, object]:
        if tool.cache is not None:
            self.ignored.append("cache_control")
        function: dict[str, object] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.parameters is not None:
            function["parameters"] = tool.parameters
        if tool.strict is not None:
            function["strict"] = tool.strict
        return {"type": "function", "function": function}

    def messages(self, messages: tuple[Message, ...]) -> list[dict[str, object]]:
        written: list[dict[str, object]] = []
        for index, message in enumerate(messages):
            at = f"messages[{index}]"
            if message.role == "assistant":
                written.append(self._assistant(message, at))
                continue
            # The answers of tools must follow the calls at once, so they go first.
            results = [part for part in message.parts if isinstance(part, ToolResultPart)]
            written += [self._tool_result(result, at) for result in results]
            rest = [part for part in message.parts if not isinstance(part, ToolResultPart)]
            if rest or not results:
                written.append(self._turn(message, rest, at))
        return written

    def _turn(self, message: Message, parts: Sequence[Part], at: str) -> dict[str, object]:
        role: str = message.role
        if role == "developer" and not self._flavour.developer_role:
            role = "system"
        written: dict[str, object] = {"role": role, "content": self._content(parts, at)}
        if message.name is not None:
            written["name"] = message.name
        return written

    def _assistant(self, message: Message, at: str) -> dict[str, object]:
        written: dict[str, object] = {"role": "assistant"}
        if message.name is not None:
            written["name"] = message.name
        reasoning = [part for part in message.parts if isinstance(part, ReasoningPart)]
        calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
        said = [part for part in message.parts if not isinstance(part, ReasoningPart | ToolCallPart)]
        if said or not calls:
            written["content"] = self._content(said, at)
        else:
            written["content"] = None
        if reasoning:
            self._reasoning(reasoning, written)
        if calls:
            written["tool_calls"] = [self._call(call) for call in calls]
        return written

    def _reasoning(self, parts: list[ReasoningPart], written: dict[str, object]) -> None:
        field = self._flavour.reasoning_field
        if self._flavour.reasoning_details:
            written["reasoning_details"] = reasoning_details(parts)
        text = "".join(part.text for part in parts)
        if field is not None:
            if text:
                written[field] = text
        elif not self._flavour.reasoning_details:
            self.ignored.append("messages.reasoning")

    def _call(self, call: ToolCallPart) -> dict[str, object]:
        if call.cache is not None:
            self.ignored.append("cache_control")
        written: dict[str, object] = {
            "id": _call_id(call.id),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments or "{}"},
        }
        if call.signature is not None and self._flavour.reasoning_details:
            written["extra_content"] = {"google": {"thought_signature": call.signature}}
        return written

    def _tool_result(self, result: ToolResultPart, at: str) -> dict[str, object]:
        if result.is_error:
            self.ignored.append("messages.tool_result.is_error")
        if result.cache is not None:
            self.ignored.append("cache_control")
        if not self._flavour.tool_result_media:
            for part in result.content:
                if not isinstance(part, TextPart) and not (isinstance(part, FilePart) and part.text):
                    raise _refusal(at, "takes only text as the answer of a tool")
        written: dict[str, object] = {
            "role": "tool",
            "tool_call_id": _call_id(result.call_id),
            "content": self._content(result.content, at),
        }
        if result.name is not None:
            written["name"] = result.name
        return written

    def _content(self, parts: Sequence[Part], at: str) -> object:
        """A plain string where that says everything, as not every engine takes lists everywhere."""
        written = [self._part(part, at) for part in parts]
        if not written:
            return ""
        if len(written) == 1 and written[0].keys() == {"type", "text"}:
            return written[0]["text"]
        return written

    def _part(self, part: Part, at: str) -> dict[str, object]:
        match part:
            case TextPart():
                return self._cached({"type": "text", "text": part.text}, part.cache)
            case RefusalPart():
                return {"type": "refusal", "refusal": part.text}
            case ImagePart():
                url = part.url
                if part.data is not None:
                    url = f"data:{part.media_type or 'image/png'};base64,{part.data}"
                image = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
                return self._cached({"type": "image_url", "image_url": image}, part.cache)
            case AudioPart():
                return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case FilePart():
                return self._file(part, at)
            case ReasoningPart() | ToolCallPart() | ToolResultPart():
                raise _refusal(at, f"has no place for a {part.__struct_config__.tag} part here")

    def _file(self, part: FilePart, at: str) -> dict[str, object]:
        if part.text is not None:
            text = part.text if part.filename is None else f"{part.filename}\n\n{part.text}"
            return self._cached({"type": "text", "text": text}, part.cache)
        file: dict[str, object] = {}
        if part.filename is not None:
            file["filename"] = part.filename
        if part.data is not None:
            file["file_data"] = (
                part.data if part.media_type is None else f"data:{part.media_type};base64,{part.data}"
            )
        elif part.file_id is not None:
            file["file_id"] = part.file_id
        else:
            raise _refusal(at, "takes no documents by URL")
        return self._cached({"type": "file", "file": file}, part.cache)

    def _cached(self, written: dict[str, object], cache: CacheHint | None) -> dict[str, object]:
        if cache is None:
            return written
        if not self._flavour.cache_breakpoints:
            self.ignored.append("cache_control")
            return written
        ttl = {} if cache.ttl is None else {"ttl": cache.ttl}
        return written | {"prompt_cache_breakpoint": {"mode": "explicit"} | ttl}


def _call_id(call_id: str) -> str:
    """The id itself, or one derived from it when it is longer than OpenAI accepts."""
    if len(call_id) <= _MAX_CALL_ID:
        return call_id
    return "call_" + hashlib.sha256(call_id.encode()).hexdigest()[:32]


def reasoning_details(parts: list[ReasoningPart]) -> list[dict[str, object]]:
    """Blocks of reasoning with their signatures, in the form that clients send back."""
    details: list[dict[str, object]] = []
    for index, part in enumerate(parts):
        if part.redacted is not None:
            details.append({"type": "reasoning.encrypted", "data": part.redacted, "index": index})
        else:
            block: dict[str, object] = {"type": "reasoning.text", "text": part.text, "index": index}
            if part.signature is not None:
                block["signature"] = part.signature
            details.append(block)
    return details


def _tool_choice(choice: ToolChoice) -> object:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(wanted: ResponseFormat) -> dict[str, object]:
    if wanted.kind != "json_schema":
        return {"type": wanted.kind}
    schema: dict[str, object] = {"name": wanted.name or "response"}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.schema is not None:
        schema["schema"] = wanted.schema
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}
