"""Reading a chat or text completion in passing, when client and upstream speak the same dialect.

Every event is decoded into the four fields that matter, skipping the rest:
measured, that costs less (0.4 us) than the three or four searches through the
bytes that would be needed to prove an event uninteresting, and it cannot be
fooled by what a text contains. Events leave as they came; only the chunk that our own usage request
caused is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import engine_times
from fairlead.providers.dialect import Glimpse
from fairlead.providers.openai_errors import failure_in_stream, failure_of, is_error
from fairlead.providers.openai_sse import DONE, EventBuffer, data_of, events, named
from fairlead.providers.openai_usage import InputDetails, OutputDetails, detailed, read_usage
from fairlead.providers.raw import NOTHING
from fairlead.types import Failure, FailureKind, Usage

BROKEN_OFF: Final = {
    "abort": FailureKind.CUT,  # vLLM, SGLang: the engine gave the request up
    "error": FailureKind.SERVER_ERROR,  # vLLM, OpenRouter, Mistral
    "insufficient_system_resource": FailureKind.OVERLOADED,  # DeepSeek
}
"""Finish reasons that say there is no whole answer."""


class _Choice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    finish_reason: str | None = None


class _Anything(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An object whose fields are skipped."""


class _Seen(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    choices: list[_Choice] | None = None
    usage: _Anything | None = None
    error: msgspec.Raw = NOTHING
    object: str | None = None


class _Fragment(msgspec.Struct, frozen=True, kw_only=True):
    content: msgspec.Raw = NOTHING
    reasoning_content: msgspec.Raw = NOTHING
    reasoning: msgspec.Raw = NOTHING
    refusal: msgspec.Raw = NOTHING
    tool_calls: msgspec.Raw = NOTHING
    function_call: msgspec.Raw = NOTHING
    audio: msgspec.Raw = NOTHING


class _ChoiceParts(msgspec.Struct, frozen=True, kw_only=True):
    delta: _Fragment | None = None
    message: _Fragment | None = None
    text: msgspec.Raw = NOTHING
    usage: msgspec.Raw = NOTHING


class _Extension(msgspec.Struct, frozen=True, kw_only=True):
    usage: msgspec.Raw = NOTHING


class _Full(engine_times.Marks, frozen=True, kw_only=True):
    """The first events and the last, once more and in full."""

    model: str | None = None
    choices: list[_ChoiceParts] | None = None
    usage: msgspec.Raw = NOTHING
    service_tier: str | None = None
    x_groq: _Extension | None = None


_SEEN: Final = msgspec.json.Decoder(_Seen)
_FULL: Final = msgspec.json.Decoder(_Full)
_GROQ_MARK: Final = b'"queue_time"'
_EMPTY: Final = (b"", b"null", b'""', b"[]", b"{}")


class ChatWatcher:
    """Watches a stream of chat or text completion chunks."""

    __slots__ = ("_buffer", "_opened", "_strip_usage", "glimpse")

    def __init__(self, *, strip_usage: bool) -> None:
        """Args: strip_usage: the client did not ask for usage, so its chunk is left out."""
        self.glimpse = Glimpse()
        self._buffer = EventBuffer()
        self._opened = False
        self._strip_usage = strip_usage

    def feed(self, data: bytes) -> bytes:
        """See `Watcher.feed`."""
        if self._opened and self._buffer.idle:
            # Mostly one plain event arrives at a time; several fail to decode here.
            try:
                seen = _SEEN.decode(data[6:])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                if _is_plain(seen) and data.startswith(b"data: ") and data.endswith(b"\n\n"):
                    self.glimpse.chunks += 1
                    return data
        glimpse = self.glimpse
        if glimpse.failure is not None or glimpse.ended:
            return b""
        try:
            block = self._buffer.feed(data)
        except BadUpstreamAnswer as error:
            glimpse.failure = Failure(kind=FailureKind.BAD_ANSWER, message=error.message)
            block = b""
        relayed = self._look(block) if block else b""
        if glimpse.failure is not None or glimpse.ended:
            self._opened = False
        return relayed

    def rest(self) -> bytes:
        """See `Watcher.rest`."""
        return self._buffer.rest()

    def _look(self, block: bytes) -> bytes:
        if self._opened:
            count = _plain_events(block)
            if count:
                self.glimpse.chunks += count
                return block
        parts = events(block)
        dropped = False
        decoded = _decoded(parts)
        for position, event in enumerate(parts):
            seen = decoded[position]
            if self._opened and seen is not None and _is_plain(seen):
                self.glimpse.chunks += 1
                continue
            keep = self._look_again(event, seen)
            if self.glimpse.failure is not None:
                return _joined(parts[:position])
            if not keep:
                parts[position] = b""
                dropped = True
            if self.glimpse.ended and position < len(parts) - 1:
                return _joined(parts[: position + 1])
        return _joined(parts) if dropped else block

    def _look_again(self, event: bytes, seen: _Seen | None) -> bool:
        """Take in an event that is not plain content. False when the client must not see it."""
        glimpse = self.glimpse
        data = data_of(event)
        if not data:
            return True
        if data.strip() == DONE:
            if not glimpse.finish_reason:
                # A cut stream in disguise: clients take the end mark for a proper end.
                glimpse.failure = _unfinished(glimpse.chunks)
                return False
            glimpse.ended = True
            return True
        failed = named(event, b"error")
        try:
            seen, full = seen or _SEEN.decode(data), _FULL.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            glimpse.failure = failure_in_stream(data) if failed else _not_the_dialect()
            return False
        if failed or is_error(seen.error, seen.object):
            glimpse.failure = failure_in_stream(data)
            return False
        finish = next((choice.finish_reason for choice in seen.choices or () if choice.finish_reason), None)
        if finish in BROKEN_OFF:
            glimpse.failure = broken_off(finish)
            return False
        if finish:
            glimpse.finish_reason = finish
        if full.model and not glimpse.model:
            glimpse.model = full.model
        if any(_has_content(choice) for choice in full.choices or ()):
            self._opened = True
            glimpse.chunks += 1
        elif self._opened and _is_plain(seen):
            # Once content has begun, whatever looks like it counts, as it does on the fast path.
            glimpse.chunks += 1
        glimpse.usage = _usage(full) or glimpse.usage
        if full.timed or (full.usage is not NOTHING and _GROQ_MARK in bytes(full.usage)):
            glimpse.engine = engine_times.read(data) or glimpse.engine
        return not (self._strip_usage and not seen.choices and seen.usage is not None)


def _is_plain(seen: _Seen) -> bool:
    choices = seen.choices
    return (
        choices is not None
        and len(choices) == 1
        and choices[0].finish_reason is None
        and seen.usage is None
        and seen.error is NOTHING
        and seen.object != "error"
    )


def _decoded(parts: list[bytes]) -> Sequence[_Seen | None]:
    """Each event as far as it matters; None for one that is anything but a single line of JSON."""
    ends = parts[-1:] == [b"data: [DONE]"]
    body = b"\n".join(parts[:-1] if ends else parts)
    try:
        # One call for all of them, at half the cost of one by one.
        found: list[_Seen | None] = list(_SEEN.decode_lines(body.replace(b"data: ", b"")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = []
    if ends:
        found.append(None)
    lines = len(parts) - ends
    if len(found) == len(parts) and body.count(b"\n") == lines - 1 and _only_data(body, lines):
        return found
    return [_decoded_one(event) for event in parts]


def _only_data(body: bytes, lines: int) -> bool:
    return body.startswith(b"data: ") and body.count(b"\ndata: ") == lines - 1


def _decoded_one(event: bytes) -> _Seen | None:
    if not event.startswith(b"data: "):
        return None
    try:
        return _SEEN.decode(event[6:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _plain_events(block: bytes) -> int:
    """How many events the block holds when all are plain content; 0 otherwise.

    One call decodes them all, at half the cost of one by one. Cutting `data: `
    out of a text inside them does no harm, as nobody reads it here.
    """
    try:
        chunks = _SEEN.decode_lines(block.replace(b"data: ", b""))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    for seen in chunks:
        if not _is_plain(seen):
            return 0
    return len(chunks) if len(chunks) == block.count(b"\n\n") else 0


def _unfinished(chunks: int) -> Failure:
    if not chunks:
        return Failure(kind=FailureKind.EMPTY, message="the stream ended without any content")
    return Failure(
        kind=FailureKind.CUT,
        message=f"the stream ended after {chunks} content events without a finish reason",
    )


def _not_the_dialect() -> Failure:
    return Failure(
        kind=FailureKind.BAD_ANSWER,
        message="an event of the upstream's stream is not what its dialect prescribes",
    )


class _PlainChoice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    finish_reason: str


class _PlainUsage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Usage as OpenAI and most engines report it; what only others report makes it not plain."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None
    cached_tokens: int | None = None
    prompt_cache_hit_tokens: int | None = None
    reasoning_tokens: int | None = None
    queue_time: msgspec.Raw = NOTHING


class _PlainAnswer(engine_times.Marks, frozen=True, kw_only=True, gc=False):
    choices: list[_PlainChoice]
    usage: _PlainUsage
    model: str = ""
    service_tier: str | None = None
    error: msgspec.Raw | None = None
    object: str = ""


_PLAIN_ANSWER: Final = msgspec.json.Decoder(_PlainAnswer)


def glance(body: bytes) -> Glimpse:
    """What a watcher would learn of a whole (not streamed) answer.

    `failure` is set when the body is an error object or no completion at all.
    """
    return _plain_glance(body) or _full_glance(body)


def _plain_glance(body: bytes) -> Glimpse | None:
    """One decode of the shape that nearly every answer has; None for all others."""
    try:
        answer = _PLAIN_ANSWER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usage = answer.usage
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    if (
        not answer.choices
        or answer.error is not None
        or answer.object == "error"
        or usage.cached_tokens is not None
        or usage.prompt_cache_hit_tokens is not None
        or usage.reasoning_tokens is not None
        or usage.total_tokens != prompt + completion
        or prompt < 0
        or completion < 0
    ):
        return None
    reason = answer.choices[-1].finish_reason
    if not reason or reason in BROKEN_OFF:
        return None
    glimpse = Glimpse()
    glimpse.model = answer.model
    glimpse.finish_reason = reason
    glimpse.chunks = 1
    glimpse.ended = True
    into, out = usage.prompt_tokens_details, usage.completion_tokens_details
    if into is None and out is None and answer.service_tier is None:
        glimpse.usage = Usage(input_tokens=prompt, output_tokens=completion)
    else:
        glimpse.usage = detailed(prompt, completion, into, out, answer.service_tier)
    # Not `answer.timed`, as nearly every answer comes by here.
    if (
        answer.metrics is not NOTHING
        or answer.timings is not NOTHING
        or answer.time_info is not NOTHING
        or answer.eval_duration is not NOTHING
        or usage.queue_time is not NOTHING
    ):
        glimpse.engine = engine_times.read(body)
    return glimpse


def _full_glance(body: bytes) -> Glimpse:
    glimpse = Glimpse()
    try:
        seen = _SEEN.decode(body)
        full = _FULL.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        glimpse.failure = Failure(
            kind=FailureKind.BAD_ANSWER, message="the upstream's answer is not a completion"
        )
        return glimpse
    if is_error(seen.error, seen.object):
        glimpse.failure = failure_of(200, [], body)
        return glimpse
    if not seen.choices:
        glimpse.failure = Failure(kind=FailureKind.EMPTY, message="the upstream's answer has no choices")
        return glimpse
    glimpse.model = full.model or ""
    glimpse.finish_reason = next(
        (choice.finish_reason for choice in reversed(seen.choices) if choice.finish_reason), ""
    )
    if glimpse.finish_reason in BROKEN_OFF:
        glimpse.failure = broken_off(glimpse.finish_reason)
    glimpse.usage = _usage(full)
    if full.timed or (full.usage is not NOTHING and _GROQ_MARK in bytes(full.usage)):
        glimpse.engine = engine_times.read(body)
    glimpse.chunks = 1 if any(_has_content(choice) for choice in full.choices or ()) else 0
    glimpse.ended = glimpse.failure is None
    return glimpse


def broken_off(reason: str) -> Failure:
    """The failure that a finish reason of `BROKEN_OFF` stands for."""
    return Failure(
        kind=BROKEN_OFF[reason], message=f"the upstream broke its answer off ({reason})", code=reason
    )


def _usage(full: _Full) -> Usage | None:
    usage = read_usage(full.usage, full.service_tier)
    if usage is None and full.x_groq is not None:
        usage = read_usage(full.x_groq.usage)
    if usage is None:
        for choice in full.choices or ():  # Moonshot
            usage = read_usage(choice.usage) or usage
    return usage


def _has_content(choice: _ChoiceParts) -> bool:
    if bytes(choice.text) not in _EMPTY:
        return True
    fragment = choice.delta or choice.message
    if fragment is None:
        return False
    return any(
        bytes(value) not in _EMPTY
        for value in (
            fragment.content,
            fragment.reasoning_content,
            fragment.reasoning,
            fragment.refusal,
            fragment.tool_calls,
            fragment.function_call,
            fragment.audio,
        )
    )


def _joined(parts: list[bytes]) -> bytes:
    return b"".join(part + b"\n\n" for part in parts if part)
