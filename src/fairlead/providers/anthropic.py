"""Anthropic's dialect, for upstreams and for clients of `/v1/messages`.

The parts: `anthropic_request` reads a client's body, `anthropic_encode` writes
an upstream's; `anthropic_answer` has whole answers both ways, `anthropic_stream`
reads a stream and `anthropic_render` writes one; `anthropic_errors` has errors
both ways. For calls that are not translated, `anthropic_watch` reads a stream in
passing and `anthropic_history` takes other providers' reasoning out of a request.
"""

from __future__ import annotations

from fairlead.errors import FairleadError
from fairlead.providers import anthropic_answer, anthropic_encode, anthropic_errors, anthropic_request
from fairlead.providers.anthropic_render import PING, AnthropicStreamEncoder
from fairlead.providers.anthropic_stream import AnthropicStreamDecoder
from fairlead.providers.anthropic_watch import AnthropicWatcher, glance
from fairlead.providers.chat import Answer, ChatRequest
from fairlead.providers.dialect import Outgoing
from fairlead.providers.estimate import estimate_input_tokens
from fairlead.types import Failure, Headers, Usage

__all__ = ["AnthropicClient", "AnthropicUpstream", "AnthropicWatcher", "glance"]


class AnthropicUpstream:
    """How Anthropic is asked. See `UpstreamDialect`."""

    __slots__ = ("_default_max_tokens",)

    def __init__(self, *, default_max_tokens: int | None = None) -> None:
        """`default_max_tokens` stands in for a client's missing one; by model family when None."""
        self._default_max_tokens = default_max_tokens

    def encode(self, request: ChatRequest, model: str) -> Outgoing:
        return anthropic_encode.encode(request, model, self._default_max_tokens)

    def decode(self, body: bytes, headers: Headers) -> Answer:
        return anthropic_answer.decode(body, headers)

    def decoder(self, request: ChatRequest) -> AnthropicStreamDecoder:
        return AnthropicStreamDecoder()

    def failure(self, status: int, headers: Headers, body: bytes) -> Failure:
        return anthropic_errors.failure(status, headers, body)

    def usage(self, body: bytes) -> Usage | None:
        return anthropic_answer.reported(body)


class AnthropicClient:
    """How clients of `/v1/messages` speak. See `ClientDialect`."""

    __slots__ = ()

    def parse(self, body: bytes) -> ChatRequest:
        return anthropic_request.parse(body)

    def count_tokens(self, body: bytes) -> bytes:
        """The answer of `/v1/messages/count_tokens` where no upstream can count: an estimate.

        Raises:
            InvalidRequest: like `parse`.
        """
        request = anthropic_request.parse(body, counting=True)
        return b'{"input_tokens":%d}' % estimate_input_tokens(request)

    def render(self, answer: Answer, request: ChatRequest, request_id: str) -> bytes:
        return anthropic_answer.render(answer, request, request_id)

    def encoder(self, request: ChatRequest, request_id: str) -> AnthropicStreamEncoder:
        return AnthropicStreamEncoder(request, request_id)

    def error_body(self, error: FairleadError, request_id: str) -> bytes:
        return anthropic_errors.error_body(error, request_id)

    def error_event(self, error: FairleadError, request_id: str) -> bytes:
        return anthropic_errors.error_event(error, request_id)

    def heartbeat(self) -> bytes:
        return PING
