"""A client's `/v1/responses` body as a neutral request.

Only translated calls come here; an upstream with a Responses API is asked
natively. A translation keeps no state, so everything that needs some
(`previous_response_id`, `conversation`, `store: true`, `background`, item
references) is refused by name, as are tools that OpenAI runs itself.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers import openai_responses_wire as wire
from fairlead.providers.chat import (
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
from fairlead.providers.opaque import seal
from fairlead.providers.openai_chat_parse import ADVISORY, positive, split_data_url
from fairlead.providers.openai_chat_wire import CacheBreakpoint, Kind
from fairlead.providers.raw import present

SIGNATURE_MARK: Final = "fairlead-signature:"
REDACTED_MARK: Final = "fairlead-redacted:"
"""What `encrypted_content` holds in answers that we translated; anything else is OpenAI's own."""

_STATEFUL: Final = ("previous_response_id", "conversation", "prompt", "context_management")
_NO_STATE: Final = "needs state that only an upstream with a Responses API keeps"
_LOGPROBS: Final = "message.output_text.logprobs"
_INCLUDABLE: Final = ("reasoning.encrypted_content", _LOGPROBS)
_Role = Literal["system", "developer", "user", "assistant"]


def parse_response(body: bytes) -> ChatRequest:
    """The neutral request.

    Raises:
        InvalidRequest: the body is not a valid request; `param` is the field's path.
        UnsupportedByTarget: it asks for what only a Responses API of its own can do.
    """
    fields = Fields(body)
    model = fields.require("model", str)
    _refuse_state(fields)
    advisory = _advisory(fields)
    extras: dict[str, msgspec.Raw] = {}
    top_logprobs = fields.take("top_logprobs", int)
    request = ChatRequest(
        model=model,
        messages=_messages(fields),
        stream=fields.take("stream", bool) or False,
        include_usage=True,
        tools=_tools(fields),
        tool_choice=_tool_choice(fields.take_raw("tool_choice")),
        parallel_tool_calls=fields.take("parallel_tool_calls", bool),
        response_format=_response_format(fields, extras),
        reasoning=_reasoning(fields.take("reasoning", wire.ReasoningConfig)),
        max_output_tokens=positive("max_output_tokens", fields.take("max_output_tokens", int)),
        temperature=fields.take("temperature", float),
        top_p=fields.take("top_p", float),
        logprobs=_wants_logprobs(fields) or bool(top_logprobs),
        top_logprobs=top_logprobs or None,
        user=fields.take("user", str),
        service_tier=fields.take("service_tier", str),
    )
    for name in fields.rest():
        raise _refusal(name, "is a field of the Responses API that cannot be translated for this target")
    return msgspec.structs.replace(request, extras=extras, advisory=advisory)


def _refusal(param: str, why: str) -> UnsupportedByTarget:
    return UnsupportedByTarget(f"{param}: {why}", param=param)


def _refuse_state(fields: Fields) -> None:
    for name in _STATEFUL:
        fields.refuse(name, _NO_STATE)
    for name in ("background", "store"):
        if fields.take(name, bool):
            raise _refusal(name, _NO_STATE)
    if fields.take("truncation", str) not in (None, "disabled"):
        raise _refusal("truncation", "only `disabled` can be translated for this target")


def _advisory(fields: Fields) -> dict[str, msgspec.Raw]:
    advisory: dict[str, msgspec.Raw] = {}
    # `max_tool_calls` bounds the built-in tools, of which a translated request has none.
    for name in sorted(ADVISORY | {"stream_options", "max_tool_calls"}):
        value = fields.take_raw(name)
        if value is not None:
            advisory[name] = value
    return advisory


def _wants_logprobs(fields: Fields) -> bool:
    wanted = fields.take("include", list[str]) or []
    for index, name in enumerate(wanted):
        if name not in _INCLUDABLE:
            raise _refusal(f"include[{index}]", f"`{name[:100]}` cannot be translated for this target")
    return _LOGPROBS in wanted


def _tools(fields: Fields) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for index, raw in enumerate(fields.take("tools", list[msgspec.Raw]) or ()):
        at = f"tools[{index}]"
        kind = decode_field(at, bytes(raw), Kind).type
        if kind != "function":
            raise _refusal(f"{at}.type", f"the tool `{kind[:100]}` runs at OpenAI only; offer functions")
        tool = decode_field(at, bytes(raw), wire.FunctionTool)
        parameters = present(tool.parameters)
        tools.append(
            Tool(
                name=tool.name,
                description=tool.description,
                parameters=None if parameters is None else parameters.copy(),
                strict=tool.strict,
            )
        )
    return tuple(tools)


def _tool_choice(value: msgspec.Raw | None) -> ToolChoice | None:
    if value is None:
        return None
    if bytes(value).startswith(b"{"):
        kind = decode_field("tool_choice", bytes(value), Kind).type
        if kind != "function":
            raise _refusal("tool_choice.type", f"`{kind[:100]}` cannot be translated for this target")
        return ToolChoice(
            mode="tool", name=decode_field("tool_choice", bytes(value), wire.FunctionChoice).name
        )
    mode: Literal["auto", "none", "required"] = decode_field(
        "tool_choice", bytes(value), Literal["auto", "none", "required"]
    )
    return ToolChoice(mode=mode)


def _response_format(fields: Fields, extras: dict[str, msgspec.Raw]) -> ResponseFormat | None:
    text = fields.take("text", wire.TextConfig)
    if text is None:
        return None
    if text.verbosity is not None:
        extras["verbosity"] = msgspec.Raw(msgspec.json.encode(text.verbosity))
    wanted = text.format
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        return ResponseFormat(kind=wanted.type)
    schema = present(wanted.schema)
    if schema is None:
        raise InvalidRequest("text.format.schema: this field is required", param="text.format.schema")
    return ResponseFormat(
        kind="json_schema",
        name=wanted.name,
        description=wanted.description,
        schema=schema.copy(),
        strict=wanted.strict,
    )


def _reasoning(wanted: wire.ReasoningConfig | None) -> Reasoning | None:
    if wanted is None:
        return None
    summary = wanted.summary or wanted.generate_summary
    if wanted.effort is None and summary is None:
        return None
    return Reasoning(enabled=wanted.effort != "none", effort=wanted.effort, summary=summary)


# --- input items --------------------------------------------------------------------------------


def _messages(fields: Fields) -> tuple[Message, ...]:
    turns = _Turns()
    instructions = fields.take("instructions", str)
    if instructions:
        turns.add("system", [TextPart(text=instructions)])
    given: str | list[msgspec.Raw] | None = fields.take("input", str | list[msgspec.Raw])
    if given is None:
        raise InvalidRequest("input: this field is required", param="input")
    if isinstance(given, str):
        turns.add("user", [TextPart(text=given)])
    else:
        for index, raw in enumerate(given):
            _item(bytes(raw), f"input[{index}]", turns)
    messages = turns.whole()
    if not any(message.role != "system" for message in messages):
        raise InvalidRequest("input: at least one item is required", param="input")
    return messages


class _Turns:
    """Collects items into turns: reasoning, text and calls that follow each other are one turn."""

    def __init__(self) -> None:
        self._turns: list[tuple[_Role, list[Part]]] = []
        self._results = False

    def add(self, role: _Role, parts: list[Part]) -> None:
        if role == "assistant" and self._turns and self._turns[-1][0] == "assistant":
            self._turns[-1][1].extend(parts)
        else:
            self._turns.append((role, parts))
        self._results = False

    def add_result(self, result: ToolResultPart) -> None:
        if self._results:
            self._turns[-1][1].append(result)
        else:
            self._turns.append(("user", [result]))
        self._results = True

    def whole(self) -> tuple[Message, ...]:
        return tuple(Message(role=role, parts=tuple(parts)) for role, parts in self._turns)


def _item(data: bytes, at: str, turns: _Turns) -> None:
    kind = decode_field(at, data, Kind).type
    match kind:
        case "" | "message":
            message = decode_field(at, data, wire.Message)
            turns.add(message.role, _content(message.content, at))
        case "function_call":
            call = decode_field(at, data, wire.FunctionCall)
            google = call.extra_content.google if call.extra_content else None
            part = ToolCallPart(
                id=call.call_id,
                name=call.name,
                arguments=call.arguments or "{}",
                signature=google.thought_signature if google else None,
            )
            turns.add("assistant", [part])
        case "function_call_output":
            output = decode_field(at, data, wire.FunctionCallOutput)
            turns.add_result(_result(output, at))
        case "reasoning":
            turns.add("assistant", _reasoning_parts(decode_field(at, data, wire.ReasoningItem)))
        case "item_reference":
            raise _refusal(f"{at}.type", _NO_STATE)
        case _:
            raise _refusal(f"{at}.type", f"`{kind[:100]}` cannot be translated for this target")


def _content(content: str | list[wire.Content], at: str) -> list[Part]:
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    parts: list[Part] = []
    for index, part in enumerate(content):
        where = f"{at}.content[{index}]"
        match part:
            case wire.OutputText():
                parts.append(TextPart(text=part.text))
            case wire.Refusal():
                parts.append(RefusalPart(text=part.refusal))
            case _:
                parts.append(_input_part(part, where))
    return parts


def _input_part(
    part: wire.InputText | wire.InputImage | wire.InputFile, at: str
) -> TextPart | ImagePart | FilePart:
    cache = _cache(part.prompt_cache_breakpoint)
    match part:
        case wire.InputText():
            return TextPart(text=part.text, cache=cache)
        case wire.InputImage():
            if part.image_url is None:
                raise InvalidRequest(f"{at}.image_url: this field is required", param=f"{at}.image_url")
            detail = None if part.detail == "auto" else part.detail
            if not part.image_url.startswith("data:"):
                return ImagePart(url=part.image_url, detail=detail, cache=cache)
            media_type, data = split_data_url(part.image_url, f"{at}.image_url")
            return ImagePart(media_type=media_type, data=data, detail=detail, cache=cache)
        case wire.InputFile():
            return _file(part, at, cache)


def _file(part: wire.InputFile, at: str, cache: CacheHint | None) -> FilePart:
    if sum(source is not None for source in (part.file_data, part.file_id, part.file_url)) != 1:
        raise InvalidRequest(
            f"{at}: exactly one of `file_data`, `file_url` and `file_id` is expected", param=at
        )
    media_type: str | None = None
    data = part.file_data
    if data is not None and data.startswith("data:"):
        media_type, data = split_data_url(data, f"{at}.file_data")
    return FilePart(
        filename=part.filename,
        media_type=media_type,
        url=part.file_url,
        data=data,
        file_id=part.file_id,
        cache=cache,
    )


def _result(output: wire.FunctionCallOutput, at: str) -> ToolResultPart:
    content: tuple[TextPart | ImagePart | FilePart, ...]
    if isinstance(output.output, str):
        content = (TextPart(text=output.output),) if output.output else ()
    else:
        content = tuple(
            _input_part(part, f"{at}.output[{index}]") for index, part in enumerate(output.output)
        )
    return ToolResultPart(call_id=output.call_id, content=content, name=output.name)


def _reasoning_parts(item: wire.ReasoningItem) -> list[Part]:
    text = "\n\n".join(part.text for part in item.content or item.summary or ())
    value = item.encrypted_content
    if value is None:
        return [ReasoningPart(text=text)] if text else []
    if value.startswith(SIGNATURE_MARK):
        return [ReasoningPart(text=text, signature=value.removeprefix(SIGNATURE_MARK))]
    if value.startswith(REDACTED_MARK):
        return [ReasoningPart(redacted=value.removeprefix(REDACTED_MARK))]
    return [ReasoningPart(text=text, redacted=seal("openai", value))]


def _cache(breakpoint_: CacheBreakpoint | None) -> CacheHint | None:
    return None if breakpoint_ is None else CacheHint(ttl=breakpoint_.ttl)
