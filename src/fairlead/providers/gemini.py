"""Gemini's dialect (`generateContent`, v1beta), for upstreams.

The parts: `gemini_request` writes requests, `gemini_answer` reads answers and
streams, `gemini_errors` reads refusals, `gemini_wire` has the shapes.
"""

from __future__ import annotations

from fairlead.providers import gemini_answer, gemini_errors, gemini_request
from fairlead.providers.chat import Answer, ChatRequest
from fairlead.providers.dialect import Outgoing
from fairlead.providers.gemini_answer import GeminiStreamDecoder
from fairlead.types import Failure, Headers, Usage

__all__ = ["GeminiUpstream"]


class GeminiUpstream:
    """How Gemini is asked. See `UpstreamDialect`."""

    __slots__ = ()

    def encode(self, request: ChatRequest, model: str) -> Outgoing:
        return gemini_request.encode(request, model)

    def decode(self, body: bytes, headers: Headers) -> Answer:
        return gemini_answer.decode(body, headers)

    def decoder(self, request: ChatRequest) -> GeminiStreamDecoder:
        return GeminiStreamDecoder()

    def failure(self, status: int, headers: Headers, body: bytes) -> Failure:
        return gemini_errors.failure(status, headers, body)

    def usage(self, body: bytes) -> Usage | None:
        return gemini_answer.reported(body)
