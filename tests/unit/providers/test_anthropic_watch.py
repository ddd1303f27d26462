from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.providers.anthropic import AnthropicWatcher, glance
from fairlead.types import FailureKind, Usage

GOLDEN = Path(__file__).parents[2] / "golden" / "providers" / "anthropic"
STREAM = (GOLDEN / "streams" / "everything.in.sse").read_bytes()
OVERLOADED = (GOLDEN / "streams" / "overloaded.in.sse").read_bytes()
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"a"}}\n\n'
)


def watch(*pieces: bytes) -> tuple[bytes, AnthropicWatcher]:
    watcher = AnthropicWatcher()
    return b"".join(watcher.feed(piece) for piece in pieces), watcher


def test_a_stream_is_relayed_as_it_came_and_understood() -> None:
    relayed, watcher = watch(STREAM)

    glimpse = watcher.glimpse
    assert relayed == STREAM
    assert (glimpse.finish_reason, glimpse.ended, glimpse.failure) == ("tool_use", True, None)
    assert glimpse.model == "claude-sonnet-4-5"
    assert glimpse.chunks == STREAM.count(b"event: content_block_delta")
    assert glimpse.usage == Usage(
        input_tokens=2112, output_tokens=89, cache_read_tokens=2000, cache_write_tokens=100
    )


@pytest.mark.parametrize("stream", [STREAM, OVERLOADED, STREAM.replace(b"\n", b"\r\n")])
def test_any_split_relays_the_same_bytes_in_whole_events(stream: bytes) -> None:
    whole, reference = watch(stream)

    for at in range(1, len(stream)):
        first, watcher = watch(stream[:at])
        assert first == b"" or first.endswith(b"\n\n")
        assert first + watcher.feed(stream[at:]) == whole
        assert watcher.glimpse.chunks == reference.glimpse.chunks
        assert watcher.glimpse.usage == reference.glimpse.usage
        assert watcher.glimpse.ended == reference.glimpse.ended
    bytewise, watcher = watch(*(stream[at : at + 1] for at in range(len(stream))))
    assert bytewise == whole
    assert watcher.glimpse.chunks == reference.glimpse.chunks


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_any_splits_relay_the_same_bytes(cuts: list[int]) -> None:
    at = [0, *sorted(cuts), len(STREAM)]

    relayed, watcher = watch(*(STREAM[a:b] for a, b in itertools.pairwise(at)))

    assert relayed == STREAM
    assert watcher.glimpse.ended


def test_an_error_is_not_relayed_and_nothing_follows_it() -> None:
    relayed, watcher = watch(OVERLOADED + DELTA, DELTA)

    assert relayed == OVERLOADED.partition(b"event: error")[0]
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is FailureKind.OVERLOADED


def test_an_error_between_deltas_of_one_piece_is_found() -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n'

    relayed, watcher = watch(DELTA + error + DELTA)

    assert relayed == DELTA
    assert watcher.glimpse.failure is not None


def test_nothing_is_relayed_after_the_end() -> None:
    relayed, watcher = watch(STREAM + DELTA, DELTA)

    assert relayed == STREAM
    assert watcher.feed(DELTA) == b""


@pytest.mark.parametrize(("before", "kind"), [(b"", FailureKind.EMPTY), (DELTA, FailureKind.CUT)])
@pytest.mark.parametrize("together", [True, False])
def test_an_end_mark_without_a_stop_reason_is_no_end(
    before: bytes, kind: FailureKind, *, together: bool
) -> None:
    stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    relayed, watcher = watch(before + stop) if together else watch(before, stop)
    assert relayed == before
    assert not watcher.glimpse.ended
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is kind


def test_a_last_event_without_its_blank_line_can_be_completed() -> None:
    relayed, watcher = watch(STREAM[:-2])
    assert not watcher.glimpse.ended
    assert watcher.rest().startswith(b"event: message_stop")

    assert relayed + watcher.feed(b"\n\n") == STREAM
    assert watcher.glimpse.ended


def test_an_event_cut_in_its_middle_is_not_relayed() -> None:
    _, watcher = watch(DELTA, DELTA[:-9])

    assert watcher.feed(b"\n\n") == b""
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is FailureKind.CUT


def test_bytes_that_are_no_json_fail() -> None:
    relayed, watcher = watch(b"data: <html>\n\n")

    assert relayed == b""
    assert watcher.glimpse.failure is not None
    assert watcher.glimpse.failure.kind is FailureKind.BAD_ANSWER


def test_pings_comments_and_unknown_events_pass() -> None:
    stream = (
        b': hello\n\nevent: ping\ndata: {"type": "ping"}\n\nevent: new\ndata: {"type":"new","index":"x"}\n\n'
    )
    stream = stream.replace(b'"index":"x"', b'"a":1')

    assert watch(stream)[0] == stream


def test_a_whole_message_at_a_glance() -> None:
    body = (GOLDEN / "answers" / "tools.in.json").read_bytes()

    glimpse = glance(body)

    assert (glimpse.finish_reason, glimpse.ended, glimpse.failure) == ("tool_use", True, None)
    assert glimpse.usage is not None
    assert glimpse.usage.input_tokens == 2112
    assert glimpse.usage.cache_write_1h_tokens == 60
    assert glimpse.usage.reasoning_tokens == 20


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.BAD_ANSWER),
        (b"<html>", FailureKind.BAD_ANSWER),
        (b"{}", FailureKind.BAD_ANSWER),
        (b'{"id":"m","content":[]}', FailureKind.CUT),
        (
            json.dumps({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}).encode(),
            FailureKind.OVERLOADED,
        ),
    ],
)
def test_a_200_that_is_no_message_is_a_failure(body: bytes, kind: FailureKind) -> None:
    failure = glance(body).failure

    assert failure is not None
    assert failure.kind is kind
