"""What an upstream says in each dialect, as bytes, and what a client reads from them.

A scenario is written once, in terms of a `Shape` (the head, a token, the end, an
error), and played in OpenAI's and in Anthropic's words, as a stream or as a whole answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fairlead.net.http1 import LAST_CHUNK
from fairlead.testing import ScriptedConnection, answer, sse_event, sse_head

TOKENS: Final = ("All", " rivers", " reach", " the", " sea")
SPARE: Final = ("The", " spare", " answers")
PROVIDER_TYPES: Final = {"openai": "openai-compatible", "anthropic": "anthropic"}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """One API, streamed or not."""

    dialect: str
    stream: bool

    @property
    def name(self) -> str:
        """How the page calls it."""
        api = "chat" if self.dialect == "openai" else "messages"
        return f"{api} stream" if self.stream else api

    @property
    def path(self) -> str:
        return "/v1/chat/completions" if self.dialect == "openai" else "/v1/messages"

    def request(self, model: str) -> bytes:
        """The client's request body."""
        messages = [{"role": "user", "content": "Where do rivers go?"}]
        return _json({"model": model, "max_tokens": 64, "messages": messages, "stream": self.stream})

    # --- the upstream's side --------------------------------------------------------------------

    def whole(self, tokens: Sequence[str] = TOKENS) -> bytes:
        """A healthy answer, from status line to end."""
        if not self.stream:
            return answer(self.body(tokens))
        return self.head() + self.begin() + self.tokens(*tokens) + self.finish() + self.end()

    def body(self, tokens: Sequence[str] = TOKENS) -> bytes:
        """The body of a healthy answer that is not a stream."""
        text = "".join(tokens)
        if self.dialect == "openai":
            choice = {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
            return _json(
                {
                    "id": "c1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [choice],
                    "usage": {"prompt_tokens": 4, "completion_tokens": 5, "total_tokens": 9},
                }
            )
        return _json(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "m",
                "content": [{"type": "text", "text": text}],
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": {"input_tokens": 4, "output_tokens": 5},
            }
        )

    def head(self) -> bytes:
        """Status line and headers of a 200, chunked; a stream's or a whole answer's."""
        if self.stream:
            return sse_head()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
            self.body()
        )

    def begin(self) -> bytes:
        """What comes before the first token."""
        if self.dialect == "openai":
            return self._chunk({"role": "assistant", "content": ""})
        usage = {"input_tokens": 4, "output_tokens": 1}
        message: dict[str, Any] = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": usage,
        }  # fmt: skip
        block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        return self.event({"type": "message_start", "message": message}) + self.event(block)

    def tokens(self, *texts: str) -> bytes:
        """One event a token."""
        if self.dialect == "openai":
            return b"".join(self._chunk({"content": text}) for text in texts)
        return b"".join(
            self.event(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            )
            for text in texts
        )

    def finish(self) -> bytes:
        """The finish reason."""
        if self.dialect == "openai":
            return self._chunk({}, finish="stop")
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        return self.event({"type": "content_block_stop", "index": 0}) + self.event(
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}}
        )

    def mark(self) -> bytes:
        """The dialect's end mark."""
        return sse_event(b"[DONE]") if self.dialect == "openai" else self.event({"type": "message_stop"})

    def end(self) -> bytes:
        """The end mark and the last chunk."""
        return self.mark() + LAST_CHUNK

    def event(self, data: dict[str, Any]) -> bytes:
        """Any event, as one chunk."""
        return sse_event(_json(data), "" if self.dialect == "openai" else data["type"])

    def error(self, code: str = "server_error", message: str = "the engine died") -> bytes:
        """An error object in the dialect's words."""
        if self.dialect == "openai":
            return _json({"error": {"message": message, "type": code, "param": None, "code": code}})
        return _json({"type": "error", "error": {"type": code, "message": message}})

    def error_event(self, code: str = "") -> bytes:
        """The error event that the dialect knows inside a stream."""
        if self.dialect == "openai":
            return sse_event(self.error(code or "server_error"))
        return sse_event(self.error(code or "api_error"), "error")

    def refusal(self, status: int, code: str, message: str = "no", headers: Sequence[str] = ()) -> bytes:
        """An error status with the dialect's body; the connection is closed after it."""
        lines = ["connection: close", *headers]
        return answer(self.error(code, message), status=status, headers=lines)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return self.event(
            {
                "id": "c1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [choice],
            }
        )


CHAT: Final = Shape(dialect="openai", stream=False)
CHAT_STREAM: Final = Shape(dialect="openai", stream=True)
MESSAGES: Final = Shape(dialect="anthropic", stream=False)
MESSAGES_STREAM: Final = Shape(dialect="anthropic", stream=True)
STREAMS: Final = (CHAT_STREAM, MESSAGES_STREAM)
WHOLES: Final = (CHAT, MESSAGES)
EVERY: Final = (*STREAMS, *WHOLES)


class Reading(msgspec.Struct, kw_only=True):
    """What a client of the dialect makes of a stream or a body."""

    text: str = ""
    tokens: int = 0
    finish: str = ""
    marked: bool = False
    """The dialect's own end mark came."""
    error: str = ""
    """Our code of the error, in-band or in the body."""
    error_type: str = ""
    begun: bool = False
    """An event of the answer came."""
    heartbeats: int = 0
    """Before the answer; Anthropic's streams hold a ping of their own."""
    after_error: int = 0
    """Events after an error: there must be none."""
    torn: bool = False
    """The last event is not whole, or something is no JSON."""


def read(shape: Shape, body: bytes, *, streamed: bool) -> Reading:
    """Read what a client received."""
    reading = Reading()
    if streamed:
        *blocks, rest = body.split(b"\n\n")
        reading.torn = bool(rest)
        for block in blocks:
            _read_event(shape, block, reading)
    else:
        try:
            _read_body(shape, json.loads(body), reading)
        except ValueError:
            reading.torn = True
    return reading


def _read_event(shape: Shape, block: bytes, reading: Reading) -> None:
    lines = block.split(b"\n")
    data = b"".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
    if not data:
        reading.heartbeats += not reading.begun and all(line.startswith(b":") for line in lines)
        return
    if data == b"[DONE]":
        reading.marked = True
        return
    try:
        event = json.loads(data)
    except ValueError:
        reading.torn = True
        return
    if event.get("type") == "ping":
        reading.heartbeats += not reading.begun
        return
    reading.begun = True
    if reading.error:
        reading.after_error += 1
    if event.get("error"):
        _read_error(shape, event["error"], reading)
    elif shape.dialect == "openai":
        for choice in event["choices"]:
            text = choice["delta"].get("content") or ""
            reading.text += text
            reading.tokens += bool(text)
            reading.finish = choice["finish_reason"] or reading.finish
    elif event["type"] == "content_block_delta":
        reading.text += event["delta"]["text"]
        reading.tokens += 1
    elif event["type"] == "message_delta":
        reading.finish = event["delta"]["stop_reason"]
    elif event["type"] == "message_stop":
        reading.marked = True


def _read_body(shape: Shape, body: Any, reading: Reading) -> None:
    if body.get("error"):
        _read_error(shape, body["error"], reading)
    elif shape.dialect == "openai":
        choice = body["choices"][0]
        reading.text, reading.finish = choice["message"]["content"], choice["finish_reason"]
    else:
        reading.text, reading.finish = body["content"][0]["text"], body["stop_reason"]


def _read_error(shape: Shape, error: Any, reading: Reading) -> None:
    reading.error_type = error["type"]
    if shape.dialect == "openai":
        reading.error = error["code"]
    else:
        # Our code; an error that an upstream worded has only its type.
        reading.error = error.get("details", {}).get("error_code", error["type"])


def asked(connections: Sequence[ScriptedConnection]) -> int:
    """Requests that reached an upstream."""
    return sum(len(connection.requests) for connection in connections)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
