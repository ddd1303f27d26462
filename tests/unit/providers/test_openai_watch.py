"""Reading same-dialect chat streams and answers in passing."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairlead.providers import openai_sse
from fairlead.providers.openai_watch import ChatWatcher, glance
from fairlead.types import FailureKind, Usage

DONE = b"data: [DONE]\n\n"


def chunk(delta: object = None, finish: str | None = None, **more: object) -> bytes:
    choices = (
        [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    )
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
            "choices": choices} | more  # fmt: skip
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
STREAM = [
    ROLE,
    chunk({"content": "Hel"}),
    chunk({"content": 'lo "finish_reason":null [DONE] data: "error"'}),
    chunk({}, "stop"),
    chunk(usage=USAGE),
    DONE,
]


def run(pieces: list[bytes], *, strip: bool = False) -> tuple[ChatWatcher, bytes]:
    watcher = ChatWatcher(strip_usage=strip)
    relayed = b""
    for piece in pieces:
        out = watcher.feed(piece)
        assert out.endswith(b"\n\n") or not out
        relayed += out
    return watcher, relayed


def test_a_stream_is_relayed_as_it_came_and_understood() -> None:
    watcher, relayed = run(STREAM)
    assert relayed == b"".join(STREAM)
    glimpse = watcher.glimpse
    assert (glimpse.chunks, glimpse.finish_reason, glimpse.model, glimpse.ended) == (2, "stop", "m-1", True)
    assert glimpse.usage == Usage(input_tokens=3, output_tokens=2)
    assert glimpse.failure is None


def test_usage_that_only_we_asked_for_is_left_out() -> None:
    watcher, relayed = run(STREAM, strip=True)
    assert relayed == b"".join(STREAM[:4]) + DONE
    assert watcher.glimpse.usage == Usage(input_tokens=3, output_tokens=2)


def test_an_opening_chunk_without_choices_is_not_usage() -> None:
    azure = chunk(
        prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {"error": {"code": 1}}}]
    )
    _, relayed = run([azure, *STREAM], strip=True)
    assert relayed == azure + b"".join(STREAM[:4]) + DONE


@pytest.mark.parametrize("strip", [False, True])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_every_cut_relays_and_learns_the_same(strip: bool, ending: bytes) -> None:
    stream = b"".join(STREAM).replace(b"\n", ending)
    _, expected = run(STREAM, strip=strip)
    for position in range(len(stream) + 1):
        watcher, relayed = run([stream[:position], stream[position:]], strip=strip)
        assert relayed == expected
        glimpse = watcher.glimpse
        assert (glimpse.chunks, glimpse.finish_reason, glimpse.ended) == (2, "stop", True)
        assert glimpse.usage == Usage(input_tokens=3, output_tokens=2)


EVENTS = st.lists(
    st.sampled_from(
        [
            *STREAM[:5],
            b": ping\n\n",
            chunk({"content": None, "reasoning_content": "x"}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
            chunk({"content": "x"}, "length", usage=USAGE),
            b'event: error\ndata: {"message":"x"}\n\n',
            b'data: {"error":{"message":"boom","code":500}}\n\n',
            b"data: garbage\n\n",
            b"\n",
            DONE,
        ]
    ),
    max_size=8,
)


@example([STREAM[1], b"\n", ROLE], [173], False)
@given(EVENTS, st.lists(st.integers(0, 2000), max_size=6), st.booleans())
def test_any_stream_in_any_pieces_gives_the_same(parts: list[bytes], at: list[int], strip: bool) -> None:
    stream = b"".join(parts)
    edges = [0, *sorted(min(position, len(stream)) for position in at), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(edges)]
    whole, relayed_whole = run([stream], strip=strip)
    cut, relayed_cut = run(pieces, strip=strip)
    seen = [
        (glimpse.chunks, glimpse.finish_reason, glimpse.usage, glimpse.failure, glimpse.ended, glimpse.model)
        for glimpse in (whole.glimpse, cut.glimpse)
    ]
    assert seen[0] == seen[1]
    # Blank lines between events say nothing.
    assert relayed_whole.replace(b"\n", b"") == relayed_cut.replace(b"\n", b"")


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (b'data: {"error":{"message":"boom","type":"server_error"}}', FailureKind.SERVER_ERROR),
        (b'data: {"error":{"message":"slow down","code":429}}', FailureKind.RATE_LIMITED),
        (b'data: {"error":"Request failed","error_type":"generation"}', FailureKind.SERVER_ERROR),
        (b'data: {"object":"error","message":"bad","type":"BadRequestError","code":400}',
         FailureKind.INVALID_REQUEST),
        (b'event: error\ndata: {"message":"overloaded","type":"overloaded_error"}', FailureKind.OVERLOADED),
        (b"event: error\ndata: it broke", FailureKind.SERVER_ERROR),
        (b"data: <html>bad gateway</html>", FailureKind.BAD_ANSWER),
        (b'data: {"choices":[{"index":0,"delta":{"cont', FailureKind.BAD_ANSWER),
        (b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}', FailureKind.CUT),
        (b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}', FailureKind.SERVER_ERROR),
        (b'data: {"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}',
         FailureKind.OVERLOADED),
    ],
)  # fmt: skip
@pytest.mark.parametrize("together", [False, True])
def test_an_error_in_a_200_stream_is_a_failure_and_not_relayed(
    event: bytes, kind: FailureKind, together: bool
) -> None:
    before = [*STREAM[:3]]
    pieces = [b"".join([*before, event + b"\n\n", DONE])] if together else [*before, event + b"\n\n", DONE]
    watcher, relayed = run(pieces)
    assert relayed == b"".join(before)
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is kind
    assert not watcher.glimpse.ended


def test_null_errors_and_null_usage_in_every_chunk_are_nothing() -> None:
    events = [chunk({"content": "a"}, error=None, usage=None) for _ in range(3)]
    watcher, relayed = run([*events, b"".join(events)])
    assert relayed == b"".join(events * 2)
    assert (watcher.glimpse.chunks, watcher.glimpse.failure) == (6, None)


def test_a_finish_hidden_in_a_block_of_plain_events_is_found() -> None:
    both = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None},
                        {"index": 1, "delta": {"content": "b"}, "finish_reason": None}]}  # fmt: skip
    two = b"data: " + json.dumps(both, separators=(",", ":")).encode() + b"\n\n"
    watcher, _ = run([ROLE, chunk({"content": "x"}), two + chunk({}, "length")])
    assert watcher.glimpse.finish_reason == "length"


def test_spaced_json_and_an_event_field_are_read_all_the_same() -> None:
    body = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    event = b"event: message\ndata:" + json.dumps(body, indent=None).encode() + b"\n\n"
    watcher, relayed = run([event, event + event])
    assert relayed == event * 3
    assert watcher.glimpse.chunks == 3


def test_usage_told_by_moonshot_groq_and_in_every_chunk() -> None:
    groq, _ = run([chunk({}, "stop", x_groq={"id": "r", "usage": USAGE})])
    assert groq.glimpse.usage == Usage(input_tokens=3, output_tokens=2)
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}
    moonshot, _ = run([b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"])
    assert moonshot.glimpse.usage == Usage(input_tokens=3, output_tokens=2)
    growing, relayed = run(
        [
            chunk({"content": "a"}, usage=USAGE),
            chunk({"content": "b"}, usage=USAGE | {"completion_tokens": 3}),
        ],
        strip=True,
    )
    assert growing.glimpse.usage == Usage(input_tokens=3, output_tokens=3)
    assert relayed.count(b"\n\n") == 2
    assert growing.glimpse.chunks == 2


def test_text_completions_are_counted_too() -> None:
    event = b'data: {"id":"cmpl-1","choices":[{"index":0,"text":"a","finish_reason":null}]}\n\n'
    watcher, _ = run([event, event, event + event])
    assert watcher.glimpse.chunks == 4


def test_nothing_follows_the_end_mark() -> None:
    watcher, relayed = run([*STREAM, chunk({"content": "more"})])
    assert relayed == b"".join(STREAM)
    joined, relayed = run([b"".join(STREAM) + chunk({"content": "more"})])
    assert relayed == b"".join(STREAM)
    assert watcher.glimpse.chunks == joined.glimpse.chunks == 2


@pytest.mark.parametrize(
    ("events", "kind"), [([ROLE], FailureKind.EMPTY), (STREAM[:3], FailureKind.CUT)], ids=["empty", "cut"]
)
@pytest.mark.parametrize("together", [True, False])
def test_an_end_mark_without_a_finish_reason_is_no_end(
    events: list[bytes], kind: FailureKind, *, together: bool
) -> None:
    watcher, relayed = run([b"".join([*events, DONE])] if together else [*events, DONE])
    assert relayed == b"".join(events)
    assert not watcher.glimpse.ended
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is kind


def test_the_rest_is_what_came_of_an_unfinished_event() -> None:
    watcher, _ = run([*STREAM[:4], b"data: [DO"])
    assert watcher.rest() == b"data: [DO"
    assert watcher.feed(b"NE]\n\n") == DONE
    assert watcher.rest() == b""


def test_an_endless_event_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_sse, "MAX_EVENT_BYTES", 1000)
    watcher, relayed = run([ROLE, b"data: " + b"x" * 600, b"x" * 600, DONE])
    assert relayed == ROLE
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is FailureKind.BAD_ANSWER


# --- whole answers ------------------------------------------------------------------------------


def test_a_whole_answer_at_a_glance() -> None:
    body = {
        "model": "m",
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    glimpse = glance(json.dumps(body).encode())
    assert (glimpse.model, glimpse.finish_reason, glimpse.chunks, glimpse.ended) == ("m", "stop", 1, True)
    assert glimpse.usage == Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"no","type":"insufficient_quota"}}', FailureKind.QUOTA),
        (b'{"object":"error","message":"x","code":503}', FailureKind.OVERLOADED),
        (b'{"choices":[]}', FailureKind.EMPTY),
        (b'{"choices":[{"message":{"content":""},"finish_reason":"abort"}]}', FailureKind.CUT),
        (b"<html>", FailureKind.BAD_ANSWER),
        (b"", FailureKind.BAD_ANSWER),
        (b"[]", FailureKind.BAD_ANSWER),
    ],
)
def test_a_200_that_is_no_answer_is_a_failure(body: bytes, kind: FailureKind) -> None:
    glimpse = glance(body)
    assert glimpse.failure is not None
    assert glimpse.failure.kind is kind
    assert not glimpse.ended
