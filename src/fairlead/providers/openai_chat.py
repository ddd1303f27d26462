"""OpenAI's chat completions: how clients speak it, and how upstreams are asked in it.

The two sides meet in the neutral model only. The work is in the modules beside
this one: `_parse` and `_encode` for requests, `_answer`, `_decode` and
`_render` for answers, `openai_watch` for streams that are not translated.
"""

from __future__ import annotations

from fairlead.errors import FairleadError
from fairlead.providers import openai_errors
from fairlead.providers.chat import Answer, ChatRequest
from fairlead.providers.dialect import Outgoing, StreamDecoder, StreamEncoder
from fairlead.providers.openai_chat_answer import decode_answer, render_answer
from fairlead.providers.openai_chat_decode import ChatDecoder
from fairlead.providers.openai_chat_encode import encode_chat
from fairlead.providers.openai_chat_parse import parse_chat
from fairlead.providers.openai_chat_render import ChatEncoder
from fairlead.providers.openai_flavour import COMPATIBLE, ENGINE, OPENAI, Flavour
from fairlead.providers.openai_usage import reported
from fairlead.providers.openai_watch import ChatWatcher, glance
from fairlead.types import Failure, Headers, Usage

__all__ = [
    "COMPATIBLE",
    "ENGINE",
    "OPENAI",
    "ChatWatcher",
    "Flavour",
    "OpenAIChatClient",
    "OpenAIChatUpstream",
    "glance",
]

HEARTBEAT = b": ping\n\n"


class OpenAIChatUpstream:
    """Asks an upstream through `/chat/completions`."""

    __slots__ = ("_flavour",)

    def __init__(self, flavour: Flavour = OPENAI) -> None:
        self._flavour = flavour

    def encode(self, request: ChatRequest, model: str) -> Outgoing:
        """See `UpstreamDialect.encode`."""
        return encode_chat(request, model, self._flavour)

    def decode(self, body: bytes, headers: Headers) -> Answer:
        """See `UpstreamDialect.decode`."""
        return decode_answer(body)

    def decoder(self, request: ChatRequest) -> StreamDecoder:
        """A decoder for the stream of one answer."""
        return ChatDecoder()

    def failure(self, status: int, headers: Headers, body: bytes) -> Failure:
        """See `UpstreamDialect.failure`."""
        return openai_errors.failure_of(status, headers, body)

    def usage(self, body: bytes) -> Usage | None:
        """See `UpstreamDialect.usage`."""
        return reported(body)


class OpenAIChatClient:
    """Answers clients of `/v1/chat/completions`."""

    __slots__ = ()

    def parse(self, body: bytes) -> ChatRequest:
        """See `ClientDialect.parse`."""
        return parse_chat(body)

    def render(self, answer: Answer, request: ChatRequest, request_id: str) -> bytes:
        """A `chat.completion` object."""
        return render_answer(answer, request.model, request_id)

    def encoder(self, request: ChatRequest, request_id: str) -> StreamEncoder:
        """An encoder for the stream of one answer."""
        return ChatEncoder(request, request_id)

    def error_body(self, error: FairleadError, request_id: str) -> bytes:
        """OpenAI's envelope."""
        return openai_errors.error_body(error)

    def error_event(self, error: FairleadError, request_id: str) -> bytes:
        """An event on which the SDKs raise; no `[DONE]` follows it."""
        return openai_errors.error_frame(openai_errors.error_detail(error))

    def heartbeat(self) -> bytes:
        """A comment."""
        return HEARTBEAT
