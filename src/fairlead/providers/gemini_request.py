"""A neutral request in Gemini's `generateContent`.

Schemas go as JSON Schema (`parametersJsonSchema`, `responseJsonSchema`), which
the API takes since 2025 next to its OpenAPI subset, so nothing has to be
rewritten. Function responses need the function's name, which other dialects
leave out: it is found by the call's id in the conversation.

Thought signatures come back on the part that they came on. Gemini 3 refuses a
function call without one; for calls that another model made, Google documents
a placeholder.
"""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers import gemini_wire as wire
from fairlead.providers.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from fairlead.providers.dialect import Outgoing
from fairlead.providers.opaque import unseal
from fairlead.providers.raw import object_of, or_nothing

PROVIDER: Final = "gemini"
FOREIGN_CALL_SIGNATURE: Final = "skip_thought_signature_validator"
"""Google's documented stand-in for calls that Gemini did not make."""

_BEFORE_3: Final = re.compile(r"gemini-[12]|gemini-(exp|pro$|pro-vision)|gemma|learnlm")
_URI: Final = re.compile(
    r"gs://|https://generativelanguage\.googleapis\.com/|https://www\.youtube\.com/|https://youtu\.be/"
)
_BUDGETS: Final = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""Thinking budgets of Gemini 2.5 for a named effort, as in Google's own OpenAI compatibility layer."""
_LEVELS: Final = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_TIERS: Final = {
    "auto": None,
    "default": "standard",
    "standard": "standard",
    "flex": "flex",
    "priority": "priority",
}
_AUDIO_TYPES: Final = {
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "aiff": "audio/aiff",
}

Role = Literal["user", "model"]


def encode(request: ChatRequest, model: str) -> Outgoing:
    """The request for the upstream's `model`.

    Raises:
        UnsupportedByTarget: `param` names what Gemini has no place for.
        InvalidRequest: a tool result answers no call of the conversation, or arguments are no JSON object.
    """
    _check(request)
    contents = _Contents(request, modern=not _BEFORE_3.search(model))
    for message in request.messages:
        contents.add(message)
    ignored = [*contents.ignored, *request.advisory]
    if request.user is not None:
        ignored.append("user")
    if request.parallel_tool_calls is False and request.tools:
        # One tool is called once, but for rare exceptions, and LangChain sends the field with one.
        if len(request.tools) > 1:
            raise unsupported("parallel_tool_calls", "cannot be kept from calling tools in parallel")
        ignored.append("parallel_tool_calls")
    if any(tool.strict for tool in request.tools):
        ignored.append("tools.strict")
    body = wire.Request(
        contents=contents.turns(),
        system_instruction=contents.system(),
        tools=_tools(request),
        tool_config=_tool_config(request),
        generation_config=_generation_config(request, model),
        service_tier=_TIERS[request.service_tier or "auto"],
    )
    return Outgoing(
        path=_path(model, stream=request.stream),
        body=msgspec.json.encode(body),
        ignored=tuple(dict.fromkeys(ignored)),
    )


def unsupported(param: str, why: str) -> UnsupportedByTarget:
    """The refusal of one field."""
    return UnsupportedByTarget(f"{param}: Gemini {why}", param=param)


def _path(model: str, *, stream: bool) -> str:
    # Tuned models and Vertex AI's publishers are given as resource names.
    name = model if "/" in model else f"models/{model}"
    call = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/{quote(name, safe='/')}:{call}"


def _check(request: ChatRequest) -> None:
    if request.logprobs:
        raise unsupported("logprobs", "gives log probabilities in another form")
    if request.top_logprobs is not None:
        raise unsupported("top_logprobs", "gives log probabilities in another form")
    if request.service_tier is not None and request.service_tier not in _TIERS:
        raise unsupported("service_tier", f"has no tier `{request.service_tier[:64]}`")
    for name in request.extras:
        raise unsupported(name, "has no such option")


# --- the conversation ---------------------------------------------------------------------------


class _Contents:
    """Collects turns; neighbours of one role become one."""

    def __init__(self, request: ChatRequest, *, modern: bool) -> None:
        self.ignored: list[str] = []
        self._modern = modern
        """Gemini 3 or later."""
        self._system: list[wire.Part] = []
        self._turns: list[tuple[Role, list[wire.Part]]] = []
        self._names = {
            part.id: part.name
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolCallPart)
        }

    def add(self, message: Message) -> None:
        if message.name is not None:
            raise unsupported("messages.name", "has no names of participants")
        if message.role == "system" or message.role == "developer":
            for part in message.parts:
                if not isinstance(part, TextPart):
                    raise unsupported("messages", f"takes text only in a {message.role} message")
                if part.text:
                    self._system.append(wire.Part(text=part.text))
            return
        role: Role = "model" if message.role == "assistant" else "user"
        parts = self._parts(message)
        if not parts:
            return
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(parts)
        else:
            self._turns.append((role, parts))

    def system(self) -> wire.Content | None:
        return wire.Content(parts=self._system) if self._system else None

    def turns(self) -> list[wire.Content]:
        # Function responses have to follow their calls at once; sorting is stable.
        return [
            wire.Content(role=role, parts=sorted(parts, key=lambda part: part.function_response is None))
            for role, parts in self._turns
        ]

    def _parts(self, message: Message) -> list[wire.Part]:
        parts: list[wire.Part] = []
        signature: str | None = None
        called = False
        for part in message.parts:
            if isinstance(part, ReasoningPart):
                # A signature of Gemini's belongs to the part that follows it.
                signature = unseal(PROVIDER, part.redacted) or unseal(PROVIDER, part.signature) or signature
                if signature is None or part.text:
                    self.ignored.append("messages.reasoning")
                continue
            if isinstance(part, ToolCallPart):
                parts.append(self._call(part, signature, first=not called))
                called = True
            else:
                made = self._part(part)
                if made is None:
                    continue
                parts.append(msgspec.structs.replace(made, thought_signature=signature))
            signature = None
        if signature is not None:
            parts.append(wire.Part(text="", thought_signature=signature))
        return parts

    def _call(self, part: ToolCallPart, signature: str | None, *, first: bool) -> wire.Part:
        arguments = object_of(part.arguments)
        if arguments is None:
            raise InvalidRequest(
                f"messages: the arguments of the tool call `{part.id[:64]}` are not a JSON object",
                param="messages",
            )
        signature = unseal(PROVIDER, part.signature) or signature
        if signature is None and first and self._modern:
            signature = FOREIGN_CALL_SIGNATURE
        call = wire.FunctionCall(name=part.name, id=part.id, args=arguments)
        return wire.Part(function_call=call, thought_signature=signature)

    def _part(self, part: Part) -> wire.Part | None:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return wire.Part(text=text) if text else None
            case ImagePart():
                return self._image(part)
            case FilePart():
                return _file(part)
            case AudioPart(data=data, format=kind):
                media_type = _AUDIO_TYPES.get(kind)
                if media_type is None:
                    raise unsupported("messages", f"takes no audio of the format `{kind[:32]}`")
                return wire.Part(inline_data=wire.Blob(mime_type=media_type, data=data))
            case ToolResultPart():
                return self._result(part)
            case _:
                raise AssertionError(f"{type(part).__name__} is handled by _parts")

    def _image(self, part: ImagePart) -> wire.Part:
        if part.detail not in (None, "auto"):
            self.ignored.append("image_url.detail")
        if part.url is None:
            return wire.Part(inline_data=wire.Blob(mime_type=part.media_type or "", data=part.data or ""))
        return wire.Part(file_data=_by_uri(part.url, part.media_type))

    def _result(self, part: ToolResultPart) -> wire.Part:
        name = part.name or self._names.get(part.call_id)
        if name is None:
            raise InvalidRequest(
                f"messages: the tool result for `{part.call_id[:64]}` answers no call of the conversation",
                param="messages",
            )
        texts: list[str] = []
        media: list[wire.FunctionResponsePart] = []
        for inner in part.content:
            made = self._part(inner)
            if made is None:
                continue
            if made.text is not None:
                texts.append(made.text)
                continue
            if not self._modern:
                raise unsupported("messages", "takes only text as a tool's result before version 3")
            media.append(wire.FunctionResponsePart(inline_data=made.inline_data, file_data=made.file_data))
        key = "error" if part.is_error else "output"
        response = wire.FunctionResponse(
            name=name,
            id=part.call_id,
            response=msgspec.Raw(msgspec.json.encode({key: _structured("\n".join(texts))})),
            parts=media or None,
        )
        return wire.Part(function_response=response)


def _structured(text: str) -> msgspec.Raw | str:
    """A result that is a JSON object stays one; anything else is text."""
    found = object_of(text) if text.lstrip().startswith("{") else None
    return text if found is None else found


def _by_uri(url: str, media_type: str | None) -> wire.FileData:
    if not _URI.match(url):
        raise unsupported(
            "messages", "fetches files from Google's own storage only (gs:// or the Files API): send base64"
        )
    return wire.FileData(file_uri=url, mime_type=media_type)


def _file(part: FilePart) -> wire.Part:
    if part.text is not None:
        return wire.Part(text=part.text)
    if part.url is not None:
        return wire.Part(file_data=_by_uri(part.url, part.media_type))
    if part.file_id is not None:
        raise unsupported("messages", f"does not know the file `{part.file_id[:64]}`")
    media_type = part.media_type or "application/pdf"
    return wire.Part(inline_data=wire.Blob(mime_type=media_type, data=part.data or ""))


# --- tools and configuration --------------------------------------------------------------------


def _tools(request: ChatRequest) -> list[wire.Tool] | None:
    if not request.tools:
        return None
    declarations = [
        wire.FunctionDeclaration(
            name=tool.name,
            description=tool.description,
            parameters_json_schema=or_nothing(tool.parameters),
        )
        for tool in request.tools
    ]
    return [wire.Tool(function_declarations=declarations)]


def _tool_config(request: ChatRequest) -> wire.ToolConfig | None:
    choice = request.tool_choice
    if choice is None or not request.tools:
        return None
    match choice.mode:
        case "auto":
            config = wire.FunctionCallingConfig(mode="AUTO")
        case "none":
            config = wire.FunctionCallingConfig(mode="NONE")
        case "required":
            config = wire.FunctionCallingConfig(mode="ANY")
        case "tool":
            config = wire.FunctionCallingConfig(mode="ANY", allowed_function_names=[choice.name or ""])
    return wire.ToolConfig(function_calling_config=config)


def _generation_config(request: ChatRequest, model: str) -> wire.GenerationConfig:
    media_type: str | None = None
    schema: msgspec.Raw | None = None
    if request.response_format is not None and request.response_format.kind != "text":
        media_type = "application/json"
        schema = request.response_format.schema
    return wire.GenerationConfig(
        max_output_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop_sequences=request.stop,
        seed=request.seed,
        presence_penalty=request.presence_penalty,
        frequency_penalty=request.frequency_penalty,
        candidate_count=None if request.n == 1 else request.n,
        response_mime_type=media_type,
        response_json_schema=or_nothing(schema),
        thinking_config=_thinking(request.reasoning, modern=not _BEFORE_3.search(model)),
    )


def _thinking(reasoning: Reasoning | None, *, modern: bool) -> wire.ThinkingConfig | None:
    """Gemini 3 takes levels, 2.5 takes budgets; 3 still takes a budget that was given as one."""
    if reasoning is None:
        return None
    effort = reasoning.effort if reasoning.enabled else "none"
    shown = None if effort == "none" else True
    if effort is not None and effort not in _LEVELS:
        raise unsupported("reasoning_effort", f"has no thinking level for `{effort[:32]}`")
    if reasoning.budget_tokens is not None and reasoning.enabled:
        return wire.ThinkingConfig(thinking_budget=reasoning.budget_tokens, include_thoughts=shown)
    if effort is None:
        return wire.ThinkingConfig(thinking_budget=None if modern else -1, include_thoughts=shown)
    if modern:
        return wire.ThinkingConfig(thinking_level=_LEVELS[effort], include_thoughts=shown)
    return wire.ThinkingConfig(thinking_budget=_BUDGETS[effort], include_thoughts=shown)
