"""Bedrock's Converse dialect, for upstreams.

The parts: `bedrock_request` writes requests, `bedrock_answer` reads answers and
streams, `bedrock_errors` reads refusals, `bedrock_wire` has the shapes;
`eventstream` is the framing of streams and `sigv4` the signature of requests,
which whoever sends them applies.
"""

from __future__ import annotations

from fairlead.providers import bedrock_answer, bedrock_errors, bedrock_request
from fairlead.providers.bedrock_answer import BedrockStreamDecoder
from fairlead.providers.chat import Answer, ChatRequest
from fairlead.providers.dialect import Outgoing
from fairlead.types import Failure, Headers, Usage

__all__ = ["BedrockUpstream"]


class BedrockUpstream:
    """How Bedrock is asked. See `UpstreamDialect`."""

    __slots__ = ()

    def encode(self, request: ChatRequest, model: str) -> Outgoing:
        return bedrock_request.encode(request, model)

    def decode(self, body: bytes, headers: Headers) -> Answer:
        return bedrock_answer.decode(body, headers)

    def decoder(self, request: ChatRequest) -> BedrockStreamDecoder:
        return BedrockStreamDecoder()

    def failure(self, status: int, headers: Headers, body: bytes) -> Failure:
        return bedrock_errors.failure(status, headers, body)

    def usage(self, body: bytes) -> Usage | None:
        return bedrock_answer.reported(body)
