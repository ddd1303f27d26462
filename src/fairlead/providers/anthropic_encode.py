"""A neutral request in Anthropic's Messages API.

The conversation is brought into the order that the API wants, as Anthropic's
own OpenAI compatibility layer does it: system and developer messages, wherever
they stand, are joined into `system`; neighbours of one role become one turn;
tool results come first in theirs; empty texts go. An assistant's last turn
stays, as a prefill. What the API has no place for is refused by name.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, Literal

import msgspec

from fairlead.errors import InvalidRequest, UnsupportedByTarget
from fairlead.providers import anthropic_wire as wire
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
    TextPart,
    Tool,
    ToolCallPart,
    ToolResultPart,
)
from fairlead.providers.dialect import Outgoing
from fairlead.providers.opaque import native
from fairlead.providers.raw import object_of, or_nothing
from fairlead.providers.tool_ids import ANTHROPIC, fit

_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')

_MAX_TOKENS: Final = (
    (re.compile(r"claude-3-(opus|sonnet|haiku)"), 4096),
    (re.compile(r"claude-3-5-"), 8192),
    (re.compile(r"claude-"), 32_000),
)
_MAX_TOKENS_OTHERWISE: Final = 8192
"""`max_tokens` is required, and a client of another dialect may leave it out. The default is the largest
value that every model of the family takes (Opus 4's limit is 32,000), so that answers are not cut short;
models of other makers behind this API get 8192."""

_BUDGETS: Final = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 28_672,
    "max": 30_720,
}
"""Thinking budgets for a named effort, for models that know budgets only."""
_BUDGET_MODELS: Final = re.compile(
    r"claude-(3|(opus|sonnet|haiku)-4(-[015](?!\d)|-20\d{6}|@|:|$)|2|instant)|claude-4-(opus|sonnet)"
)
"""Models before Claude 4.6, which know neither adaptive thinking nor (mostly) effort."""
_EFFORTS: Final = {"minimal": "low"}
_MIN_BUDGET: Final = 1024

_CARRIED_EXTRAS: Final = frozenset({"cache_control", "inference_geo", "speed", "thinking"})
"""Fields of Anthropic's that clients of other dialects send as extra fields; they do not change the
shape of the answer."""
_TIERS: Final = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}

_PDF: Final = "application/pdf"

Role = Literal["user", "assistant"]


def encode(request: ChatRequest, model: str, default_max_tokens: int | None = None) -> Outgoing:
    """The request for the upstream's `model`.

    Args:
        request: what the client asked for.
        model: the upstream's own model name.
        default_max_tokens: `max_tokens` when the client set none; by model family when None.

    Raises:
        UnsupportedByTarget: `param` names what Anthropic has no place for.
        InvalidRequest: a tool call's arguments are not a JSON object.
    """
    _check(request)
    conversation = _Conversation()
    for message in request.messages:
        conversation.add(message)
    ignored = conversation.ignored
    max_tokens = request.max_output_tokens
    if max_tokens is None:
        max_tokens = default_max_tokens or max_tokens_for(model)
    thinking, effort = thinking_of(request.reasoning, model, max_tokens)
    body = wire.OutRequest(
        model=model,
        max_tokens=max_tokens,
        messages=conversation.turns(),
        system=conversation.system(),
        stream=request.stream,
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop_sequences=request.stop,
        tools=[_tool(tool) for tool in request.tools] or None,
        tool_choice=_tool_choice(request),
        thinking=thinking,
        output_config=_output_config(request, effort, ignored),
        metadata=None if request.user is None else {"user_id": request.user},
        service_tier=None if request.service_tier is None else _TIERS[request.service_tier],
    )
    data = msgspec.json.encode(body)
    extras = dict(request.extras)
    for name, value in request.advisory.items():
        if name in _CARRIED_EXTRAS:
            extras[name] = value
        else:
            ignored.append(name)
    if extras:
        data = data[:-1] + b"," + msgspec.json.encode(extras)[1:]
    headers = (wire.FILES_BETA,) if conversation.names_files else ()
    return Outgoing(path="/messages", body=data, headers=headers, ignored=tuple(dict.fromkeys(ignored)))


def max_tokens_for(model: str) -> int:
    """The default of `max_tokens` for a model."""
    for pattern, limit in _MAX_TOKENS:
        if pattern.search(model):
            return limit
    return _MAX_TOKENS_OTHERWISE


def unsupported(param: str, why: str, target: str = "Anthropic") -> UnsupportedByTarget:
    """The refusal of one field."""
    return UnsupportedByTarget(f"{param}: {target} {why}", param=param)


def _check(request: ChatRequest) -> None:
    """Refuse, by name, what has no place at all."""
    if request.n != 1:
        raise unsupported("n", "gives one answer a call")
    if request.logprobs:
        raise unsupported("logprobs", "gives no log probabilities")
    if request.top_logprobs is not None:
        raise unsupported("top_logprobs", "gives no log probabilities")
    if request.seed is not None:
        raise unsupported("seed", "has no seed")
    # A penalty of zero is what everybody means by none.
    if request.presence_penalty:
        raise unsupported("presence_penalty", "has no penalties")
    if request.frequency_penalty:
        raise unsupported("frequency_penalty", "has no penalties")
    if request.temperature is not None and request.temperature > 1:
        raise unsupported("temperature", "takes temperatures from 0 to 1")
    if request.service_tier is not None and request.service_tier not in _TIERS:
        raise unsupported("service_tier", f"has no tier `{request.service_tier[:64]}`")
    if request.response_format is not None and request.response_format.kind == "json_object":
        raise unsupported("response_format", "constrains answers by a JSON Schema only: use `json_schema`")
    for name in request.extras:
        if name not in _CARRIED_EXTRAS:
            raise unsupported(name, "has no such option")


# --- the conversation ---------------------------------------------------------------------------


class _Conversation:
    """Collects turns in the order that the API wants."""

    def __init__(self) -> None:
        self.ignored: list[str] = []
        self.names_files = False
        self._system: list[wire.TextBlock] = []
        self._turns: list[tuple[Role, list[wire.Block]]] = []

    def add(self, message: Message) -> None:
        if message.name is not None:
            raise unsupported("messages.name", "has no names of participants")
        if message.role == "system" or message.role == "developer":
            self._add_system(message)
            return
        blocks = [block for part in message.parts if (block := self._block(part)) is not None]
        if not blocks:
            return
        if self._turns and self._turns[-1][0] == message.role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((message.role, blocks))

    def system(self) -> str | list[wire.TextBlock] | None:
        if not self._system:
            return None
        if any(block.cache_control is not None for block in self._system):
            return self._system
        return "\n".join(block.text for block in self._system)

    def turns(self) -> list[wire.OutMessage]:
        # Sorting is stable: results first, everything else in its order.
        return [
            wire.OutMessage(
                role=role,
                content=sorted(blocks, key=lambda block: not isinstance(block, wire.ToolResultBlock)),
            )
            for role, blocks in self._turns
        ]

    def _add_system(self, message: Message) -> None:
        for part in message.parts:
            if not isinstance(part, TextPart):
                raise unsupported("messages", f"takes text only in a {message.role} message")
            if part.text:
                self._system.append(wire.TextBlock(text=part.text, cache_control=_cache(part.cache)))

    def _block(self, part: Part) -> wire.Block | None:
        match part:
            case TextPart():
                if not part.text:
                    return None
                return wire.TextBlock(text=part.text, cache_control=_cache(part.cache))
            case RefusalPart():
                return wire.TextBlock(text=part.text) if part.text else None
            case ImagePart():
                return self._image(part)
            case FilePart():
                return self._document(part)
            case AudioPart():
                raise unsupported("messages", "takes no audio input")
            case ToolCallPart():
                return self._tool_use(part)
            case ToolResultPart():
                return self._tool_result(part)
            case ReasoningPart():
                return self._thinking(part)

    def _image(self, part: ImagePart) -> wire.ImageBlock:
        if part.detail not in (None, "auto"):
            self.ignored.append("image_url.detail")
        source: wire.Base64Source | wire.UrlSource
        if part.url is not None:
            source = wire.UrlSource(url=part.url)
        else:
            source = wire.Base64Source(media_type=part.media_type or "", data=part.data or "")
        return wire.ImageBlock(source=source, cache_control=_cache(part.cache))

    def _document(self, part: FilePart) -> wire.DocumentBlock:
        return wire.DocumentBlock(
            source=self._source(part), title=part.filename, cache_control=_cache(part.cache)
        )

    def _source(
        self, part: FilePart
    ) -> wire.Base64Source | wire.UrlSource | wire.TextSource | wire.FileSource:
        if part.text is not None:
            return wire.TextSource(data=part.text)
        if part.url is not None:
            return wire.UrlSource(url=part.url)
        if part.file_id is not None:
            # Anthropic's ids are `file_...`, OpenAI's `file-...`: a file lives at one provider only.
            if not part.file_id.startswith("file_"):
                raise unsupported("messages", f"does not know the file `{part.file_id[:64]}`")
            self.names_files = True
            return wire.FileSource(file_id=part.file_id)
        data = part.data or ""
        if part.media_type in (None, _PDF):
            return wire.Base64Source(media_type=_PDF, data=data)
        if part.media_type == "text/plain":
            return wire.TextSource(data=decoded_text(data))
        raise unsupported("messages", f"takes PDF and plain text documents, not `{part.media_type}`")

    def _tool_use(self, part: ToolCallPart) -> wire.ToolUseBlock:
        if part.signature is not None:
            self.ignored.append("messages.tool_calls.signature")
        arguments = object_of(part.arguments)
        if arguments is None:
            raise InvalidRequest(
                f"messages: the arguments of the tool call `{part.id[:64]}` are not a JSON object",
                param="messages",
            )
        return wire.ToolUseBlock(
            id=fit(part.id, ANTHROPIC), name=part.name, input=arguments, cache_control=_cache(part.cache)
        )

    def _tool_result(self, part: ToolResultPart) -> wire.ToolResultBlock:
        content = [block for inner in part.content if (block := self._block(inner)) is not None]
        plain: str | list[msgspec.Raw]
        if len(content) == 1 and isinstance(content[0], wire.TextBlock) and not content[0].cache_control:
            plain = content[0].text
        else:
            plain = [msgspec.Raw(msgspec.json.encode(block)) for block in content] or ""
        return wire.ToolResultBlock(
            tool_use_id=fit(part.call_id, ANTHROPIC),
            content=plain,
            is_error=True if part.is_error else None,
            cache_control=_cache(part.cache),
        )

    def _thinking(self, part: ReasoningPart) -> wire.Block | None:
        """Reasoning goes back with Anthropic's own signature only: the API refuses any other."""
        redacted, signature = native(part.redacted), native(part.signature)
        if redacted:
            return wire.RedactedThinkingBlock(data=redacted)
        if signature:
            return wire.ThinkingBlock(thinking=part.text, signature=signature)
        self.ignored.append("messages.reasoning")
        return None


def _cache(hint: CacheHint | None) -> wire.CacheControl | None:
    return None if hint is None else wire.CacheControl(ttl=hint.ttl)


def decoded_text(data: str) -> str:
    """Base64 of UTF-8 text as text.

    Raises:
        InvalidRequest: it is not.
    """
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("messages: a text file is not base64 of UTF-8", param="messages") from error


# --- tools, output, thinking --------------------------------------------------------------------


def _tool(tool: Tool) -> wire.Tool:
    return wire.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=or_nothing(tool.parameters or _NO_PARAMETERS),
        strict=tool.strict,
        cache_control=_cache(tool.cache),
    )


_CHOICES: Final[dict[str, Literal["auto", "any", "tool", "none"]]] = {
    "auto": "auto",
    "required": "any",
    "tool": "tool",
    "none": "none",
}


def _tool_choice(request: ChatRequest) -> wire.ToolChoice | None:
    choice = request.tool_choice
    # Parallel calls are the default, so only their absence is worth a field of its own.
    single = True if request.parallel_tool_calls is False and request.tools else None
    if choice is None:
        return None if single is None else wire.ToolChoice(type="auto", disable_parallel_tool_use=single)
    if choice.mode == "none":
        return wire.ToolChoice(type="none") if request.tools else None
    return wire.ToolChoice(type=_CHOICES[choice.mode], name=choice.name, disable_parallel_tool_use=single)


def _output_config(request: ChatRequest, effort: str | None, ignored: list[str]) -> wire.OutputConfig | None:
    chosen: wire.OutputFormat | None = None
    wanted = request.response_format
    if wanted is not None and wanted.kind == "json_schema":
        if wanted.schema is None:
            raise InvalidRequest("response_format: a schema is required", param="response_format")
        if wanted.description is not None:
            ignored.append("response_format.json_schema.description")
        chosen = wire.OutputFormat(type="json_schema", schema=wanted.schema)
    if chosen is None and effort is None:
        return None
    return wire.OutputConfig(format=chosen, effort=effort)


def thinking_of(
    reasoning: Reasoning | None, model: str, max_tokens: int | None
) -> tuple[wire.Thinking | None, str | None]:
    """The `thinking` block and the `effort` for a model (also of Claude on Bedrock).

    Models from Claude 4.6 on think adaptively under an effort; earlier ones
    take a budget, which is derived from a named effort and kept under `max_tokens`.

    Raises:
        UnsupportedByTarget: `max_tokens` leaves no room for the least budget.
    """
    if reasoning is None:
        return None, None
    effort = _EFFORTS.get(reasoning.effort or "", reasoning.effort)
    if not reasoning.enabled or effort == "none":
        return wire.Thinking(type="disabled"), None if effort == "none" else effort
    display = None if reasoning.summary is None else "summarized"
    if reasoning.budget_tokens is not None:
        budget = reasoning.budget_tokens
        return wire.Thinking(type="enabled", budget_tokens=budget, display=display), effort
    if not _BUDGET_MODELS.search(model):
        return wire.Thinking(type="adaptive", display=display), effort
    budget = _BUDGETS.get(reasoning.effort or "medium", _BUDGETS["medium"])
    if max_tokens is not None:
        budget = min(budget, max_tokens - 1)
    if budget < _MIN_BUDGET:
        if reasoning.adaptive:
            return None, None  # the model was left free not to think
        raise unsupported(
            "reasoning_effort", f"needs more than {_MIN_BUDGET} output tokens for thinking with this model"
        )
    return wire.Thinking(type="enabled", budget_tokens=budget, display=display), None
