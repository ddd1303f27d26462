"""A stream's events as the whole answer they make, and a whole answer as the events of a stream.

The two are opposites: `fold(unfold(answer))` is the answer, less what no event
carries (`system_fingerprint`, `service_tier`) and with texts that follow each
other joined. An answer is whole when its end mark was seen and every choice
has a finish reason; of any other stream there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from fairlead.providers.chat import (
    Answer,
    Begin,
    Choice,
    End,
    Event,
    Finish,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    StreamError,
    TextDelta,
    TextPart,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.types import Usage

_PIECE_CHARS: Final = 4096
"""The longest text of one event: a client need not take in a whole book at once."""


class _Open:
    """A part under way."""

    __slots__ = ("begin", "kind", "redacted", "signature", "texts")

    def __init__(self, kind: str, begin: ToolCallBegin | None = None) -> None:
        self.kind = kind
        self.begin = begin
        self.texts: list[str] = []
        self.signature: str | None = None
        self.redacted: str | None = None

    def part(self) -> Part:
        text = "".join(self.texts)
        if self.begin is not None:
            begin = self.begin
            return ToolCallPart(
                id=begin.id, name=begin.name, arguments=text or "{}", signature=begin.signature
            )
        if self.kind == "reasoning":
            return ReasoningPart(text=text, signature=self.signature, redacted=self.redacted)
        return RefusalPart(text=text) if self.kind == "refusal" else TextPart(text=text)


class _Choice:
    """One choice under way."""

    __slots__ = ("calls", "finish", "logprobs", "parts")

    def __init__(self) -> None:
        self.parts: list[_Open] = []
        self.calls: dict[int, _Open] = {}
        self.logprobs: list[msgspec.Raw] = []
        self.finish: Finish | None = None

    def text(self, kind: str, text: str) -> _Open:
        """Add to the last part when it is of this kind and not sealed, else begin one."""
        last = self.parts[-1] if self.parts else None
        if last is None or last.kind != kind or last.signature is not None or last.redacted is not None:
            last = _Open(kind)
            self.parts.append(last)
        last.texts.append(text)
        return last

    def reasoning(self, event: ReasoningDelta) -> None:
        if event.text:
            self.text("reasoning", event.text)
        if event.redacted is not None:
            part = _Open("reasoning")
            part.redacted = event.redacted
            part.signature = event.signature
            self.parts.append(part)
        elif event.signature is not None:
            self.text("reasoning", "").signature = event.signature


class Fold:
    """Takes the events of one stream."""

    def __init__(self) -> None:
        self._begin: Begin | None = None
        self._choices: dict[int, _Choice] = {}
        self._usage: Usage | None = None
        self._ended = False
        self._failed = False

    def add(self, events: Iterable[Event]) -> None:
        """Take the next events; what follows the end does not count."""
        for event in events:
            if self._ended or self._failed:
                return
            self._add(event)

    def answer(self) -> Answer | None:
        """The whole answer; None when the stream was none, or did not end well."""
        if self._failed or not self._ended or not self._choices:
            return None
        choices: list[Choice] = []
        for index, choice in sorted(self._choices.items()):
            if choice.finish is None:
                return None
            choices.append(
                Choice(
                    index=index,
                    parts=tuple(part.part() for part in choice.parts),
                    finish=choice.finish.reason,
                    stop_sequence=choice.finish.stop_sequence,
                    logprobs=_joined(choice.logprobs),
                )
            )
        begin = self._begin or Begin(id="", model="", created=0)
        return Answer(
            id=begin.id,
            model=begin.model,
            created=begin.created,
            choices=tuple(choices),
            usage=self._usage,
        )

    def _add(self, event: Event) -> None:
        match event:
            case TextDelta():
                choice = self._choice(event.choice)
                if event.text:
                    choice.text("text", event.text)
                if event.logprobs is not None:
                    choice.logprobs.append(event.logprobs)
            case ToolCallDelta():
                call = self._choice(event.choice).calls.get(event.index)
                if call is None:
                    self._failed = True  # arguments of a call that never began: something is missing
                else:
                    call.texts.append(event.arguments)
            case ReasoningDelta():
                self._choice(event.choice).reasoning(event)
            case RefusalDelta():
                self._choice(event.choice).text("refusal", event.text)
            case ToolCallBegin():
                choice = self._choice(event.choice)
                call = _Open("call", event)
                choice.calls[event.index] = call
                choice.parts.append(call)
            case Finish():
                self._choice(event.choice).finish = event
            case Begin():
                if self._begin is None:
                    self._begin = event
                    self._usage = event.usage or self._usage
            case UsageReport():
                self._usage = event.usage
            case StreamError():
                self._failed = True
            case End():
                self._ended = True

    def _choice(self, index: int) -> _Choice:
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice()
        return choice


def fold(events: Iterable[Event]) -> Answer | None:
    """The whole answer that the events make; None when they make none."""
    folding = Fold()
    folding.add(events)
    return folding.answer()


def unfold(answer: Answer) -> list[Event]:
    """The events of a stream that brings this answer, its usage before the end as every dialect wants it."""
    usage = answer.usage
    # Anthropic's first event counts the prompt; what is answered is counted at the end.
    begun = None if usage is None else msgspec.structs.replace(usage, output_tokens=0, reasoning_tokens=0)
    events: list[Event] = [Begin(id=answer.id, model=answer.model, created=answer.created, usage=begun)]
    for choice in answer.choices:
        events += _choice_events(choice)
    for choice in answer.choices:
        events.append(Finish(reason=choice.finish, choice=choice.index, stop_sequence=choice.stop_sequence))
    if usage is not None:
        events.append(UsageReport(usage=usage))
    events.append(End())
    return events


def _choice_events(choice: Choice) -> Iterator[Event]:
    index = choice.index
    logprobs = choice.logprobs
    calls = 0
    for part in choice.parts:
        match part:
            case TextPart():
                for piece in _pieces(part.text):
                    yield TextDelta(text=piece, choice=index, logprobs=logprobs)
                    logprobs = None
            case RefusalPart():
                for piece in _pieces(part.text):
                    yield RefusalDelta(text=piece, choice=index)
            case ReasoningPart():
                for piece in _pieces(part.text):
                    yield ReasoningDelta(text=piece, choice=index)
                if part.redacted is not None or part.signature is not None:
                    yield ReasoningDelta(signature=part.signature, redacted=part.redacted, choice=index)
            case ToolCallPart():
                yield ToolCallBegin(
                    index=calls, id=part.id, name=part.name, choice=index, signature=part.signature
                )
                for piece in _pieces(part.arguments):
                    yield ToolCallDelta(index=calls, arguments=piece, choice=index)
                calls += 1
            case _:
                raise AssertionError(f"an answer holds no {type(part).__name__}")
    if logprobs is not None:
        yield TextDelta(text="", choice=index, logprobs=logprobs)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE_CHARS):
        yield text[start : start + _PIECE_CHARS]


def _joined(found: list[msgspec.Raw]) -> msgspec.Raw | None:
    """Log probabilities of all pieces as those of the whole: their lists, one after the other."""
    if len(found) < 2:
        return found[0] if found else None
    whole: dict[str, Any] = {}
    for raw in found:
        for name, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
            if bytes(value).startswith(b"["):
                values = msgspec.json.decode(value, type=list[msgspec.Raw])
                kept = whole.get(name)
                whole[name] = [*kept, *values] if isinstance(kept, list) else values
            else:
                whole.setdefault(name, value)
    return msgspec.Raw(msgspec.json.encode(whole))
