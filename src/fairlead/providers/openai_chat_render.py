"""Neutral events as a chat stream.

What every chunk of a stream has in common is encoded once; a piece of text
costs one JSON string. A client that asked for usage gets it in a chunk of its
own before `[DONE]`, and `usage: null` in all others, as OpenAI does it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.providers.chat import (
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.providers.openai_chat_answer import SHOWN_REASONS, call_head, completion_id, reasoning_fields
from fairlead.providers.openai_errors import error_frame, failure_detail
from fairlead.providers.openai_usage import chat_usage
from fairlead.types import Usage

DONE_FRAME: Final = b"data: [DONE]\n\n"

_encode: Final = msgspec.json.Encoder().encode


class ChunkWriter:
    """Writes the chunks of one stream: what they share, around what each says."""

    __slots__ = ("_end", "_include_usage", "_start", "usage")

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._start = b""
        self._end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self.usage: Usage | None = None
        """The latest report, for the chunk before the end."""

    @property
    def begun(self) -> bool:
        return bool(self._start)

    def begin(self, *, completion_id: str, kind: str, created: int, model: str) -> None:
        """Fix what all chunks share; must come before the first."""
        common = {"id": completion_id, "object": kind, "created": created, "model": model}
        self._start = b"data: " + _encode(common)[:-1] + b',"choices":['

    def choice(self, index: int, said: bytes, logprobs: msgspec.Raw | None, finish: bytes) -> bytes:
        """One chunk. `said` is the field `delta` or `text` with its value, as JSON."""
        shown = b"null" if logprobs is None else bytes(logprobs)
        return b'%b{"index":%d,%b,"logprobs":%b,"finish_reason":%b}]%b' % (
            self._start, index, said, shown, finish, self._end,
        )  # fmt: skip

    def end(self) -> bytes:
        """The usage chunk, when it was asked for and is known, and the end mark."""
        if not self._include_usage or self.usage is None or not self.begun:
            return DONE_FRAME
        return b'%b],"usage":%b}\n\n%b' % (self._start, _encode(chat_usage(self.usage)), DONE_FRAME)


class ChatEncoder:
    """Encodes the stream of one request."""

    __slots__ = ("_over", "_request", "_request_id", "_writer")

    def __init__(self, request: ChatRequest, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._writer = ChunkWriter(include_usage=request.include_usage)
        self._over = False

    def encode(self, events: list[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        frames: list[bytes] = []
        for event in events:
            if self._over:
                break
            frames.append(self._frame(event))
        return b"".join(frames)

    def _frame(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                said = b'"delta":{"content":%b}' % _encode(event.text)
                return self._begun() + self._writer.choice(event.choice, said, event.logprobs, b"null")
            case ToolCallDelta():
                return self._begun() + self._delta(
                    event.choice,
                    {"tool_calls": [{"index": event.index, "function": {"arguments": event.arguments}}]},
                )
            case ReasoningDelta():
                part = ReasoningPart(text=event.text, signature=event.signature, redacted=event.redacted)
                fields = reasoning_fields([part])
                return self._begun() + self._delta(event.choice, fields) if fields else b""
            case RefusalDelta():
                return self._begun() + self._delta(event.choice, {"refusal": event.text})
            case ToolCallBegin():
                call = {"index": event.index} | call_head(event.id, event.name, "", event.signature)
                return self._begun() + self._delta(event.choice, {"tool_calls": [call]})
            case Finish():
                reason = b'"%b"' % SHOWN_REASONS[event.reason].encode()
                return self._begun() + self._writer.choice(event.choice, b'"delta":{}', None, reason)
            case Begin():
                return self._begin(event)
            case UsageReport():
                self._writer.usage = event.usage
                return b""
            case End():
                self._over = True
                return self._writer.end()
            case StreamError():
                self._over = True
                return error_frame(failure_detail(event.failure))

    def _begun(self) -> bytes:
        """Every delta needs the opening chunk before it, even where an upstream never began properly."""
        return b"" if self._writer.begun else self._begin(Begin(id="", model="", created=0))

    def _begin(self, event: Begin) -> bytes:
        if self._writer.begun:
            return b""
        self._writer.usage = event.usage or self._writer.usage
        self._writer.begin(
            completion_id=completion_id("chatcmpl-", event.id, self._request_id),
            kind="chat.completion.chunk",
            created=event.created,
            model=event.model or self._request.model,
        )
        role = b'"delta":{"role":"assistant","content":"","refusal":null}'
        return b"".join(self._writer.choice(index, role, None, b"null") for index in range(self._request.n))

    def _delta(self, index: int, fields: dict[str, object]) -> bytes:
        return self._writer.choice(index, b'"delta":' + _encode(fields), None, b"null")
