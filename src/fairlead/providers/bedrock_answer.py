"""Converse's answers, whole and streamed, in neutral form.

Input counts leave out cached tokens, as Anthropic's do, and are converted. A
stream ends with a `metadata` event, behind `messageStop`. Its events name
neither an id nor the model: `Begin` carries "" for them, and the client's
encoder puts the request's own in place.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import bedrock_wire as wire
from fairlead.providers.anthropic_answer import date_of
from fairlead.providers.bedrock_errors import failure_of
from fairlead.providers.chat import (
    Answer,
    Begin,
    Choice,
    End,
    Event,
    Finish,
    FinishReason,
    Part,
    ReasoningDelta,
    ReasoningPart,
    StreamError,
    TextDelta,
    TextPart,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.eventstream import EventStreamParser, Message
from fairlead.providers.raw import text_of
from fairlead.providers.tier import tier_of
from fairlead.types import Failure, FailureKind, Headers, Usage

_answer_decoder: Final = msgspec.json.Decoder(wire.Answer)
_payload_decoder: Final = msgspec.json.Decoder(wire.StreamPayload)

_FINISH: Final = {
    "end_turn": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "stop_sequence": FinishReason.STOP_SEQUENCE,
    "guardrail_intervened": FinishReason.CONTENT_FILTER,
    "content_filtered": FinishReason.CONTENT_FILTER,
    "model_context_window_exceeded": FinishReason.LENGTH,
}
_BROKEN: Final = frozenset({"malformed_model_output", "malformed_tool_use"})
"""The model's output was unusable: another try, or another model, may do better."""


def usage_of(usage: wire.Usage | None, tier: wire.ServiceTier | None) -> Usage | None:
    """Neutral usage; thinking is part of the output and not told apart."""
    if usage is None:
        return None
    read, write = usage.cache_read_input_tokens, usage.cache_write_input_tokens
    hour = sum(detail.input_tokens for detail in usage.cache_details or () if detail.ttl == "1h")
    return Usage(
        input_tokens=usage.input_tokens + read + write,
        output_tokens=usage.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_1h_tokens=min(hour, write),
        service_tier=tier_of(tier.type) if tier is not None else "",
    )


class _Reported(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    usage: wire.Usage | None = None
    service_tier: wire.ServiceTier | None = None


_reported_decoder: Final = msgspec.json.Decoder(_Reported)


def reported(body: bytes) -> Usage | None:
    """The usage of an answer that holds what cannot be used."""
    try:
        answer = _reported_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return usage_of(answer.usage, answer.service_tier)


def decode(body: bytes, headers: Headers) -> Answer:
    """A whole 200 answer.

    Raises:
        BadUpstreamAnswer: it is no answer, or the model's output was unusable.
    """
    try:
        answer = _answer_decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpstreamAnswer(f"the answer is not Converse's: {error}") from error
    if answer.stop_reason in _BROKEN:
        raise BadUpstreamAnswer(f"the model's output was unusable ({answer.stop_reason})")
    extra = answer.additional_model_response_fields
    choice = Choice(
        index=0,
        parts=tuple(_part(block) for block in answer.output.message.content),
        finish=_FINISH.get(answer.stop_reason, FinishReason.STOP),
        stop_sequence=extra.stop_sequence if extra else None,
    )
    return Answer(
        id=dict(headers).get(b"x-amzn-requestid", b"").decode("latin-1"),
        model="",
        created=date_of(headers),
        choices=(choice,),
        usage=usage_of(answer.usage, answer.service_tier),
        service_tier=answer.service_tier.type if answer.service_tier else None,
    )


def _part(block: wire.AnswerBlock) -> Part:
    if block.text is not None:
        return TextPart(text=block.text)
    if block.tool_use is not None:
        call = block.tool_use
        return ToolCallPart(id=call.tool_use_id, name=call.name, arguments=text_of(call.input))
    if block.reasoning_content is not None:
        reasoning = block.reasoning_content
        if reasoning.reasoning_text is not None:
            text = reasoning.reasoning_text
            return ReasoningPart(text=text.text, signature=text.signature)
        if reasoning.redacted_content is not None:
            return ReasoningPart(redacted=reasoning.redacted_content)
    raise BadUpstreamAnswer("the answer holds a block that cannot be translated")


class BedrockStreamDecoder:
    """Turns a `converse-stream` answer into events."""

    __slots__ = ("_calls", "_ended", "_parser", "_silent")

    def __init__(self) -> None:
        self._parser = EventStreamParser()
        self._calls: dict[int, int] = {}
        """Block index to tool call index."""
        self._silent: set[int] = set()
        """Indexes of blocks of tool calls without any arguments so far."""
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        found: list[Event] = []
        for message in self._parser.feed(data):
            if not self._ended:
                self._take(message, found)
        return found

    def _take(self, message: Message, found: list[Event]) -> None:
        kind = message.text(":message-type")
        if kind == "error":
            name, text = message.text(":error-code"), message.text(":error-message")
            self._fail(failure_of(name, text, None), found)
            return
        try:
            payload = _payload_decoder.decode(message.payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadUpstreamAnswer(f"an event of the stream is not Converse's: {error}") from error
        if kind == "exception":
            self._fail(failure_of(message.text(":exception-type"), payload.message or "", None), found)
            return
        match message.text(":event-type"):
            case "messageStart":
                found.append(Begin(id="", model="", created=0))
            case "contentBlockStart":
                self._start(payload, found)
            case "contentBlockDelta":
                self._delta(payload, found)
            case "contentBlockStop":
                self._stop(payload.content_block_index, found)
            case "messageStop":
                self._finish(payload, found)
            case "metadata":
                usage = usage_of(payload.usage, payload.service_tier)
                if usage is not None:
                    found.append(UsageReport(usage=usage))
                self._ended = True
                found.append(End())

    def _start(self, payload: wire.StreamPayload, found: list[Event]) -> None:
        call = payload.start.tool_use if payload.start is not None else None
        if call is None:
            raise BadUpstreamAnswer("the stream holds a block that cannot be translated")
        index = self._calls[payload.content_block_index] = len(self._calls)
        self._silent.add(payload.content_block_index)
        found.append(ToolCallBegin(index=index, id=call.tool_use_id, name=call.name))

    def _delta(self, payload: wire.StreamPayload, found: list[Event]) -> None:
        delta = payload.delta
        if delta is None:
            return
        if delta.text:
            found.append(TextDelta(text=delta.text))
        elif delta.tool_use is not None:
            index = self._calls.get(payload.content_block_index)
            if index is None:
                raise BadUpstreamAnswer("the stream holds arguments of a tool call that never began")
            if delta.tool_use.input:
                self._silent.discard(payload.content_block_index)
                found.append(ToolCallDelta(index=index, arguments=delta.tool_use.input))
        elif delta.reasoning_content is not None:
            reasoning = delta.reasoning_content
            if reasoning.text or reasoning.signature or reasoning.redacted_content:
                found.append(
                    ReasoningDelta(
                        text=reasoning.text or "",
                        signature=reasoning.signature,
                        redacted=reasoning.redacted_content,
                    )
                )

    def _stop(self, block: int, found: list[Event]) -> None:
        if block in self._silent:
            self._silent.discard(block)
            found.append(ToolCallDelta(index=self._calls[block], arguments="{}"))

    def _finish(self, payload: wire.StreamPayload, found: list[Event]) -> None:
        reason = payload.stop_reason or ""
        if reason in _BROKEN:
            message = f"the model's output was unusable ({reason})"
            self._fail(Failure(kind=FailureKind.BAD_ANSWER, message=message, code=reason), found)
            return
        extra = payload.additional_model_response_fields
        found.append(
            Finish(
                reason=_FINISH.get(reason, FinishReason.STOP),
                stop_sequence=extra.stop_sequence if extra else None,
            )
        )

    def _fail(self, failure: Failure, found: list[Event]) -> None:
        self._ended = True
        found.append(StreamError(failure=failure))
