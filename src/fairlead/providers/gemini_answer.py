"""Gemini's answers, whole and streamed, in neutral form.

A stream's chunks are whole answers that follow one another, so both ways read
parts with the same code. There is no end mark: a stream is whole when its
candidates have finish reasons, and the caller sees the connection's end.

Function calls have ids only from newer models; the others get one derived from
the answer's id and the call's place in it, which is the same however the
stream is split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import gemini_wire as wire
from fairlead.providers.anthropic_answer import date_of
from fairlead.providers.chat import (
    Answer,
    Begin,
    Choice,
    Event,
    Finish,
    FinishReason,
    Part,
    ReasoningDelta,
    ReasoningPart,
    StreamError,
    TextDelta,
    TextPart,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.gemini_errors import failure_of
from fairlead.providers.gemini_request import PROVIDER
from fairlead.providers.opaque import seal
from fairlead.providers.openai_sse import EventBuffer, data_of, events
from fairlead.providers.raw import present, text_of
from fairlead.providers.tier import tier_of
from fairlead.types import Failure, FailureKind, Headers, Usage

_response_decoder: Final = msgspec.json.Decoder(wire.Response)

_FINISH: Final = {
    "STOP": FinishReason.STOP,
    "FINISH_REASON_UNSPECIFIED": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.PAUSE,
}
"""All others (SAFETY, RECITATION, LANGUAGE, BLOCKLIST, PROHIBITED_CONTENT, SPII, IMAGE_SAFETY, OTHER, ...)
say that Google held an answer back."""

_BROKEN: Final = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "TOO_MANY_TOOL_CALLS",
        "UNEXPECTED_TOOL_CALL",
    }
)
"""The model's output was unusable: another try, or another model, may do better."""


def usage_of(usage: wire.UsageMetadata | None) -> Usage | None:
    """Prompt counts include cached tokens; thoughts are counted apart and are output."""
    if usage is None:
        return None
    return Usage(
        input_tokens=usage.prompt_token_count + usage.tool_use_prompt_token_count,
        output_tokens=usage.candidates_token_count + usage.thoughts_token_count,
        cache_read_tokens=usage.cached_content_token_count,
        reasoning_tokens=usage.thoughts_token_count,
        audio_input_tokens=_of("AUDIO", usage.prompt_tokens_details)
        + _of("AUDIO", usage.tool_use_prompt_tokens_details),
        audio_output_tokens=_of("AUDIO", usage.candidates_tokens_details),
        cache_read_audio_tokens=_of("AUDIO", usage.cache_tokens_details),
        image_input_tokens=_of("IMAGE", usage.prompt_tokens_details),
        image_output_tokens=_of("IMAGE", usage.candidates_tokens_details),
        service_tier=tier_of(usage.service_tier, usage.traffic_type),
    )


def _of(modality: str, details: list[wire.ModalityTokens] | None) -> int:
    return sum(detail.token_count for detail in details or () if detail.modality == modality)


class _Reported(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    usage_metadata: wire.UsageMetadata | None = None


_reported_decoder: Final = msgspec.json.Decoder(_Reported)


def reported(body: bytes) -> Usage | None:
    """The usage of an answer that holds what cannot be used."""
    try:
        return usage_of(_reported_decoder.decode(body).usage_metadata)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def decode(body: bytes, headers: Headers) -> Answer:
    """A whole 200 answer. A blocked prompt is an empty answer that the content filter ended.

    Raises:
        BadUpstreamAnswer: it is no answer, holds nothing, or holds what cannot be translated.
    """
    response = _decoded(body)
    if response.error is not None:
        raise BadUpstreamAnswer(failure_of(response.error, 200).message)
    if _is_blocked(response):
        choices: tuple[Choice, ...] = (Choice(index=0, parts=(), finish=FinishReason.CONTENT_FILTER),)
    elif response.candidates:
        choices = tuple(_choice(candidate, response) for candidate in response.candidates)
    else:
        raise BadUpstreamAnswer("the answer has no candidates")
    return Answer(
        id=response.response_id,
        model=response.model_version,
        created=_created(response.create_time) or date_of(headers),
        choices=choices,
        usage=usage_of(response.usage_metadata),
    )


def _decoded(data: bytes) -> wire.Response:
    try:
        return _response_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadUpstreamAnswer(f"the answer is not Gemini's: {error}") from error


def _is_blocked(response: wire.Response) -> bool:
    feedback = response.prompt_feedback
    return not response.candidates and feedback is not None and feedback.block_reason is not None


def _created(text: str | None) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp()) if text else 0
    except ValueError:
        return 0


def _choice(candidate: wire.Candidate, response: wire.Response) -> Choice:
    reason = candidate.finish_reason
    if reason is None:
        raise BadUpstreamAnswer("a candidate has no finishReason")
    if reason in _BROKEN:
        raise BadUpstreamAnswer(f"the model's output was unusable ({reason})")
    parts: list[Part] = []
    calls = _Calls(response.response_id, candidate.index)
    for piece in _pieces(candidate, calls):
        match piece, parts[-1] if parts else None:
            # Neighbouring pieces of one kind are one text; a chunk's borders mean nothing.
            case TextPart(text=text), TextPart(text=before):
                parts[-1] = TextPart(text=before + text)
            case ReasoningPart(text=str(text), redacted=None), ReasoningPart(text=before, redacted=None):
                parts[-1] = ReasoningPart(text=before + text)
            case _:
                parts.append(piece)
    return Choice(index=candidate.index, parts=tuple(parts), finish=_finish(reason, calls))


def _finish(reason: str, calls: _Calls) -> FinishReason:
    finish = _FINISH.get(reason, FinishReason.CONTENT_FILTER)
    return FinishReason.TOOL_CALLS if finish is FinishReason.STOP and calls.count else finish


class _Calls:
    """Counts the function calls of one candidate and gives them ids."""

    __slots__ = ("_answer_id", "_candidate", "count")

    def __init__(self, answer_id: str, candidate: int) -> None:
        self._answer_id = answer_id
        self._candidate = candidate
        self.count = 0

    def next_id(self, call: wire.FunctionCall) -> str:
        position = self.count
        self.count += 1
        if call.id:
            return call.id
        # Without the answer's id the call itself must tell calls of different turns apart.
        seed = self._answer_id or f"{call.name} {text_of(call.args)}"
        digest = hashlib.sha256(f"{seed} {self._candidate} {position}".encode()).hexdigest()
        return f"call_{digest[:24]}"


def _pieces(candidate: wire.Candidate, calls: _Calls) -> Iterator[TextPart | ReasoningPart | ToolCallPart]:
    """The parts of a candidate. A signature on a text goes in front of it, as sealed reasoning."""
    for part in (candidate.content.parts if candidate.content is not None else None) or ():
        signature = part.thought_signature
        if part.function_call is not None:
            call = part.function_call
            yield ToolCallPart(
                id=calls.next_id(call),
                name=call.name,
                arguments=text_of(call.args),
                signature=None if signature is None else seal(PROVIDER, signature),
            )
            continue
        if signature is not None:
            yield ReasoningPart(redacted=seal(PROVIDER, signature))
        if part.thought:
            if part.text:
                yield ReasoningPart(text=part.text)
        elif part.text is not None:
            if part.text:
                yield TextPart(text=part.text)
        elif _untranslatable(part):
            raise BadUpstreamAnswer("the answer holds a part that cannot be translated")


def _untranslatable(part: wire.Part) -> bool:
    if part.inline_data is not None or part.file_data is not None:
        return True
    return any(
        present(raw) is not None for raw in (part.executable_code, part.code_execution_result, part.tool_call)
    )


class GeminiStreamDecoder:
    """Turns a `streamGenerateContent` stream (SSE) into events."""

    __slots__ = ("_begun", "_buffer", "_calls", "_ended", "_finished")

    def __init__(self) -> None:
        self._buffer = EventBuffer()
        self._begun = False
        self._ended = False
        self._calls: dict[int, _Calls] = {}
        self._finished: set[int] = set()

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        found: list[Event] = []
        block = self._buffer.feed(data)
        if not block:
            return found
        for event in events(block):
            payload = data_of(event)
            if payload and not self._ended:
                self._take(_decoded(payload), found)
        return found

    def _take(self, response: wire.Response, found: list[Event]) -> None:
        if response.error is not None:
            self._fail(failure_of(response.error, None), found)
            return
        if not self._begun:
            self._begun = True
            created = _created(response.create_time)
            found.append(Begin(id=response.response_id, model=response.model_version, created=created))
        if _is_blocked(response):
            found.append(Finish(reason=FinishReason.CONTENT_FILTER))
        for candidate in response.candidates or ():
            self._candidate(candidate, response.response_id, found)
            if self._ended:
                return
        usage = usage_of(response.usage_metadata)
        if usage is not None:
            found.append(UsageReport(usage=usage))

    def _candidate(self, candidate: wire.Candidate, answer_id: str, found: list[Event]) -> None:
        index = candidate.index
        calls = self._calls.get(index)
        if calls is None:
            calls = self._calls[index] = _Calls(answer_id, index)
        for piece in _pieces(candidate, calls):
            match piece:
                case TextPart(text=text):
                    found.append(TextDelta(text=text, choice=index))
                case ReasoningPart(text=text, redacted=redacted):
                    found.append(ReasoningDelta(text=text, redacted=redacted, choice=index))
                case ToolCallPart():
                    call = calls.count - 1
                    found.append(
                        ToolCallBegin(
                            index=call, id=piece.id, name=piece.name, choice=index, signature=piece.signature
                        )
                    )
                    found.append(ToolCallDelta(index=call, arguments=piece.arguments, choice=index))
        reason = candidate.finish_reason
        if reason is None or index in self._finished:
            return
        if reason in _BROKEN:
            message = f"the model's output was unusable ({reason})"
            self._fail(Failure(kind=FailureKind.BAD_ANSWER, message=message, code=reason), found)
            return
        self._finished.add(index)
        found.append(Finish(reason=_finish(reason, calls), choice=index))

    def _fail(self, failure: Failure, found: list[Event]) -> None:
        self._ended = True
        found.append(StreamError(failure=failure))
