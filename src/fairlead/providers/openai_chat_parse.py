"""A client's `/v1/chat/completions` body as a neutral request.

Only translated calls come here; a call to an upstream of the same dialect
keeps its bytes. Top-level fields without a neutral meaning become extras,
those that never change an answer advisory; below the top level an unknown
field is refused by name.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, Literal

import msgspec

from fairlead.errors import InvalidRequest
from fairlead.providers import openai_chat_wire as wire
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
from fairlead.providers.fields import Fields, decode_field
from fairlead.providers.raw import present

ADVISORY: Final = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
    }
)
"""Fields that never change what is answered."""

_FORMATS: Final = ("text", "json_object", "json_schema")


def parse_chat(body: bytes) -> ChatRequest:
    """The neutral request.

    Raises:
        InvalidRequest: the body is not a valid request; `param` is the field's path.
        UnsupportedByTarget: it holds, below the top level, what no other dialect has.
    """
    fields = Fields(body)
    model = fields.require("model", str)
    messages = read_messages(fields.require("messages", list[wire.WireMessage]))
    if not messages:
        raise InvalidRequest("messages: at least one message is required", param="messages")
    advisory: dict[str, msgspec.Raw] = {}
    include_usage = take_stream_options(fields, advisory)
    response_format, foreign_format = _response_format(fields.take_raw("response_format"))
    request = ChatRequest(
        model=model,
        messages=messages,
        stream=fields.take("stream", bool) or False,
        include_usage=include_usage,
        tools=tuple(_tool(tool) for tool in fields.take("tools", list[wire.ToolDefinition]) or ()),
        tool_choice=_tool_choice(fields.take_raw("tool_choice")),
        parallel_tool_calls=fields.take("parallel_tool_calls", bool),
        response_format=response_format,
        reasoning=_reasoning(fields.take("reasoning_effort", str)),
        max_output_tokens=_output_limit(fields),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        top_k=fields.take("top_k", int),
        stop=take_stop(fields),
        seed=fields.take("seed", int),
        presence_penalty=fields.take("presence_penalty", float),
        frequency_penalty=fields.take("frequency_penalty", float),
        n=take_n(fields),
        logprobs=fields.take("logprobs", bool) or False,
        top_logprobs=fields.take("top_logprobs", int),
        user=fields.take("user", str),
        service_tier=fields.take("service_tier", str),
    )
    extras = sort_rest(fields, advisory)
    if foreign_format is not None:
        extras["response_format"] = foreign_format
    return msgspec.structs.replace(request, extras=extras, advisory=advisory)


def sort_rest(fields: Fields, advisory: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """What nobody took: the advisory fields are added to `advisory`, the others returned."""
    extras: dict[str, msgspec.Raw] = {}
    for name, value in fields.rest().items():
        # To be stored changes no answer, but who asks for it wants to find it again.
        harmless = name in ADVISORY or (name == "store" and bytes(value) == b"false")
        (advisory if harmless else extras)[name] = value
    return extras


def take_stream_options(fields: Fields, advisory: dict[str, msgspec.Raw]) -> bool:
    """Whether usage is wanted; the other options (obfuscation) are advisory."""
    options = fields.take("stream_options", dict[str, msgspec.Raw]) or {}
    wanted = options.pop("include_usage", None)
    if options:
        advisory["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
    if wanted is None:
        return False
    include_usage: bool | None = decode_field("stream_options.include_usage", bytes(wanted), bool | None)
    return include_usage is True


def take_stop(fields: Fields) -> tuple[str, ...]:
    """The stop sequences: one, several or none."""
    stop: str | list[str] | None = fields.take("stop", str | list[str])
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def take_n(fields: Fields) -> int:
    """How many answers are wanted. Raises InvalidRequest."""
    n = fields.take("n", int)
    if n is None:
        return 1
    if not 1 <= n <= 128:
        raise InvalidRequest("n: a number from 1 to 128 is expected", param="n")
    return n


def positive(name: str, value: int | None) -> int | None:
    """Refuse a number of tokens that is not one."""
    if value is not None and value < 1:
        raise InvalidRequest(f"{name}: a number of at least 1 is expected", param=name)
    return value


def _output_limit(fields: Fields) -> int | None:
    old = positive("max_tokens", fields.take("max_tokens", int))
    new = positive("max_completion_tokens", fields.take("max_completion_tokens", int))
    if old is not None and new is not None and old != new:
        raise InvalidRequest("max_tokens: contradicts `max_completion_tokens`", param="max_tokens")
    return new if new is not None else old


def _reasoning(effort: str | None) -> Reasoning | None:
    return None if effort is None else Reasoning(enabled=effort != "none", effort=effort)


def _tool(definition: wire.ToolDefinition) -> Tool:
    tool = definition.function
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=present(tool.parameters),
        strict=tool.strict,
    )


def _tool_choice(value: msgspec.Raw | None) -> ToolChoice | None:
    if value is None:
        return None
    chosen: Literal["auto", "none", "required"] | wire.NamedToolChoice = decode_field(
        "tool_choice", bytes(value), Literal["auto", "none", "required"] | wire.NamedToolChoice
    )
    if isinstance(chosen, wire.NamedToolChoice):
        return ToolChoice(mode="tool", name=chosen.function.name)
    return ToolChoice(mode=chosen)


def _response_format(value: msgspec.Raw | None) -> tuple[ResponseFormat | None, msgspec.Raw | None]:
    """The neutral format, or the field itself when it is one that only some engines know."""
    if value is None:
        return None, None
    kind = decode_field("response_format", bytes(value), wire.Kind).type
    if kind not in _FORMATS:
        return None, value
    wanted = decode_field("response_format", bytes(value), wire.Format)
    if wanted.type == "text":
        return ResponseFormat(kind="text"), None
    if wanted.type == "json_object":
        return ResponseFormat(kind="json_object"), None
    if wanted.json_schema is None:
        raise InvalidRequest(
            "response_format.json_schema: this field is required", param="response_format.json_schema"
        )
    schema = wanted.json_schema
    return (
        ResponseFormat(
            kind="json_schema",
            name=schema.name,
            description=schema.description,
            schema=present(schema.schema),
            strict=schema.strict,
        ),
        None,
    )


# --- messages -----------------------------------------------------------------------------------


def read_messages(messages: list[wire.WireMessage]) -> tuple[Message, ...]:
    """Neutral turns; the answers of tools that follow each other become one turn of the user."""
    turns: list[Message] = []
    results: list[Part] = []
    for index, message in enumerate(messages):
        if isinstance(message, wire.ToolMessage):
            results.append(_tool_result(message, f"messages[{index}]"))
            continue
        if results:
            turns.append(Message(role="user", parts=tuple(results)))
            results.clear()
        turns.append(_message(message, f"messages[{index}]"))
    if results:
        turns.append(Message(role="user", parts=tuple(results)))
    return tuple(turns)


def _message(
    message: wire.SystemMessage | wire.DeveloperMessage | wire.UserMessage | wire.AssistantMessage, at: str
) -> Message:
    match message:
        case wire.SystemMessage():
            return Message(role="system", parts=_parts(message.content, at), name=message.name)
        case wire.DeveloperMessage():
            return Message(role="developer", parts=_parts(message.content, at), name=message.name)
        case wire.UserMessage():
            return Message(role="user", parts=_parts(message.content, at), name=message.name)
        case wire.AssistantMessage():
            return Message(role="assistant", parts=_assistant(message, at), name=message.name)


def _parts(
    content: str
    | list[wire.Text]
    | list[wire.Text | wire.Refusal]
    | list[wire.Text | wire.Image | wire.Audio | wire.File],
    at: str,
) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(text=content),) if content else ()
    return tuple(_part(part, f"{at}.content[{index}]") for index, part in enumerate(content))


def _part(part: wire.Text | wire.Refusal | wire.Image | wire.Audio | wire.File, at: str) -> Part:
    match part:
        case wire.Text():
            return _text(part)
        case wire.Refusal():
            return RefusalPart(text=part.refusal)
        case wire.Image():
            return _image(part, at)
        case wire.Audio():
            return AudioPart(data=part.input_audio.data, format=part.input_audio.format)
        case wire.File():
            return _file(part, at)


def _assistant(message: wire.AssistantMessage, at: str) -> tuple[Part, ...]:
    parts: list[Part] = list(_reasoning_parts(message))
    parts += _parts(message.content or "", at)
    if message.refusal:
        parts.append(RefusalPart(text=message.refusal))
    for call in message.tool_calls or ():
        google = call.extra_content.google if call.extra_content else None
        parts.append(
            ToolCallPart(
                id=call.id,
                name=call.function.name,
                arguments=call.function.arguments or "{}",
                signature=google.thought_signature if google else None,
            )
        )
    return tuple(parts)


def _reasoning_parts(message: wire.AssistantMessage) -> list[ReasoningPart]:
    kept = message.provider_specific_fields
    parts = read_details(message.reasoning_details or (kept and kept.reasoning_details) or ())
    if parts:
        return parts
    text = message.reasoning_content or message.reasoning
    return [ReasoningPart(text=text)] if text else []


def read_details(
    details: list[wire.ReasoningDetail] | tuple[wire.ReasoningDetail, ...],
) -> list[ReasoningPart]:
    """The blocks of `reasoning_details`, those without any content left out."""
    parts = (
        ReasoningPart(
            text=detail.text or detail.summary or "", signature=detail.signature, redacted=detail.data
        )
        for detail in details
    )
    return [part for part in parts if part.text or part.signature or part.redacted]


def _tool_result(message: wire.ToolMessage, at: str) -> ToolResultPart:
    content: list[TextPart | ImagePart | FilePart] = []
    if isinstance(message.content, str):
        if message.content:
            content.append(TextPart(text=message.content))
    else:
        for index, part in enumerate(message.content):
            where = f"{at}.content[{index}]"
            match part:
                case wire.Text():
                    content.append(_text(part))
                case wire.Image():
                    content.append(_image(part, where))
                case wire.File():
                    content.append(_file(part, where))
    return ToolResultPart(call_id=message.tool_call_id, content=tuple(content), name=message.name)


def _text(part: wire.Text) -> TextPart:
    return TextPart(text=part.text, cache=_cache(part.prompt_cache_breakpoint))


def _image(part: wire.Image, at: str) -> ImagePart:
    image = wire.ImageUrl(url=part.image_url) if isinstance(part.image_url, str) else part.image_url
    cache = _cache(part.prompt_cache_breakpoint)
    if not image.url.startswith("data:"):
        return ImagePart(url=image.url, detail=image.detail, cache=cache)
    media_type, data = split_data_url(image.url, f"{at}.image_url.url")
    return ImagePart(media_type=media_type, data=data, detail=image.detail, cache=cache)


def _file(part: wire.File, at: str) -> FilePart:
    content = part.file
    media_type: str | None = None
    data = content.file_data
    if data is not None and data.startswith("data:"):
        media_type, data = split_data_url(data, f"{at}.file.file_data")
    if (data is None) == (content.file_id is None):
        raise InvalidRequest(
            f"{at}.file: exactly one of `file_data` and `file_id` is expected", param=f"{at}.file"
        )
    return FilePart(
        filename=content.filename,
        media_type=media_type,
        data=data,
        file_id=content.file_id,
        cache=_cache(part.prompt_cache_breakpoint),
    )


def _cache(breakpoint_: wire.CacheBreakpoint | None) -> CacheHint | None:
    return None if breakpoint_ is None else CacheHint(ttl=breakpoint_.ttl)


def split_data_url(url: str, param: str) -> tuple[str, str]:
    """Media type and base64 data of a `data:` URL (RFC 2397).

    Raises:
        InvalidRequest: it is not one, or its data is not base64.
    """
    kind, comma, data = url.removeprefix("data:").partition(",")
    media_type, base64_mark, rest = kind.partition(";base64")
    if not comma or not base64_mark or rest or not media_type:
        raise InvalidRequest(f"{param}: a data URL `data:TYPE;base64,DATA` is expected", param=param)
    try:
        base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InvalidRequest(f"{param}: the data is not base64", param=param) from error
    return media_type, data
