"""A whole `response` as its stream, and a stream's whole `response`.

Nothing is translated: the stream's last event holds the response as it is, and
items of any kind pass through. Only the deltas of texts and arguments are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from fairlead.errors import BadUpstreamAnswer
from fairlead.providers.openai_responses_stream import frame
from fairlead.providers.openai_sse import EventBuffer, data_of, events

Json = dict[str, Any]

_ENDS: Final = {"completed": "response.completed", "incomplete": "response.incomplete"}


class _Last(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
    response: msgspec.Raw


_last: Final = msgspec.json.Decoder(_Last)
_response: Final = msgspec.json.Decoder(Json)


def whole_of_stream(data: bytes) -> bytes | None:
    """The response of a stream's last event, byte for byte; None when it did not end well."""
    try:
        for event in reversed(events(EventBuffer().feed(data))):
            payload = data_of(event)
            if payload and msgspec.json.decode(payload, type=_Kind).type in _ENDS.values():
                return bytes(_last.decode(payload).response)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, BadUpstreamAnswer):
        return None
    return None


def stream_of_whole(body: bytes) -> bytes | None:
    """The stream that brings this response; None when it is none that has ended."""
    try:
        response = _response.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    end = _ENDS.get(response.get("status", ""))
    output = response.get("output")
    if end is None or not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        return None
    begun = response | {"status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    frames: list[tuple[str, Json]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for index, item in enumerate(output):
        frames += _item_frames(index, item)
    frames.append((end, {"response": msgspec.Raw(body)}))
    return b"".join(
        frame(kind, fields | {"sequence_number": number}) for number, (kind, fields) in enumerate(frames)
    )


def _item_frames(index: int, item: Json) -> Iterator[tuple[str, Json]]:
    at: Json = {"output_index": index}
    named: Json = {"item_id": item.get("id", ""), **at}
    yield "response.output_item.added", at | {"item": _as_begun(item)}
    if item.get("type") == "function_call":
        arguments = {"name": item.get("name"), "arguments": item.get("arguments", "")}
        yield "response.function_call_arguments.delta", named | {"delta": item.get("arguments", "")}
        yield "response.function_call_arguments.done", named | arguments
    for place, field in (("summary_index", "summary"), ("content_index", "content")):
        parts = item.get(field)
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            if isinstance(part, dict):
                yield from _part_frames(named | {place: number}, part, summary=field == "summary")
    yield "response.output_item.done", at | {"item": item}


def _part_frames(at: Json, part: Json, *, summary: bool) -> Iterator[tuple[str, Json]]:
    group = "response.reasoning_summary_part" if summary else "response.content_part"
    empty = part | ({"refusal": ""} if "refusal" in part else {"text": ""})
    if "annotations" in part:
        empty |= {"annotations": [], "logprobs": []}
    yield f"{group}.added", at | {"part": empty}
    match part.get("type"):
        case "output_text":
            logprobs = {"logprobs": part.get("logprobs") or []}
            yield "response.output_text.delta", at | {"delta": part.get("text", "")} | logprobs
            for number, annotation in enumerate(part.get("annotations") or ()):
                fields = at | {"annotation_index": number, "annotation": annotation}
                yield "response.output_text.annotation.added", fields
            yield "response.output_text.done", at | {"text": part.get("text", "")} | logprobs
        case "refusal":
            yield "response.refusal.delta", at | {"delta": part.get("refusal", "")}
            yield "response.refusal.done", at | {"refusal": part.get("refusal", "")}
        case "reasoning_text":
            yield "response.reasoning_text.delta", at | {"delta": part.get("text", "")}
            yield "response.reasoning_text.done", at | {"text": part.get("text", "")}
        case "summary_text":
            yield "response.reasoning_summary_text.delta", at | {"delta": part.get("text", "")}
            yield "response.reasoning_summary_text.done", at | {"text": part.get("text", "")}
    yield f"{group}.done", at | {"part": part}


def _as_begun(item: Json) -> Json:
    """An item before its content came."""
    emptied: Json = {name: [] for name in ("content", "summary") if isinstance(item.get(name), list)}
    if item.get("type") == "function_call":
        return item | {"arguments": "", "status": "in_progress"}
    return item | emptied | ({"status": "in_progress"} if "status" in item else {})


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
