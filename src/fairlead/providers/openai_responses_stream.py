"""Neutral events as a Responses stream: typed events, numbered, each with an `event:` line.

Text and reasoning items are closed as soon as something else follows; tool
calls stay open until the answer finishes, because an upstream may write the
arguments of several in turns. There is no `[DONE]`.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from fairlead.providers.chat import (
    Begin,
    ChatRequest,
    End,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    StreamError,
    TextDelta,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.openai_errors import ErrorDetail, failure_detail
from fairlead.providers.openai_responses_answer import (
    INCOMPLETE,
    Json,
    as_summary,
    call_item,
    item_id_of,
    logprobs_of,
    message_item,
    reasoning_item,
    response_fields,
    text_part,
)
from fairlead.types import Failure, FailureKind, Usage

_encode: Final = msgspec.json.Encoder().encode

_ERROR_CODES: Final = {
    FailureKind.RATE_LIMITED: "rate_limit_exceeded",
    FailureKind.CONTENT_POLICY: "invalid_prompt",
    FailureKind.CONTEXT_WINDOW: "invalid_prompt",
    FailureKind.INVALID_REQUEST: "invalid_prompt",
}
"""`response.error.code` knows few words; the rest is `server_error`."""


def frame(kind: str, fields: Json) -> bytes:
    """One typed event."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind} | fields))


def error_event_frame(detail: ErrorDetail, sequence_number: int) -> bytes:
    """The `error` event: flat as its type declares it, and with the `error` object SDKs raise on."""
    return frame(
        "error",
        {
            "code": detail.code,
            "message": detail.message,
            "param": detail.param,
            "sequence_number": sequence_number,
            "error": detail,
        },
    )


class _Part:
    """The content part that is being written."""

    __slots__ = ("index", "kind", "logprobs", "texts")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self.texts: list[str] = []
        self.logprobs: list[msgspec.Raw] = []


class _Item:
    """A message or a reasoning item that is being written."""

    __slots__ = ("content", "id", "index", "kind", "part")

    def __init__(self, kind: Literal["message", "reasoning"], index: int, item_id: str) -> None:
        self.kind = kind
        self.index = index
        self.id = item_id
        self.content: list[Json] = []
        self.part: _Part | None = None


class _Call:
    """A tool call that is being written."""

    __slots__ = ("arguments", "begin", "id", "index")

    def __init__(self, begin: ToolCallBegin, index: int, item_id: str) -> None:
        self.begin = begin
        self.index = index
        self.id = item_id
        self.arguments: list[str] = []

    def whole(self, arguments: str) -> ToolCallPart:
        return ToolCallPart(
            id=self.begin.id, name=self.begin.name, arguments=arguments, signature=self.begin.signature
        )


class ResponsesEncoder:
    """Encodes the stream of one request."""

    __slots__ = (
        "_calls", "_created", "_frames", "_item", "_model", "_output", "_over",
        "_reason", "_request", "_request_id", "_sequence", "_summary", "_usage",
    )  # fmt: skip

    def __init__(self, request: ChatRequest, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._summary = as_summary(request)
        self._sequence = 0
        self._created = 0
        self._model = ""
        self._frames: list[bytes] = []
        self._output: list[Json] = []
        """Items by their index; one under way is there as it began."""
        self._item: _Item | None = None
        self._calls: dict[int, _Call] = {}
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._over = False

    def encode(self, events: list[Event]) -> bytes:
        """See `StreamEncoder.encode`."""
        for event in events:
            if self._over:
                break
            self._event(event)
        frames = b"".join(self._frames)
        self._frames.clear()
        return frames

    def _event(self, event: Event) -> None:
        if isinstance(event, StreamError):
            self._fail(event.failure)
            return
        if isinstance(event, UsageReport):
            self._usage = event.usage
            return
        if not self._sequence:
            self._begin(event if isinstance(event, Begin) else Begin(id="", model="", created=0))
        match event:
            case TextDelta():
                self._text(event)
            case RefusalDelta():
                item, part = self._open("message", "refusal")
                part.texts.append(event.text)
                self._send("response.refusal.delta", _at(item, part) | {"delta": event.text})
            case ReasoningDelta():
                self._reasoning(event)
            case ToolCallBegin():
                self._call_begin(event)
            case ToolCallDelta():
                self._call_delta(event)
            case Finish():
                self._reason = event.reason
                self._close_all()
            case End():
                self._end()
            case Begin():
                pass

    def _send(self, kind: str, fields: Json) -> None:
        self._frames.append(frame(kind, {"sequence_number": self._sequence} | fields))
        self._sequence += 1

    def _response(self, status: str, *, incomplete: str | None = None, error: Json | None = None) -> Json:
        fields = response_fields(
            self._request,
            request_id=self._request_id,
            created=self._created,
            model=self._model,
            status=status,
            output=self._output,
            usage=None if status == "in_progress" else self._usage,
            incomplete=incomplete,
            error=error,
        )
        return {"response": fields}

    def _begin(self, event: Begin) -> None:
        self._created = event.created
        self._model = event.model
        self._usage = event.usage or self._usage
        self._send("response.created", self._response("in_progress"))
        self._send("response.in_progress", self._response("in_progress"))

    def _end(self) -> None:
        self._close_all()
        self._over = True
        incomplete = INCOMPLETE.get(self._reason) if self._reason is not None else None
        if incomplete is None:
            self._send("response.completed", self._response("completed"))
        else:
            self._send("response.incomplete", self._response("incomplete", incomplete=incomplete))

    def _fail(self, failure: Failure) -> None:
        self._over = True
        detail = failure_detail(failure)
        if self._sequence:
            error: Json = {
                "code": _ERROR_CODES.get(failure.kind, "server_error"),
                "message": detail.message,
            }
            self._send("response.failed", self._response("failed", error=error))
        self._frames.append(error_event_frame(detail, self._sequence))

    # --- text and reasoning ---------------------------------------------------------------------

    def _text(self, event: TextDelta) -> None:
        item, part = self._open("message", "output_text")
        logprobs = logprobs_of(event.logprobs) if event.logprobs is not None else []
        part.texts.append(event.text)
        part.logprobs += logprobs
        fields = {"delta": event.text, "logprobs": logprobs}
        self._send("response.output_text.delta", _at(item, part) | fields)

    def _reasoning(self, event: ReasoningDelta) -> None:
        if event.text:
            item, part = self._open("reasoning", "summary_text" if self._summary else "reasoning_text")
            part.texts.append(event.text)
            if self._summary:
                fields = _at_summary(item, part) | {"delta": event.text}
                self._send("response.reasoning_summary_text.delta", fields)
            else:
                self._send("response.reasoning_text.delta", _at(item, part) | {"delta": event.text})
        if event.redacted is not None:
            # A block of its own.
            self._close_item()
            self._open_item("reasoning")
            self._close_item(redacted=event.redacted)
        elif event.signature is not None:
            if self._item is None or self._item.kind != "reasoning":
                self._close_item()
                self._open_item("reasoning")
            self._close_item(signature=event.signature)

    def _open(self, kind: Literal["message", "reasoning"], part_kind: str) -> tuple[_Item, _Part]:
        """The item and part to write on, begun when another one was under way."""
        item = self._item
        if item is None or item.kind != kind:
            self._close_item()
            item = self._open_item(kind)
        part = item.part
        if part is None or part.kind != part_kind:
            self._close_part(item)
            part = item.part = _Part(part_kind, len(item.content))
            if part_kind == "summary_text":
                fields = _at_summary(item, part) | {"part": _part_fields(part, "")}
                self._send("response.reasoning_summary_part.added", fields)
            else:
                self._send("response.content_part.added", _at(item, part) | {"part": _part_fields(part, "")})
        return item, part

    def _open_item(self, kind: Literal["message", "reasoning"]) -> _Item:
        index = len(self._output)
        item_id = item_id_of("msg" if kind == "message" else "rs", self._request_id, index)
        item = self._item = _Item(kind, index, item_id)
        begun: Json = (
            message_item(item_id, [], "in_progress")
            if kind == "message"
            else reasoning_item(item_id, ReasoningPart(), as_summary=self._summary)
        )
        self._output.append(begun)
        self._send("response.output_item.added", {"output_index": index, "item": begun})
        return item

    def _close_part(self, item: _Item) -> None:
        part = item.part
        if part is None:
            return
        item.part = None
        text = "".join(part.texts)
        fields = _part_fields(part, text)
        item.content.append(fields)
        match part.kind:
            case "output_text":
                done: Json = {"text": text, "logprobs": part.logprobs}
                self._send("response.output_text.done", _at(item, part) | done)
            case "refusal":
                self._send("response.refusal.done", _at(item, part) | {"refusal": text})
            case "reasoning_text":
                self._send("response.reasoning_text.done", _at(item, part) | {"text": text})
            case _:
                at = _at_summary(item, part)
                self._send("response.reasoning_summary_text.done", at | {"text": text})
                self._send("response.reasoning_summary_part.done", at | {"part": fields})
                return
        self._send("response.content_part.done", _at(item, part) | {"part": fields})

    def _close_item(self, *, signature: str | None = None, redacted: str | None = None) -> None:
        item = self._item
        if item is None:
            return
        self._close_part(item)
        self._item = None
        if item.kind == "message":
            status = "incomplete" if self._reason in INCOMPLETE else "completed"
            done = message_item(item.id, item.content, status)
        else:
            text = "".join(str(part["text"]) for part in item.content)
            block = ReasoningPart(text=text, signature=signature, redacted=redacted)
            done = reasoning_item(item.id, block, as_summary=self._summary)
        self._output[item.index] = done
        self._send("response.output_item.done", {"output_index": item.index, "item": done})

    # --- tool calls -----------------------------------------------------------------------------

    def _call_begin(self, event: ToolCallBegin) -> None:
        self._close_item()
        index = len(self._output)
        call = _Call(event, index, item_id_of("fc", self._request_id, index))
        self._calls[event.index] = call
        begun = call_item(call.id, call.whole(""), "in_progress")
        self._output.append(begun)
        self._send("response.output_item.added", {"output_index": index, "item": begun})

    def _call_delta(self, event: ToolCallDelta) -> None:
        call = self._calls.get(event.index)
        if call is None:
            return
        call.arguments.append(event.arguments)
        self._send(
            "response.function_call_arguments.delta",
            {"item_id": call.id, "output_index": call.index, "delta": event.arguments},
        )

    def _close_all(self) -> None:
        self._close_item()
        for call in self._calls.values():
            arguments = "".join(call.arguments) or "{}"
            done = call_item(call.id, call.whole(arguments), "completed")
            self._output[call.index] = done
            at: Json = {"item_id": call.id, "output_index": call.index}
            self._send(
                "response.function_call_arguments.done",
                at | {"name": call.begin.name, "arguments": arguments},
            )
            self._send("response.output_item.done", {"output_index": call.index, "item": done})
        self._calls.clear()


def _at(item: _Item, part: _Part) -> Json:
    return {"item_id": item.id, "output_index": item.index, "content_index": part.index}


def _at_summary(item: _Item, part: _Part) -> Json:
    return {"item_id": item.id, "output_index": item.index, "summary_index": part.index}


def _part_fields(part: _Part, text: str) -> Json:
    if part.kind == "output_text":
        return text_part(text, part.logprobs)
    if part.kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": part.kind, "text": text}
