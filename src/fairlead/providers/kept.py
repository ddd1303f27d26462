"""Answers as they are kept: whole, in the client's own dialect, whichever way they came and go.

`whole_of_stream` makes the body that a client would have got without `stream`
out of the bytes of its stream; `stream_of_whole` the other way round; `glance`
says what decides whether a body may be kept. An answer that holds what would
be lost on the way (a field that the neutral model has no place for, with
something in it) is not made: then None says that the model must be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import anthropic_answer, openai_responses_replay
from fairlead.providers.anthropic_render import AnthropicStreamEncoder
from fairlead.providers.anthropic_stream import AnthropicStreamDecoder
from fairlead.providers.chat import Answer, ChatRequest, ToolCallPart
from fairlead.providers.dialect import StreamDecoder, StreamEncoder
from fairlead.providers.fold import fold, unfold
from fairlead.providers.openai_chat_answer import decode_answer, render_answer
from fairlead.providers.openai_chat_decode import ChatDecoder
from fairlead.providers.openai_chat_render import ChatEncoder
from fairlead.providers.openai_completions import CompletionsClient, CompletionsEncoder
from fairlead.providers.openai_sse import DONE, EventBuffer, data_of, events
from fairlead.providers.raw import NOTHING
from fairlead.types import Usage

Json = dict[str, Any]

STREAMED: Final = frozenset({"chat", "completions", "messages", "responses"})
"""APIs whose answers come either way."""

_CHOICES: Final = frozenset({"index", "finish_reason", "logprobs", "usage"})
_OPENAI: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "x_groq"})
_OPENAI_ASIDE: Final = frozenset(
    {
        "system_fingerprint", "service_tier", "obfuscation", "provider", "prompt_filter_results",
        "content_filter_results", "content_filter_offsets", "stop_reason", "matched_stop", "timings",
        "prompt_token_ids", "token_ids", "metadata",
    }
)  # fmt: skip
"""About an answer rather than of it: left out of what is made."""
_DELTA: Final = frozenset(
    {
        "role", "content", "refusal", "reasoning_content", "reasoning", "reasoning_details", "tool_calls",
    }
)  # fmt: skip
_CALL: Final = frozenset({"index", "id", "type", "function", "extra_content"})
_MESSAGE: Final = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"}
)
_BLOCK: Final = frozenset({"type", "text", "thinking", "signature", "data", "id", "name", "input"})
_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})

_object: Final = msgspec.json.Decoder(Json)
_UNREADABLE: Final = (
    msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadUpstreamAnswer, AttributeError, TypeError,
)  # fmt: skip
"""What reading an upstream's JSON can meet; the last two where a value is of another type than its place
says. An answer that a client has already got is not to fail for that."""


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether an answer may be kept."""

    finishes: frozenset[str]
    """Why each choice ended: neutral words, or `completed` of a response."""
    calls_tools: bool


class _UsualDelta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: str | None = None
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class _UsualChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    index: int
    delta: _UsualDelta
    finish_reason: str | None = None
    logprobs: msgspec.Raw = NOTHING


class _UsualChunk(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Most chunks of a chat: nothing in them but what the neutral model holds."""

    id: str
    choices: list[_UsualChoice]
    object: str | None = None
    created: int | None = None
    model: str | None = None
    usage: msgspec.Raw = NOTHING
    system_fingerprint: str | None = None
    service_tier: str | None = None
    obfuscation: str | None = None


class _UsualBlockDelta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["text_delta", "thinking_delta", "signature_delta", "input_json_delta"]
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""


class _UsualBlockEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Likewise of a message."""

    type: Literal["content_block_delta"]
    index: int
    delta: _UsualBlockDelta


class _Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One API's two forms. Each function returns None, or raises BadUpstreamAnswer, where it cannot."""

    decode: Callable[[bytes], Answer]
    render: Callable[[Answer, ChatRequest, str], bytes]
    decoder: Callable[[], StreamDecoder]
    encoder: Callable[[ChatRequest, str], StreamEncoder]
    carries: Callable[[Json], bool]
    """Whether the neutral model holds all of a body."""
    carries_event: Callable[[Json], bool]
    """Likewise for one event of a stream."""
    usual: msgspec.json.Decoder[Any]
    """Accepts events of the usual kind, which need no closer look: a fifth of the time that this takes."""


def glance(api: str, body: bytes) -> Glance | None:
    """What decides whether a whole answer may be kept; None when it cannot be read.

    An API whose answers are computed has `stop`.
    """
    if api not in STREAMED:
        return Glance(finishes=frozenset({"stop"}), calls_tools=False)
    try:
        if api == "responses":
            return _glance_response(_object.decode(body))
        answer = _CODECS[api].decode(body)
    except _UNREADABLE:
        return None
    return Glance(
        finishes=frozenset(choice.finish.value for choice in answer.choices),
        calls_tools=any(isinstance(part, ToolCallPart) for choice in answer.choices for part in choice.parts),
    )


def whole_of_stream(api: str, data: bytes, usage: Usage | None, request_id: str) -> bytes | None:
    """The whole body of a stream that has been relayed; None when it cannot be made without loss.

    Args:
        api: its name, one of `STREAMED`.
        data: all bytes that went to the client, heartbeats included.
        usage: what is known of it, where the client did not ask to see it.
        request_id: ours, for an answer without an id.
    """
    try:
        if api == "responses":
            return openai_responses_replay.whole_of_stream(data)
        codec = _CODECS[api]
        if not _carries_all(codec, data):
            return None
        answer = fold(codec.decoder().feed(data))
        if answer is None:
            return None
        if answer.usage is None or usage is not None:
            answer = msgspec.structs.replace(answer, usage=usage)
        return codec.render(answer, _request(answer), request_id)
    except _UNREADABLE:
        return None


def stream_of_whole(api: str, body: bytes, *, include_usage: bool, request_id: str) -> bytes | None:
    """The stream that brings a whole body, to its end mark; None when it cannot be made without loss.

    Args:
        api: its name, one of `STREAMED`.
        body: as `whole_of_stream` made it, or as it came.
        include_usage: the client asked for usage, where a dialect lets it choose.
        request_id: ours, for an answer without an id.
    """
    try:
        if api == "responses":
            return openai_responses_replay.stream_of_whole(body)
        codec = _CODECS[api]
        if not codec.carries(_object.decode(body)):
            return None
        answer = codec.decode(body)
        request = _request(answer, include_usage=include_usage)
        return codec.encoder(request, request_id).encode(unfold(answer))
    except _UNREADABLE:
        return None


def rewritten(source: str, body: bytes, target: str, request_id: str) -> bytes | None:
    """The whole answer of one API as that of another; None when it cannot be made without loss.

    Args:
        source: the API that `body` is of, one of `STREAMED` but `responses`, as is `target`.
        body: a whole answer.
        target: the API whose client gets it.
        request_id: ours, for an answer without an id.
    """
    codec = _CODECS[source]
    try:
        if not codec.carries(_object.decode(body)):
            return None
        answer = codec.decode(body)
        return _CODECS[target].render(answer, _request(answer), request_id)
    except _UNREADABLE:
        return None


def _request(answer: Answer, *, include_usage: bool = True) -> ChatRequest:
    """As much of a request as rendering looks at."""
    choices = max((choice.index for choice in answer.choices), default=0) + 1
    return ChatRequest(model=answer.model, messages=(), n=choices, include_usage=include_usage)


def _carries_all(codec: _Codec, data: bytes) -> bool:
    """Whether the neutral model holds all of a stream."""
    usual = codec.usual.decode
    for event in events(EventBuffer().feed(data)):
        payload = data_of(event)
        if not payload or payload.strip() == DONE:
            continue
        try:
            usual(payload)
        except msgspec.DecodeError:
            if not codec.carries_event(_object.decode(payload)):
                return False
    return True


def _only(fields: Mapping[str, Any], known: frozenset[str], aside: frozenset[str] = frozenset()) -> bool:
    """Whether nothing but the known has something in it."""
    return all(name in known or name in aside or value in _NOTHING for name, value in fields.items())


def _openai(body: Json) -> bool:
    """A chat or text completion, whole or one chunk of it."""
    choices = body.get("choices") or []
    return _only(body, _OPENAI, _OPENAI_ASIDE) and all(
        isinstance(choice, dict) and _openai_choice(choice) for choice in choices
    )


def _openai_choice(choice: Json) -> bool:
    said = choice.get("delta") or choice.get("message") or {}
    calls = said.get("tool_calls") or []
    # What a text completion says of its tokens has another shape than a chat's, and no neutral one.
    texts = frozenset({"delta", "message"}) if "text" not in choice else frozenset({"text"})
    return (
        _only(choice, _CHOICES | texts, _OPENAI_ASIDE)
        and ("text" not in choice or choice.get("logprobs") is None)
        and _only(said, _DELTA, _OPENAI_ASIDE)
        and all(_only(call, _CALL) for call in calls)
    )


def _anthropic(body: Json) -> bool:
    return _only(body, _MESSAGE) and all(_only(block, _BLOCK) for block in body.get("content") or [])


def _anthropic_event(event: Json) -> bool:
    match event.get("type"):
        case "message_start":
            return _anthropic(event.get("message") or {})
        case "content_block_start":
            return _only(event.get("content_block") or {}, _BLOCK)
        case "content_block_delta":
            kinds = ("text_delta", "thinking_delta", "signature_delta", "input_json_delta")
            return (event.get("delta") or {}).get("type") in kinds
        case "message_delta":
            return _only(event.get("delta") or {}, _MESSAGE)
        case kind:
            return kind in ("content_block_stop", "message_stop", "ping")


def _glance_response(response: Json) -> Glance | None:
    status, output = response.get("status"), response.get("output")
    if not isinstance(status, str):
        return None
    details = response.get("incomplete_details") or {}
    kinds = (
        {item.get("type") for item in output if isinstance(item, dict)} if isinstance(output, list) else set()
    )
    return Glance(
        finishes=frozenset({status if status == "completed" else str(details.get("reason") or status)}),
        # Every item but a message and a thought is a call, or what came of one.
        calls_tools=not kinds <= {"message", "reasoning"},
    )


_CODECS: Final = {
    "chat": _Codec(
        decode=decode_answer,
        render=lambda answer, request, request_id: render_answer(answer, request.model, request_id),
        decoder=ChatDecoder,
        encoder=ChatEncoder,
        carries=_openai,
        carries_event=_openai,
        usual=msgspec.json.Decoder(_UsualChunk),
    ),
    "completions": _Codec(
        decode=decode_answer,
        render=CompletionsClient().render,
        decoder=ChatDecoder,
        encoder=CompletionsEncoder,
        carries=_openai,
        carries_event=_openai,
        usual=msgspec.json.Decoder(_UsualChunk),
    ),
    "messages": _Codec(
        decode=lambda body: anthropic_answer.decode(body, []),
        render=anthropic_answer.render,
        decoder=AnthropicStreamDecoder,
        encoder=AnthropicStreamEncoder,
        carries=_anthropic,
        carries_event=_anthropic_event,
        usual=msgspec.json.Decoder(_UsualBlockEvent),
    ),
}
