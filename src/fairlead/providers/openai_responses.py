"""OpenAI's Responses API, towards clients.

An upstream that has it is asked natively and watched in passing; for all
others requests and answers are translated. As an upstream dialect it is not
needed: whoever offers it offers chat completions as well.
"""

from __future__ import annotations

from fairlead.errors import FairleadError
from fairlead.providers import openai_errors
from fairlead.providers.chat import Answer, ChatRequest
from fairlead.providers.dialect import StreamEncoder
from fairlead.providers.openai_responses_answer import render_response
from fairlead.providers.openai_responses_parse import parse_response
from fairlead.providers.openai_responses_stream import ResponsesEncoder, error_event_frame
from fairlead.providers.openai_responses_watch import ResponsesWatcher, glance

__all__ = ["ResponsesClient", "ResponsesWatcher", "glance"]


class ResponsesClient:
    """Answers clients of `/v1/responses`."""

    __slots__ = ()

    def parse(self, body: bytes) -> ChatRequest:
        """See `ClientDialect.parse`."""
        return parse_response(body)

    def render(self, answer: Answer, request: ChatRequest, request_id: str) -> bytes:
        """A `response` object."""
        return render_response(answer, request, request_id)

    def encoder(self, request: ChatRequest, request_id: str) -> StreamEncoder:
        """An encoder for the stream of one answer."""
        return ResponsesEncoder(request, request_id)

    def error_body(self, error: FairleadError, request_id: str) -> bytes:
        """OpenAI's envelope."""
        return openai_errors.error_body(error)

    def error_event(self, error: FairleadError, request_id: str) -> bytes:
        """An `error` event, on which the SDKs raise; nothing follows it.

        Its `sequence_number` is 0, as nothing is known here of what was sent
        before. An encoder that is given a `StreamError` numbers it properly
        and sends `response.failed` first.
        """
        return error_event_frame(openai_errors.error_detail(error), 0)

    def heartbeat(self) -> bytes:
        """A comment."""
        return b": ping\n\n"
