"""Reading native Responses streams and answers in passing."""

from __future__ import annotations

import json

import pytest

from fairlead.providers.openai_responses_watch import ResponsesWatcher, glance
from fairlead.types import FailureKind, Usage


def event(kind: str, **fields: object) -> bytes:
    body = json.dumps({"type": kind} | fields, separators=(",", ":")).encode()
    return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"


def response(status: str, **fields: object) -> dict[str, object]:
    return {"object": "response", "status": status, "model": "m-1", "error": None, "usage": None} | fields


USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
DELTA = event("response.output_text.delta", delta='a "error" .delta" b')
START = [event("response.created", response=response("in_progress")),
         event("response.output_item.added", item={"type": "message"})]  # fmt: skip
STREAM = [*START, DELTA, DELTA, event("response.output_text.done", text="x"),
          event("response.completed", response=response("completed", usage=USAGE))]  # fmt: skip


def run(*pieces: bytes) -> tuple[ResponsesWatcher, bytes]:
    watcher = ResponsesWatcher()
    return watcher, b"".join([watcher.feed(piece) for piece in pieces])


def test_every_cut_relays_and_learns_the_same() -> None:
    stream = b"".join(STREAM)
    for position in range(len(stream) + 1):
        watcher, relayed = run(stream[:position], stream[position:])
        assert relayed == stream
        glimpse = watcher.glimpse
        assert (glimpse.chunks, glimpse.finish_reason, glimpse.model) == (2, "completed", "m-1")
        assert glimpse.usage == Usage(input_tokens=3, output_tokens=2)
        assert glimpse.ended


def test_an_incomplete_answer_tells_why() -> None:
    watcher, _ = run(
        event(
            "response.incomplete",
            response=response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
        )
    )
    assert (watcher.glimpse.finish_reason, watcher.glimpse.ended) == ("max_output_tokens", True)


@pytest.mark.parametrize(
    ("failing", "kind"),
    [
        (event("error", code="rate_limit_exceeded", message="slow", param=None), FailureKind.RATE_LIMITED),
        (event("error", error={"type": "insufficient_quota", "message": "x"}), FailureKind.QUOTA),
        (event("response.failed", response=response("failed", error={"code": "server_error"})),
         FailureKind.SERVER_ERROR),
        (event("response.failed", response=response("failed", error={"code": "invalid_prompt"})),
         FailureKind.CONTENT_POLICY),
        (event("response.failed", response=response("failed")), FailureKind.SERVER_ERROR),
        (event("response.cancelled", response=response("cancelled")), FailureKind.CUT),
        (b"data: garbage\n\n", FailureKind.BAD_ANSWER),
    ],
)  # fmt: skip
def test_a_failing_event_is_not_relayed(failing: bytes, kind: FailureKind) -> None:
    for pieces in ([*START, DELTA, failing, DELTA], [b"".join([*START, DELTA, failing, DELTA])]):
        watcher, relayed = run(*pieces)
        assert relayed == b"".join([*START, DELTA])
        assert watcher.glimpse.failure is not None
        assert watcher.glimpse.failure.kind is kind
        assert not watcher.glimpse.ended


def test_the_rest_is_what_came_of_an_unfinished_event() -> None:
    watcher, _ = run(STREAM[0], b"event: resp")
    assert watcher.rest() == b"event: resp"


def test_a_whole_answer_at_a_glance() -> None:
    glimpse = glance(json.dumps(response("completed", usage=USAGE, output=[{"type": "message"}])).encode())
    assert (glimpse.finish_reason, glimpse.ended, glimpse.chunks, glimpse.model) == (
        "completed",
        True,
        1,
        "m-1",
    )
    assert glimpse.usage == Usage(input_tokens=3, output_tokens=2)
    assert glance(json.dumps(response("queued")).encode()).ended


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", FailureKind.BAD_ANSWER),
        (b'{"error":{"message":"x","code":"server_error"}}', FailureKind.SERVER_ERROR),
        (json.dumps(response("failed", error={"code": "rate_limit_exceeded", "message": "x"})).encode(),
         FailureKind.RATE_LIMITED),
    ],
)  # fmt: skip
def test_a_200_that_is_no_answer_is_a_failure(body: bytes, kind: FailureKind) -> None:
    glimpse = glance(body)
    assert glimpse.failure is not None
    assert glimpse.failure.kind is kind
