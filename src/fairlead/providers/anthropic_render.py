"""Neutral events as an Anthropic stream.

The rules of the format that the SDKs rely on: nothing before `message_start`
but pings; one content block open at a time, numbered from 0 without a gap;
deltas only for the open block; one `message_delta` with the stop reason and
all usage; `message_stop` last.

Neutral events interleave more freely: engines that run tool calls in parallel
may alternate between their arguments. A block that cannot be written yet waits
in a queue until the open one is complete. Text and reasoning are complete when
something else follows; a tool call is when its arguments are a whole JSON
object. So a usual stream never waits, and an unusual one is never garbled.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import UpstreamCut
from fairlead.providers.anthropic_answer import STOP_REASONS, message_id, usage_fields
from fairlead.providers.anthropic_errors import error_event, failure_event
from fairlead.providers.chat import (
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.providers.raw import object_of
from fairlead.providers.tool_ids import ANTHROPIC, fit
from fairlead.types import Usage

PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'

_encode: Final = msgspec.json.Encoder().encode
_SIGNED: Final = "signature_delta"


class _Block:
    """One content block: its start, and the deltas that are not written yet."""

    __slots__ = ("arguments", "call", "deltas", "kind", "start")

    def __init__(self, kind: str, start: dict[str, object], call: int | None = None) -> None:
        self.kind = kind
        self.start = start
        self.call = call
        self.arguments: list[str] = []
        self.deltas: list[dict[str, str]] = []

    def add(self, delta: dict[str, str]) -> None:
        self.deltas.append(delta)
        if self.call is not None:
            self.arguments.append(delta["partial_json"])

    def complete(self) -> bool:
        """Whether nothing can follow, once another block has begun."""
        if self.call is None:
            return True
        # The cheap look first: it fails for nearly every piece of an unfinished object.
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        return object_of("".join(self.arguments)) is not None

    def takes(self, kind: str) -> bool:
        """Whether a delta of this kind of block continues it."""
        # A signature seals a thinking block: what follows is another one.
        return self.kind == kind and not (self.deltas and self.deltas[-1]["type"] == _SIGNED)


class AnthropicStreamEncoder:
    """Turns one answer's events into a Messages stream."""

    __slots__ = (
        "_begun",
        "_blocks",
        "_done",
        "_finish",
        "_index",
        "_opened",
        "_out",
        "_request",
        "_request_id",
        "_sealed",
        "_usage",
    )

    def __init__(self, request: ChatRequest, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._begun = False
        self._done = False
        self._out: list[bytes] = []
        self._blocks: list[_Block] = []
        """The open block, then those that wait."""
        self._opened = False
        """The first block's start has been written."""
        self._sealed = False
        """The open thinking block has its signature."""
        self._index = 0
        self._finish: Finish | None = None
        self._usage: Usage | None = None

    def encode(self, events: list[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        for event in events:
            if self._done:
                break
            self._take(event)
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _take(self, event: Event) -> None:
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                if text:
                    self._append("text", {"type": "text_delta", "text": text})
            case ToolCallDelta():
                self._arguments(event)
            case ReasoningDelta():
                self._reasoning(event)
            case ToolCallBegin():
                self._tool_call(event)
            case Begin():
                self._begin(event)
            case Finish():
                self._finish = event
            case UsageReport(usage=usage):
                self._usage = usage
            case StreamError(failure=failure):
                self._done = True
                self._out.append(failure_event(failure, self._request_id))
            case End():
                self._end()

    def _begin(self, event: Begin) -> None:
        if self._begun:
            return
        self._begun = True
        self._usage = event.usage or self._usage
        message: dict[str, object] = {
            "id": message_id(event.id, self._request_id),
            "type": "message",
            "role": "assistant",
            "model": event.model or self._request.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_fields(event.usage),
        }
        self._write("message_start", {"type": "message_start", "message": message})
        self._out.append(PING)

    def _end(self) -> None:
        self._done = True
        if self._finish is None:
            # Without a reason to stop it is a cut answer, which must not look like a whole one.
            self._out.append(error_event(UpstreamCut(), self._request_id))
            return
        self._ensure_begun()
        while self._blocks:
            self._close()
        delta = {
            "stop_reason": STOP_REASONS[self._finish.reason],
            "stop_sequence": self._finish.stop_sequence,
        }
        usage = usage_fields(self._usage)
        usage.pop("cache_creation", None)  # not part of a delta's usage
        self._write("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
        self._write("message_stop", {"type": "message_stop"})

    # --- blocks -----------------------------------------------------------------------------

    def _append(self, kind: str, delta: dict[str, str]) -> None:
        """Add to the last block when it is of this kind, else begin one."""
        last = self._blocks[-1] if self._blocks else None
        waiting = len(self._blocks) > 1
        sealed = self._sealed and not waiting
        if last is None or sealed or not last.takes(kind):
            start: dict[str, object] = {"type": kind, "text" if kind == "text" else "thinking": ""}
            if kind == "thinking":
                start["signature"] = ""
            last = _Block(kind, start)
            self._push(last)
        last.add(delta)
        self._flush()

    def _reasoning(self, event: ReasoningDelta) -> None:
        if event.redacted is not None:
            self._push(_Block("redacted_thinking", {"type": "redacted_thinking", "data": event.redacted}))
        if event.text:
            self._append("thinking", {"type": "thinking_delta", "thinking": event.text})
        if event.signature:
            self._append("thinking", {"type": _SIGNED, "signature": event.signature})

    def _tool_call(self, event: ToolCallBegin) -> None:
        if event.signature is not None:
            # See `anthropic_answer`: another provider's signature travels in a redacted block.
            self._push(_Block("redacted_thinking", {"type": "redacted_thinking", "data": event.signature}))
        start: dict[str, object] = {
            "type": "tool_use",
            "id": fit(event.id, ANTHROPIC),
            "name": event.name,
            "input": {},
        }
        self._push(_Block("tool_use", start, call=event.index))

    def _arguments(self, event: ToolCallDelta) -> None:
        if not event.arguments:
            return
        for block in reversed(self._blocks):
            if block.call == event.index:
                block.add({"type": "input_json_delta", "partial_json": event.arguments})
                self._flush()
                return
        # The call never began, or its arguments were whole already: there is no block to put it in.

    def _push(self, block: _Block) -> None:
        self._ensure_begun()
        self._blocks.append(block)
        self._flush()

    def _flush(self) -> None:
        """Write what can be written: the first block, and as many after it as are complete."""
        while self._blocks:
            self._write_open()
            if len(self._blocks) == 1 or not self._blocks[0].complete():
                return
            self._close()

    def _write_open(self) -> None:
        """The first block's start, if that is due, and its deltas so far."""
        block = self._blocks[0]
        if not self._opened:
            self._opened = True
            self._write(
                "content_block_start",
                {"type": "content_block_start", "index": self._index, "content_block": block.start},
            )
        for delta in block.deltas:
            self._sealed = delta["type"] == _SIGNED
            self._write(
                "content_block_delta", {"type": "content_block_delta", "index": self._index, "delta": delta}
            )
        block.deltas.clear()

    def _close(self) -> None:
        self._write_open()
        self._write("content_block_stop", {"type": "content_block_stop", "index": self._index})
        del self._blocks[0]
        self._index += 1
        self._opened = False
        self._sealed = False

    def _ensure_begun(self) -> None:
        if not self._begun:
            self._begin(Begin(id="", model="", created=0))

    def _write(self, name: str, event: dict[str, object]) -> None:
        self._out.append(b"event: " + name.encode() + b"\ndata: " + _encode(event) + b"\n\n")
