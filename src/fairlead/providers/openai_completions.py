"""The legacy `/v1/completions` API, towards clients.

An upstream that has it is asked natively. For all others one text prompt
becomes one message of the user; what a chat cannot do (token arrays, several
prompts, `echo`, `suffix`, `best_of`, log probabilities) is refused by name.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fairlead.errors import FairleadError, InvalidRequest, UnsupportedByTarget
from fairlead.providers import openai_errors
from fairlead.providers.chat import (
    Answer,
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    Message,
    RefusalDelta,
    RefusalPart,
    StreamError,
    TextDelta,
    TextPart,
    UsageReport,
)
from fairlead.providers.dialect import StreamEncoder
from fairlead.providers.fields import Fields, decode_field
from fairlead.providers.openai_chat_answer import SHOWN_REASONS, completion_id
from fairlead.providers.openai_chat_parse import (
    positive,
    sort_rest,
    take_n,
    take_stop,
    take_stream_options,
)
from fairlead.providers.openai_chat_render import ChunkWriter
from fairlead.providers.openai_usage import chat_usage
from fairlead.providers.openai_watch import ChatWatcher

DEFAULT_MAX_TOKENS: Final = 16
"""The API's own default, which chat APIs do not have."""

_encode: Final = msgspec.json.Encoder().encode

CompletionsWatcher = ChatWatcher
"""A native stream's chunks differ from chat's only where the text is, and the watcher knows both."""


class CompletionsClient:
    """Answers clients of `/v1/completions`."""

    __slots__ = ()

    def parse(self, body: bytes) -> ChatRequest:
        """See `ClientDialect.parse`."""
        fields = Fields(body)
        model = fields.require("model", str)
        prompt = _prompt(fields)
        _refuse_the_rest(fields)
        advisory: dict[str, msgspec.Raw] = {}
        limit = positive("max_tokens", fields.take("max_tokens", int))
        request = ChatRequest(
            model=model,
            messages=(Message(role="user", parts=(TextPart(text=prompt),)),),
            stream=fields.take("stream", bool) or False,
            include_usage=take_stream_options(fields, advisory),
            max_output_tokens=DEFAULT_MAX_TOKENS if limit is None else limit,
            temperature=fields.take("temperature", float),
            top_p=fields.take("top_p", float),
            top_k=fields.take("top_k", int),
            stop=take_stop(fields),
            seed=fields.take("seed", int),
            presence_penalty=fields.take("presence_penalty", float),
            frequency_penalty=fields.take("frequency_penalty", float),
            n=take_n(fields),
            user=fields.take("user", str),
        )
        extras = sort_rest(fields, advisory)
        return msgspec.structs.replace(request, extras=extras, advisory=advisory)

    def render(self, answer: Answer, request: ChatRequest, request_id: str) -> bytes:
        """A `text_completion` object; reasoning has no place in it."""
        body: dict[str, object] = {
            "id": completion_id("cmpl-", answer.id, request_id),
            "object": "text_completion",
            "created": answer.created,
            "model": answer.model or request.model,
            "choices": [
                {
                    "index": choice.index,
                    "text": "".join(
                        part.text for part in choice.parts if isinstance(part, TextPart | RefusalPart)
                    ),
                    "logprobs": None,
                    "finish_reason": _shown(SHOWN_REASONS[choice.finish]),
                }
                for choice in answer.choices
            ],
        }
        if answer.usage is not None:
            body["usage"] = chat_usage(answer.usage)
        if answer.system_fingerprint is not None:
            body["system_fingerprint"] = answer.system_fingerprint
        return _encode(body)

    def encoder(self, request: ChatRequest, request_id: str) -> StreamEncoder:
        """An encoder for the stream of one answer."""
        return CompletionsEncoder(request, request_id)

    def error_body(self, error: FairleadError, request_id: str) -> bytes:
        """OpenAI's envelope."""
        return openai_errors.error_body(error)

    def error_event(self, error: FairleadError, request_id: str) -> bytes:
        """An event on which the SDKs raise; no `[DONE]` follows it."""
        return openai_errors.error_frame(openai_errors.error_detail(error))

    def heartbeat(self) -> bytes:
        """A comment."""
        return b": ping\n\n"


class CompletionsEncoder:
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
            case TextDelta() | RefusalDelta():
                self._begin(Begin(id="", model="", created=0))
                return self._writer.choice(event.choice, b'"text":' + _encode(event.text), None, b"null")
            case Finish():
                self._begin(Begin(id="", model="", created=0))
                reason = _encode(_shown(SHOWN_REASONS[event.reason]))
                return self._writer.choice(event.choice, b'"text":""', None, reason)
            case Begin():
                self._begin(event)
            case UsageReport():
                self._writer.usage = event.usage
            case End():
                self._over = True
                return self._writer.end()
            case StreamError():
                self._over = True
                return openai_errors.error_frame(openai_errors.failure_detail(event.failure))
            case _:
                pass  # reasoning has no place here, and tools cannot be offered
        return b""

    def _begin(self, event: Begin) -> None:
        if self._writer.begun:
            return
        self._writer.usage = event.usage or self._writer.usage
        self._writer.begin(
            completion_id=completion_id("cmpl-", event.id, self._request_id),
            kind="text_completion",
            created=event.created,
            model=event.model or self._request.model,
        )


def _prompt(fields: Fields) -> str:
    raw = fields.take_raw("prompt")
    if raw is None:
        raise InvalidRequest("prompt: this field is required", param="prompt")
    prompt: str | list[str | int | list[int]] = decode_field(
        "prompt", bytes(raw), str | list[str | int | list[int]]
    )
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    kind = "several prompts" if prompt and isinstance(prompt[0], str) else "a prompt of token ids"
    raise UnsupportedByTarget(
        f"prompt: {kind} cannot be translated for this target; send one string", param="prompt"
    )


def _refuse_the_rest(fields: Fields) -> None:
    """What a chat API cannot do, unless it is set to what means nothing."""
    why = "cannot be translated for this target"
    if fields.take("echo", bool):
        raise UnsupportedByTarget(f"echo: {why}", param="echo")
    if (fields.take("best_of", int) or 1) > 1:
        raise UnsupportedByTarget(f"best_of: {why}", param="best_of")
    if fields.take("suffix", str):
        raise UnsupportedByTarget(f"suffix: {why}", param="suffix")
    fields.refuse("logprobs", why)


def _shown(reason: str) -> str:
    return "stop" if reason == "tool_calls" else reason
