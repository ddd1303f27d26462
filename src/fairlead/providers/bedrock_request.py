"""A neutral request in Bedrock's Converse API.

Converse is one API over many makers' models. What it has no field for goes
through `additionalModelRequestFields` where the model is known to understand
it (Claude's `top_k` and `thinking`, Nova's `topK`), and is refused by name
where it is not.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

import msgspec

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers import bedrock_wire as wire
from fairlead.providers.anthropic_encode import thinking_of
from fairlead.providers.chat import (
    AudioPart,
    CacheHint,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from fairlead.providers.dialect import Outgoing
from fairlead.providers.opaque import native
from fairlead.providers.raw import NOTHING, object_of
from fairlead.providers.tool_ids import BEDROCK, fit

_CLAUDE: Final = re.compile(r"anthropic\.|claude")
_NOVA: Final = re.compile(r"amazon\.nova")
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')

_IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_AUDIO: Final = frozenset({"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "m4a", "webm", "pcm"})
_TIERS: Final = {
    "auto": None,
    "default": "default",
    "flex": "flex",
    "priority": "priority",
    "reserved": "reserved",
}
_EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})

_NAME_UNFIT: Final = re.compile(r"[^a-zA-Z0-9\-()\[\] ]+")
_SPACES: Final = re.compile(r" {2,}")


def encode(request: ChatRequest, model: str) -> Outgoing:
    """The request for the upstream's `model`: an id, an inference profile or an ARN.

    Raises:
        UnsupportedByTarget: `param` names what Converse, or this model on it, has no place for.
        InvalidRequest: a tool call's arguments are not a JSON object.
    """
    _check(request)
    claude = bool(_CLAUDE.search(model))
    turns = _Turns(caches=claude or bool(_NOVA.search(model)))
    for message in request.messages:
        turns.add(message)
    ignored = [*turns.ignored, *request.advisory]
    if request.user is not None:
        ignored.append("user")
    if request.parallel_tool_calls is False and request.tools:
        # One tool is called once, but for rare exceptions, and LangChain sends the field with one.
        ignored.append("parallel_tool_calls")
    fields, effort = _model_fields(request, model, claude=claude)
    tier = _TIERS[request.service_tier or "auto"]
    body = wire.Request(
        messages=turns.messages(),
        system=turns.system or None,
        inference_config=wire.InferenceConfig(
            max_tokens=request.max_output_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            stop_sequences=request.stop,
        ),
        tool_config=_tool_config(request, turns),
        output_config=_output_config(request, effort),
        service_tier=None if tier is None else wire.ServiceTier(type=tier),
        additional_model_request_fields=msgspec.Raw(msgspec.json.encode(fields)) if fields else NOTHING,
        # Claude tells which sequence stopped it only when asked.
        additional_model_response_field_paths=["/stop_sequence"] if claude and request.stop else None,
    )
    call = "converse-stream" if request.stream else "converse"
    return Outgoing(
        path=f"/model/{quote(model, safe='')}/{call}",
        body=msgspec.json.encode(body),
        ignored=tuple(dict.fromkeys(ignored)),
    )


def unsupported(param: str, why: str) -> UnsupportedByTarget:
    """The refusal of one field."""
    return UnsupportedByTarget(f"{param}: Bedrock's Converse API {why}", param=param)


def _check(request: ChatRequest) -> None:
    if request.n != 1:
        raise unsupported("n", "gives one answer a call")
    if request.logprobs:
        raise unsupported("logprobs", "gives no log probabilities")
    if request.top_logprobs is not None:
        raise unsupported("top_logprobs", "gives no log probabilities")
    if request.seed is not None:
        raise unsupported("seed", "has no seed")
    if request.presence_penalty:
        raise unsupported("presence_penalty", "has no penalties")
    if request.frequency_penalty:
        raise unsupported("frequency_penalty", "has no penalties")
    if request.temperature is not None and request.temperature > 1:
        raise unsupported("temperature", "takes temperatures from 0 to 1")
    if request.parallel_tool_calls is False and len(request.tools) > 1:
        raise unsupported("parallel_tool_calls", "cannot be kept from calling tools in parallel")
    if request.service_tier is not None and request.service_tier not in _TIERS:
        raise unsupported("service_tier", f"has no tier `{request.service_tier[:64]}`")
    if request.response_format is not None and request.response_format.kind == "json_object":
        raise unsupported("response_format", "constrains answers by a JSON Schema only: use `json_schema`")
    for name in request.extras:
        raise unsupported(name, "has no such option")


# --- the conversation ---------------------------------------------------------------------------


class _Turns:
    """Collects turns; neighbours of one role become one, tool results come first."""

    def __init__(self, *, caches: bool) -> None:
        self.ignored: list[str] = []
        self.system: list[wire.Block] = []
        self.uses_tools = False
        """The conversation holds tool calls or results."""
        self._caches = caches
        self._turns: list[tuple[str, list[wire.Block], list[wire.Block]]] = []
        """Role, tool results, everything else."""
        self._names: set[str] = set()

    def add(self, message: Message) -> None:
        if message.name is not None:
            raise unsupported("messages.name", "has no names of participants")
        if message.role == "system" or message.role == "developer":
            for part in message.parts:
                if not isinstance(part, TextPart):
                    raise unsupported("messages", f"takes text only in a {message.role} message")
                if part.text:
                    self.system += [wire.Block(text=part.text), *self._cache_point(part.cache)]
            return
        results: list[wire.Block] = []
        others: list[wire.Block] = []
        for part in message.parts:
            kind = results if isinstance(part, ToolResultPart) else others
            kind += self._blocks(part)
        if not results and not others:
            return
        if self._turns and self._turns[-1][0] == message.role:
            self._turns[-1][1].extend(results)
            self._turns[-1][2].extend(others)
        else:
            self._turns.append((message.role, results, others))

    def messages(self) -> list[wire.Message]:
        return [wire.Message(role=role, content=results + others) for role, results, others in self._turns]

    def cache_point(self, hint: CacheHint | None) -> wire.CachePoint | None:
        """What follows a block that may be cached up to."""
        if hint is None:
            return None
        if not self._caches:
            self.ignored.append("cache_control")
            return None
        return wire.CachePoint(type="default", ttl=hint.ttl)

    def _cache_point(self, hint: CacheHint | None) -> list[wire.Block]:
        point = self.cache_point(hint)
        return [] if point is None else [wire.Block(cache_point=point)]

    def _blocks(self, part: Part) -> list[wire.Block]:
        match part:
            case TextPart():
                return [wire.Block(text=part.text), *self._cache_point(part.cache)] if part.text else []
            case RefusalPart():
                return [wire.Block(text=part.text)] if part.text else []
            case ImagePart():
                return [wire.Block(image=self._image(part)), *self._cache_point(part.cache)]
            case FilePart():
                return [wire.Block(document=self._document(part)), *self._cache_point(part.cache)]
            case AudioPart():
                if part.format not in _AUDIO:
                    raise unsupported("messages", f"takes no audio of the format `{part.format[:32]}`")
                source = wire.Source(bytes=part.data)
                return [wire.Block(audio=wire.Audio(format=part.format, source=source))]
            case ToolCallPart():
                return [wire.Block(tool_use=self._tool_use(part)), *self._cache_point(part.cache)]
            case ToolResultPart():
                return [wire.Block(tool_result=self._tool_result(part)), *self._cache_point(part.cache)]
            case ReasoningPart():
                return self._reasoning(part)

    def _image(self, part: ImagePart) -> wire.Image:
        if part.detail not in (None, "auto"):
            self.ignored.append("image_url.detail")
        if part.url is not None:
            kind = "image/" + part.url.rpartition(".")[2].lower()
            source = _s3(part.url)
        else:
            kind = part.media_type or ""
            source = wire.Source(bytes=part.data)
        image_format = _IMAGES.get(part.media_type or kind)
        if image_format is None:
            raise unsupported("messages", f"takes no images of the type `{kind[:64]}`")
        return wire.Image(format=image_format, source=source)

    def _document(self, part: FilePart) -> wire.Document:
        name = self._document_name(part.filename)
        if part.text is not None:
            return wire.Document(format="txt", name=name, source=wire.Source(text=part.text))
        if part.file_id is not None:
            raise unsupported("messages", f"does not know the file `{part.file_id[:64]}`")
        kind = part.media_type or "application/pdf"
        document_format = _DOCUMENTS.get(kind)
        if document_format is None:
            raise unsupported("messages", f"takes no documents of the type `{kind[:64]}`")
        source = wire.Source(bytes=part.data) if part.url is None else _s3(part.url)
        return wire.Document(format=document_format, name=name, source=source)

    def _document_name(self, filename: str | None) -> str:
        """A name of allowed characters that no other document of the request has."""
        stem = _SPACES.sub(" ", _NAME_UNFIT.sub(" ", (filename or "document")[:150])).strip() or "document"
        name, number = stem, 1
        while name in self._names:
            number += 1
            name = f"{stem} ({number})"
        self._names.add(name)
        return name

    def _tool_use(self, part: ToolCallPart) -> wire.ToolUse:
        self.uses_tools = True
        if part.signature is not None:
            self.ignored.append("messages.tool_calls.signature")
        arguments = object_of(part.arguments)
        if arguments is None:
            raise InvalidRequest(
                f"messages: the arguments of the tool call `{part.id[:64]}` are not a JSON object",
                param="messages",
            )
        return wire.ToolUse(tool_use_id=fit(part.id, BEDROCK), name=part.name, input=arguments)

    def _tool_result(self, part: ToolResultPart) -> wire.ToolResult:
        self.uses_tools = True
        content: list[wire.ToolResultContent] = []
        for inner in part.content:
            match inner:
                case TextPart(text=text):
                    content.append(wire.ToolResultContent(text=text))
                case ImagePart():
                    content.append(wire.ToolResultContent(image=self._image(inner)))
                case FilePart():
                    content.append(wire.ToolResultContent(document=self._document(inner)))
        return wire.ToolResult(
            tool_use_id=fit(part.call_id, BEDROCK),
            content=content or [wire.ToolResultContent(text="")],
            status="error" if part.is_error else None,
        )

    def _reasoning(self, part: ReasoningPart) -> list[wire.Block]:
        """Signatures are Claude's, and the same here as at Anthropic; other reasoning cannot go back."""
        redacted, signature = native(part.redacted), native(part.signature)
        if redacted:
            return [wire.Block(reasoning_content=wire.ReasoningContent(redacted_content=redacted))]
        if signature:
            text = wire.ReasoningText(text=part.text, signature=signature)
            return [wire.Block(reasoning_content=wire.ReasoningContent(reasoning_text=text))]
        self.ignored.append("messages.reasoning")
        return []


def _s3(url: str) -> wire.Source:
    if not url.startswith("s3://"):
        raise unsupported("messages", "fetches files from S3 only (s3://): send base64")
    return wire.Source(s3_location=wire.S3Location(uri=url))


# --- tools, output, model fields ----------------------------------------------------------------


def _tool_config(request: ChatRequest, turns: _Turns) -> wire.ToolConfig | None:
    if not request.tools:
        return None
    choice = request.tool_choice
    wanted: dict[str, dict[str, str]] | None = None
    if choice is not None:
        match choice.mode:
            case "auto":
                wanted = {"auto": {}}
            case "required":
                wanted = {"any": {}}
            case "tool":
                wanted = {"tool": {"name": choice.name or ""}}
            case "none":
                # There is no such choice; leaving the tools out says the same, unless the
                # conversation has calls in it, which Converse takes only with tools.
                if turns.uses_tools:
                    raise unsupported("tool_choice", "cannot forbid tools in a conversation that used them")
                return None
    tools: list[wire.Tool] = []
    for tool in request.tools:
        spec = wire.ToolSpec(
            name=tool.name,
            description=tool.description or None,
            input_schema=wire.InputSchema(json=tool.parameters or _NO_PARAMETERS),
            strict=tool.strict,
        )
        tools.append(wire.Tool(tool_spec=spec))
        point = turns.cache_point(tool.cache)
        if point is not None:
            tools.append(wire.Tool(cache_point=point))
    return wire.ToolConfig(tools=tools, tool_choice=wanted)


def _output_config(request: ChatRequest, effort: str | None) -> wire.OutputConfig | None:
    text_format: wire.TextFormat | None = None
    wanted = request.response_format
    if wanted is not None and wanted.kind == "json_schema":
        if wanted.schema is None:
            raise InvalidRequest("response_format: a schema is required", param="response_format")
        schema = wire.JsonSchema(
            schema=bytes(wanted.schema).decode(), name=wanted.name, description=wanted.description
        )
        text_format = wire.TextFormat(type="json_schema", structure=wire.OutputStructure(json_schema=schema))
    if text_format is None and effort is None:
        return None
    return wire.OutputConfig(text_format=text_format, effort=effort)


def _model_fields(request: ChatRequest, model: str, *, claude: bool) -> tuple[dict[str, object], str | None]:
    """`additionalModelRequestFields`, and the effort for `outputConfig`."""
    fields: dict[str, object] = {}
    if request.top_k is not None:
        if claude:
            fields["top_k"] = request.top_k
        elif _NOVA.search(model):
            fields["inferenceConfig"] = {"topK": request.top_k}
        else:
            raise unsupported("top_k", "has no field for it with this model")
    reasoning = request.reasoning
    if reasoning is None:
        return fields, None
    if claude:
        thinking, effort = thinking_of(reasoning, model, request.max_output_tokens)
        if thinking is not None:
            fields["thinking"] = thinking
        return fields, effort
    if reasoning.budget_tokens is not None or reasoning.adaptive or not reasoning.enabled:
        raise unsupported("reasoning", "takes a named effort only with this model")
    if reasoning.effort is not None and reasoning.effort not in _EFFORTS:
        raise unsupported("reasoning_effort", f"has no effort `{reasoning.effort[:32]}`")
    return fields, reasoning.effort
