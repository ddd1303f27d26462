"""A `/v1/messages` body as a neutral request.

Everything valid in Anthropic's API is either understood here or refused by
name, with `param` in Anthropic's own notation (`messages.0.content.1.type`).
Only translated calls come here: a call to an Anthropic upstream keeps its
bytes, so whatever is refused below still works there.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers import anthropic_wire as wire
from fairlead.providers.chat import (
    CacheHint,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from fairlead.providers.raw import present, text_of

_T = TypeVar("_T")

_request_decoder: Final = msgspec.json.Decoder(wire.Request)
_fields_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_kind_decoder: Final = msgspec.json.Decoder(wire.Kind)
_tool_decoder: Final = msgspec.json.Decoder(wire.Tool)
_text_decoder: Final = msgspec.json.Decoder(str)
_block_decoders: Final[dict[str, msgspec.json.Decoder[wire.Block]]] = {
    name: msgspec.json.Decoder(block) for name, block in wire.BLOCKS.items()
}

_KNOWN: Final = frozenset(field.name for field in msgspec.structs.fields(wire.Request))
_ADVISORY: Final = frozenset({"cache_control", "diagnostics", "speed"})
"""Fields that change cost or speed and never what is answered."""

_MODES: Final = {"auto": "auto", "any": "required", "tool": "tool", "none": "none"}
_TIERS: Final = {"auto": "auto", "standard_only": "default"}
"""Anthropic's service tiers in the neutral (OpenAI's) words."""

_PATH: Final = re.compile(r" - at `\$\.?(.*)`$")
_INDEX: Final = re.compile(r"\[(\d+|\.\.\.)\]")


def parse(body: bytes, *, counting: bool = False) -> ChatRequest:
    """The neutral request; `counting` takes a body of `/v1/messages/count_tokens`, without `max_tokens`.

    Raises:
        InvalidRequest: the body is not a valid request; `param` names the field.
        UnsupportedByTarget: it uses a part of Anthropic's API that no other dialect has.
    """
    if not body.isascii():
        # Values that stay raw are not checked by the decoder.
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"the request body is not UTF-8 (byte {error.start})") from error
    request = _decode(_request_decoder, body, "")
    if request.max_tokens is None and not counting:
        raise InvalidRequest("max_tokens: field required", param="max_tokens")
    fields = _decode(_fields_decoder, body, "")
    messages = [*_system(request.system), *_messages(request.messages)]
    extras, advisory = _others(fields)
    user = _user(request.metadata, advisory)
    choice, parallel = _tool_choice(request.tool_choice)
    reasoning = _reasoning(request, fields, extras)
    return ChatRequest(
        model=request.model,
        messages=tuple(messages),
        stream=bool(request.stream),
        include_usage=True,
        tools=_tools(request.tools),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(request),
        reasoning=reasoning,
        max_output_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop=tuple(request.stop_sequences or ()),
        user=user,
        service_tier=_TIERS.get(request.service_tier or "", request.service_tier),
        extras=extras,
        advisory=advisory,
    )


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes | msgspec.Raw, at: str) -> _T:
    """Decode, with errors that name the field under `at`."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _PATH.search(text)
        inner = _INDEX.sub(r".\1", found[1]) if found else ""
        param = ".".join(part for part in (at, inner.strip(".")) if part) or None
        what = text[: found.start()] if found else text
        raise InvalidRequest(f"{param}: {what}" if param else what, param=param) from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the request body is not valid JSON: {error}", param=at or None) from error
    except RecursionError as error:
        raise InvalidRequest("the request body is nested too deeply", param=at or None) from error


def _refuse(param: str, what: str) -> UnsupportedByTarget:
    return UnsupportedByTarget(f"{param}: {what} works with Anthropic upstreams only", param=param)


# --- messages -----------------------------------------------------------------------------------


def _system(system: str | list[msgspec.Raw] | None) -> list[Message]:
    if system is None or system == "" or system == []:
        return []
    return [Message(role="system", parts=_parts(system, "system", "system"))]


def _messages(messages: list[wire.Message]) -> list[Message]:
    return [
        Message(role=message.role, parts=_parts(message.content, f"messages.{i}.content", message.role))
        for i, message in enumerate(messages)
    ]


_ALLOWED: Final = {
    "system": frozenset({"text"}),
    "user": frozenset({"text", "image", "document", "tool_result"}),
    "assistant": frozenset({"text", "tool_use", "thinking", "redacted_thinking"}),
    "tool_result": frozenset({"text", "image", "document"}),
}


def _parts(content: str | list[msgspec.Raw], at: str, role: str) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (TextPart(text=content),)
    return tuple(_part(raw, f"{at}.{i}", role) for i, raw in enumerate(content))


def _part(raw: msgspec.Raw, at: str, role: str) -> Part:
    kind = _decode(_kind_decoder, raw, at).type
    decoder = _block_decoders.get(kind)
    if decoder is None:
        raise _refuse(f"{at}.type", f"a `{kind[:64]}` block")
    if kind not in _ALLOWED[role]:
        raise InvalidRequest(
            f"{at}.type: a `{kind}` block has no place in {role} content", param=f"{at}.type"
        )
    block = _decode(decoder, raw, at)
    match block:
        case wire.TextBlock():
            if present(block.citations) is not None and bytes(block.citations) != b"[]":
                raise _refuse(f"{at}.citations", "quoting an answer's citations")
            return TextPart(text=block.text, cache=_cache(block.cache_control))
        case wire.ImageBlock():
            return _image(block, at)
        case wire.DocumentBlock():
            return _document(block, at)
        case wire.ToolUseBlock():
            return _tool_use(block, at)
        case wire.ToolResultBlock():
            return _tool_result(block, at)
        case wire.ThinkingBlock():
            return ReasoningPart(text=block.thinking, signature=block.signature or None)
        case wire.RedactedThinkingBlock():
            return ReasoningPart(redacted=block.data)


def _cache(control: wire.CacheControl | None) -> CacheHint | None:
    return None if control is None else CacheHint(ttl=control.ttl)


def _image(block: wire.ImageBlock, at: str) -> ImagePart:
    if present(block.transformations) is not None:
        raise _refuse(f"{at}.transformations", "an image transformation")
    cache = _cache(block.cache_control)
    match block.source:
        case wire.Base64Source(media_type=media_type, data=data):
            return ImagePart(media_type=media_type, data=data, cache=cache)
        case wire.UrlSource(url=url):
            return ImagePart(url=url, cache=cache)
        case wire.FileSource():
            raise _refuse(f"{at}.source.file_id", "an image by file id")


def _document(block: wire.DocumentBlock, at: str) -> FilePart:
    if block.citations is not None and block.citations.enabled:
        raise _refuse(f"{at}.citations", "asking for citations")
    if block.context:
        raise _refuse(f"{at}.context", "a document's context")
    cache = _cache(block.cache_control)
    match block.source:
        case wire.Base64Source(media_type=media_type, data=data):
            return FilePart(filename=block.title, media_type=media_type, data=data, cache=cache)
        case wire.UrlSource(url=url):
            return FilePart(filename=block.title, media_type="application/pdf", url=url, cache=cache)
        case wire.TextSource(media_type=media_type, data=text):
            return FilePart(filename=block.title, media_type=media_type, text=text, cache=cache)
        case wire.FileSource(file_id=file_id):
            return FilePart(filename=block.title, file_id=file_id, cache=cache)
        case wire.ContentSource():
            raise _refuse(f"{at}.source.type", "a document made of content blocks")


def _tool_use(block: wire.ToolUseBlock, at: str) -> ToolCallPart:
    if block.caller is not None and block.caller.type != "direct":
        raise _refuse(f"{at}.caller", "a tool called by a server tool")
    if block.toolset_name is not None:
        raise _refuse(f"{at}.toolset_name", "a toolset")
    arguments = text_of(block.input)
    if not arguments.lstrip().startswith("{"):
        raise InvalidRequest(f"{at}.input: expected an object", param=f"{at}.input")
    return ToolCallPart(id=block.id, name=block.name, arguments=arguments, cache=_cache(block.cache_control))


def _tool_result(block: wire.ToolResultBlock, at: str) -> ToolResultPart:
    if block.toolset_name is not None:
        raise _refuse(f"{at}.toolset_name", "a toolset")
    content: list[TextPart | ImagePart | FilePart] = []
    # A result may be empty, where a message may not.
    for part in _parts(block.content or [], f"{at}.content", "tool_result"):
        assert isinstance(part, TextPart | ImagePart | FilePart), "_ALLOWED admits no other block"
        content.append(part)
    return ToolResultPart(
        call_id=block.tool_use_id,
        content=tuple(content),
        is_error=bool(block.is_error),
        cache=_cache(block.cache_control),
    )


# --- tools --------------------------------------------------------------------------------------


def _tools(tools: list[msgspec.Raw] | None) -> tuple[Tool, ...]:
    return tuple(_tool(raw, f"tools.{i}") for i, raw in enumerate(tools or ()))


def _tool(raw: msgspec.Raw, at: str) -> Tool:
    fields = _decode(_fields_decoder, raw, at)
    if "type" in fields and present(fields["type"]) is not None:
        kind = _decode(_text_decoder, fields["type"], f"{at}.type")
        if kind != "custom":
            raise _refuse(f"{at}.type", f"the tool `{kind[:64]}`, which Anthropic defines,")
    tool = _decode(_tool_decoder, raw, at)
    if tool.defer_loading:
        raise _refuse(f"{at}.defer_loading", "deferred loading")
    if tool.allowed_callers not in (None, ["direct"]):
        raise _refuse(f"{at}.allowed_callers", "a tool called by a server tool")
    if present(tool.input_examples) is not None:
        raise _refuse(f"{at}.input_examples", "a tool's input examples")
    if present(tool.input_schema) is None:
        raise InvalidRequest(f"{at}.input_schema: field required", param=f"{at}.input_schema")
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=tool.input_schema,
        strict=tool.strict,
        cache=_cache(tool.cache_control),
    )


def _tool_choice(choice: wire.ToolChoice | None) -> tuple[ToolChoice | None, bool | None]:
    if choice is None:
        return None, None
    if choice.type == "tool" and not choice.name:
        raise InvalidRequest("tool_choice.name: field required", param="tool_choice.name")
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    mode: Any = _MODES[choice.type]
    return ToolChoice(mode=mode, name=choice.name if choice.type == "tool" else None), parallel


# --- the rest -----------------------------------------------------------------------------------


def _others(
    fields: dict[str, msgspec.Raw],
) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    extras: dict[str, msgspec.Raw] = {}
    advisory: dict[str, msgspec.Raw] = {}
    for name, value in fields.items():
        if name in _KNOWN or present(value) is None or bytes(value) in (b"[]", b"{}"):
            continue
        (advisory if name in _ADVISORY else extras)[name] = value
    return extras, advisory


def _user(metadata: dict[str, msgspec.Raw] | None, advisory: dict[str, msgspec.Raw]) -> str | None:
    user: str | None = None
    for name, value in (metadata or {}).items():
        if name == "user_id":
            user = _decode(_text_decoder, value, "metadata.user_id") if present(value) is not None else None
        else:
            advisory[f"metadata.{name}"] = value
    return user


def _response_format(request: wire.Request) -> ResponseFormat | None:
    chosen = request.output_config.format if request.output_config else None
    # `output_format` is the beta's name for the same thing.
    chosen = chosen or request.output_format
    if chosen is None:
        return None
    return ResponseFormat(kind="json_schema", schema=chosen.schema, strict=True)


def _reasoning(
    request: wire.Request, fields: dict[str, msgspec.Raw], extras: dict[str, msgspec.Raw]
) -> Reasoning | None:
    effort = request.output_config.effort if request.output_config else None
    thinking = request.thinking
    if thinking is None:
        return None if effort is None else Reasoning(effort=effort)
    summary = "auto" if thinking.display == "summarized" else None
    match thinking.type:
        case "enabled":
            return Reasoning(effort=effort, budget_tokens=thinking.budget_tokens, summary=summary)
        case "adaptive":
            return Reasoning(effort=effort, adaptive=True, summary=summary)
        case "disabled":
            return Reasoning(enabled=False, effort=effort)
        case _:
            extras["thinking"] = fields["thinking"]
            return None if effort is None else Reasoning(effort=effort)
