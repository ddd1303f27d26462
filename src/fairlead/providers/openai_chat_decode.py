"""An upstream's chat stream as neutral events.

Engines differ most in tool calls: pieces without an index, without an id, all
calls under index 0, arguments as objects, a name that comes late. Calls are
therefore told apart by index and id together, and numbered anew.
"""

from __future__ import annotations

from typing import Final

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers import engine_times
from fairlead.providers.chat import (
    Begin,
    End,
    Event,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    UsageReport,
)
from fairlead.providers.openai_chat_answer import (
    WireAnswer,
    WireCall,
    WireChoice,
    WireContent,
    arguments_of,
    call_id_of,
    decode_wire,
    finish_of,
    stem_of,
)
from fairlead.providers.openai_errors import failure_in_stream, is_error
from fairlead.providers.openai_sse import DONE, EventBuffer, data_of, events, named
from fairlead.providers.openai_usage import read_usage
from fairlead.providers.openai_watch import BROKEN_OFF, broken_off
from fairlead.providers.raw import present
from fairlead.types import Failure

_MAX_CALLS: Final = 1024
"""Tool calls of one choice; more is no answer."""


class _Call:
    """One tool call under way."""

    __slots__ = ("begun", "id", "index", "key", "name", "pending", "signature")

    def __init__(self, key: int | None, index: int) -> None:
        self.key = key
        self.index = index
        self.id = ""
        self.name = ""
        self.signature: str | None = None
        self.pending = ""
        """Arguments that came before the name."""
        self.begun = False


class _Calls:
    """The tool calls of one choice."""

    __slots__ = ("_calls", "_choice")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._calls: list[_Call] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, piece: WireCall, stem: str, out: list[Event]) -> None:
        name = (piece.function.name if piece.function else None) or ""
        call = self._call(piece, name)
        if piece.id and not call.id:
            call.id = piece.id
        if name and not call.name:
            call.name = name
        if piece.extra_content and piece.extra_content.google:
            call.signature = piece.extra_content.google.thought_signature or call.signature
        arguments = arguments_of(piece.function.arguments) if piece.function else ""
        if not call.begun:
            arguments = call.pending + arguments
            if not call.name:
                call.pending = arguments
                return
            call.begun = True
            out.append(
                ToolCallBegin(
                    index=call.index,
                    id=call_id_of(call.id, stem, self._choice, call.index),
                    name=call.name,
                    choice=self._choice,
                    signature=call.signature,
                )
            )
        if arguments:
            out.append(ToolCallDelta(index=call.index, arguments=arguments, choice=self._choice))

    def _call(self, piece: WireCall, name: str) -> _Call:
        """The call that a piece belongs to, or a new one."""
        known = [call for call in self._calls if piece.index is None or call.key == piece.index]
        if known:
            latest = known[-1]
            # Another id together with a name is another call, even under the same index (Ollama);
            # an id that changes from piece to piece without a name is not.
            another = bool(piece.id and latest.id and piece.id != latest.id and name)
            if not another:
                return latest
            same_id = [call for call in known if call.id == piece.id]
            if same_id:
                return same_id[-1]
        if len(self._calls) >= _MAX_CALLS:
            raise BadUpstreamAnswer("the upstream's answer has too many tool calls")
        call = _Call(piece.index, len(self._calls))
        self._calls.append(call)
        return call


class ChatDecoder:
    """Decodes the stream of one request."""

    __slots__ = ("_begun", "_buffer", "_calls", "_finished", "_over", "_stem")

    def __init__(self) -> None:
        self._buffer = EventBuffer()
        self._begun = False
        self._over = False
        self._stem = ""
        self._calls: dict[int, _Calls] = {}
        self._finished: set[int] = set()

    def feed(self, data: bytes) -> list[Event]:
        """See `StreamDecoder.feed`."""
        block = self._buffer.feed(data)
        out: list[Event] = []
        if block:
            for event in events(block):
                if self._over:
                    break
                self._event(event, out)
        return out

    def _event(self, event: bytes, out: list[Event]) -> None:
        data = data_of(event)
        if not data:
            return
        if data.strip() == DONE:
            self._over = True
            out.append(End())
            return
        if len(data) != len(event) - 6 and named(event, b"error"):  # more than one line of data
            self._fail(failure_in_stream(data), out)
            return
        wire = decode_wire(data)
        if is_error(wire.error, wire.object):
            self._fail(failure_in_stream(data), out)
            return
        self._chunk(wire, data, out)

    def _fail(self, failure: Failure, out: list[Event]) -> None:
        self._over = True
        out.append(StreamError(failure=failure))

    def _chunk(self, wire: WireAnswer, data: bytes, out: list[Event]) -> None:
        choices = wire.choices or []
        # Azure opens with a chunk that has neither id nor choices, only what its filter says.
        if not self._begun and (wire.id or choices):
            self._begun = True
            self._stem = stem_of(wire)
            out.append(Begin(id=wire.id or "", model=wire.model or "", created=int(wire.created or 0)))
        usage = read_usage(wire.usage, wire.service_tier)
        if usage is None and wire.x_groq is not None:
            usage = read_usage(wire.x_groq.usage)
        for choice in choices:
            if choice.finish_reason in BROKEN_OFF:
                self._fail(broken_off(choice.finish_reason), out)
                return
            self._choice(choice, out)
            usage = usage or read_usage(choice.usage)
        if usage is not None:
            out.append(UsageReport(usage=usage, engine=engine_times.read(data)))

    def _choice(self, choice: WireChoice, out: list[Event]) -> None:
        index = choice.index
        if index in self._finished:
            return
        delta = choice.delta or choice.message or WireContent(content=choice.text)
        self._reasoning(delta, index, out)
        logprobs = present(choice.logprobs)
        if delta.content or (logprobs is not None and delta.content is not None):
            out.append(
                TextDelta(
                    text=delta.content or "",
                    choice=index,
                    logprobs=None if logprobs is None else logprobs.copy(),
                )
            )
        if delta.refusal:
            out.append(RefusalDelta(text=delta.refusal, choice=index))
        for piece in delta.tool_calls or ():
            self._calls.setdefault(index, _Calls(index)).feed(piece, self._stem, out)
        if choice.finish_reason:
            self._finished.add(index)
            reason, stop_sequence = finish_of(
                choice.finish_reason, choice.stop_reason, called=bool(self._calls.get(index))
            )
            out.append(Finish(reason=reason, choice=index, stop_sequence=stop_sequence))

    def _reasoning(self, delta: WireContent, index: int, out: list[Event]) -> None:
        """Plain text where there is some: `reasoning_details` repeats it, and adds signatures."""
        text = delta.reasoning_content or delta.reasoning or ""
        if text:
            out.append(ReasoningDelta(text=text, choice=index))
        for detail in delta.reasoning_details or ():
            if not text and detail.text:
                out.append(ReasoningDelta(text=detail.text, choice=index))
            if detail.signature or detail.data:
                out.append(ReasoningDelta(signature=detail.signature, redacted=detail.data, choice=index))
