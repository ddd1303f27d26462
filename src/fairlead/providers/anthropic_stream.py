"""An Anthropic upstream's stream as neutral events.

Unknown events are skipped: Anthropic's versioning policy reserves the right to
add some. A block of a kind that cannot be translated is an error, since part of
the answer would be missing.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import anthropic_wire as wire
from fairlead.providers.anthropic_answer import finish_of, usage_of
from fairlead.providers.anthropic_errors import failure_of
from fairlead.providers.chat import (
    Begin,
    End,
    Event,
    Finish,
    ReasoningDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.providers.openai_sse import EventBuffer, data_of, events

_event_decoder: Final = msgspec.json.Decoder(wire.StreamEvent)


class AnthropicStreamDecoder:
    """Turns a Messages stream into events."""

    __slots__ = ("_buffer", "_calls", "_ended", "_silent", "_started")

    def __init__(self) -> None:
        self._buffer = EventBuffer()
        self._started: wire.Usage | None = None
        self._calls: dict[int, int] = {}
        """Block index to tool call index."""
        self._silent: set[int] = set()
        """Indexes of blocks of tool calls without any arguments so far."""
        self._ended = False

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        found: list[Event] = []
        block = self._buffer.feed(data)
        if not block:
            return found
        for event in events(block):
            payload = data_of(event)
            if payload and not self._ended:
                self._take(payload, found)
        return found

    def _take(self, payload: bytes, found: list[Event]) -> None:
        try:
            event = _event_decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadUpstreamAnswer(f"an event of the stream is not Anthropic's: {error}") from error
        if event.error is not None:
            self._ended = True
            found.append(StreamError(failure=failure_of(event.error, None)))
            return
        match event.type:
            case "content_block_delta" if event.delta is not None:
                self._delta(event.index, event.delta, found)
            case "content_block_start" if event.content_block is not None:
                self._block(event.index, event.content_block, found)
            case "content_block_stop":
                self._stop(event.index, found)
            case "message_start" if event.message is not None:
                self._started = event.message.usage
                usage = usage_of(self._started)
                found.append(Begin(id=event.message.id, model=event.message.model, created=0, usage=usage))
            case "message_delta":
                self._message(event, found)
            case "message_stop":
                self._ended = True
                found.append(End())

    def _block(self, index: int, block: wire.StartedBlock, found: list[Event]) -> None:
        match block.type:
            case "text":
                if block.text:
                    found.append(TextDelta(text=block.text))
            case "thinking":
                if block.thinking or block.signature:
                    found.append(ReasoningDelta(text=block.thinking, signature=block.signature or None))
            case "redacted_thinking":
                found.append(ReasoningDelta(redacted=block.data))
            case "tool_use":
                call = self._calls[index] = len(self._calls)
                found.append(ToolCallBegin(index=call, id=block.id, name=block.name))
                # Anthropic starts every call with `{}`; engines that imitate it may give all at once.
                arguments = bytes(block.input)
                if arguments in (b"", b"null", b"{}"):
                    self._silent.add(index)
                else:
                    found.append(ToolCallDelta(index=call, arguments=arguments.decode("utf-8", "replace")))
            case other:
                raise BadUpstreamAnswer(
                    f"the stream holds a `{other[:64]}` block, which cannot be translated"
                )

    def _delta(self, index: int, delta: wire.Delta, found: list[Event]) -> None:
        match delta.type:
            case "text_delta":
                if delta.text:
                    found.append(TextDelta(text=delta.text))
            case "thinking_delta":
                if delta.thinking:
                    found.append(ReasoningDelta(text=delta.thinking))
            case "signature_delta":
                found.append(ReasoningDelta(signature=delta.signature))
            case "input_json_delta":
                call = self._calls.get(index)
                if call is None:
                    raise BadUpstreamAnswer("the stream holds arguments of a tool call that never began")
                if delta.partial_json:
                    self._silent.discard(index)
                    found.append(ToolCallDelta(index=call, arguments=delta.partial_json))

    def _stop(self, index: int, found: list[Event]) -> None:
        if index in self._silent:
            self._silent.discard(index)
            found.append(ToolCallDelta(index=self._calls[index], arguments="{}"))

    def _message(self, event: wire.StreamEvent, found: list[Event]) -> None:
        if event.delta is not None and event.delta.stop_reason:
            reason = finish_of(event.delta.stop_reason)
            found.append(Finish(reason=reason, stop_sequence=event.delta.stop_sequence))
        usage = usage_of(self._started, event.usage)
        if usage is not None:
            found.append(UsageReport(usage=usage))
