"""A reader relays whole events, and tells a proper end from a cut one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.stream import NativeReader, Reader, TranslatedReader, VerbatimReader
from fairlead.providers.openai_chat import ChatWatcher, OpenAIChatClient, OpenAIChatUpstream
from fairlead.types import FailureKind

DONE = b"data: [DONE]\n\n"


def chunk(delta: str, reason: str = "null") -> bytes:
    return (
        b'data: {"id":"c","object":"chat.completion.chunk","created":0,"model":"m","choices":[{"index":0,'
        b'"delta":%b,"finish_reason":%b}]}\n\n' % (delta.encode(), reason.encode())
    )


HELLO = chunk('{"role":"assistant","content":"Hel"}')
WORLD = chunk('{"content":"lo"}')
FINISH = chunk("{}", '"stop"')
REQUEST = OpenAIChatClient().parse(b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}')


def native() -> NativeReader:
    return NativeReader(ChatWatcher(strip_usage=False), DONE)


def translated(*, keep_text: bool = False) -> TranslatedReader:
    decoder = OpenAIChatUpstream().decoder(REQUEST)
    encoder = OpenAIChatClient().encoder(REQUEST, "req_1")
    return TranslatedReader(decoder, encoder, created=1234, keep_text=keep_text)


def play(reader: Reader, data: bytes, size: int = 10_000) -> bytes:
    out = b""
    for start in range(0, len(data), size):
        out += reader.feed(data[start : start + size])
    return out + reader.finish()


@given(st.integers(1, 400))
def test_a_native_stream_is_the_same_however_it_is_split(size: int) -> None:
    reader = native()
    stream = HELLO + WORLD + FINISH + DONE
    assert play(reader, stream, size) == stream
    assert (reader.glimpse.finish_reason, reader.glimpse.failure) == ("stop", None)


@given(st.integers(1, 400))
def test_a_translated_stream_is_the_same_however_it_is_split(size: int) -> None:
    stream = HELLO + WORLD + FINISH + DONE
    assert play(translated(), stream, size) == play(translated(), stream)


def test_a_missing_end_mark_is_added_when_the_answer_is_finished() -> None:
    for reader in (native(), translated()):
        assert play(reader, HELLO + FINISH).endswith(DONE)
        assert reader.glimpse.failure is None


@pytest.mark.parametrize("end", [b"", DONE, WORLD[:20]])
def test_without_a_finish_reason_it_was_cut(end: bytes) -> None:
    for reader in (native(), translated()):
        out = play(reader, HELLO + end)
        assert reader.glimpse.failure is not None
        assert reader.glimpse.failure.kind is FailureKind.CUT
        assert DONE not in out


def test_without_an_event_it_is_empty() -> None:
    for reader in (native(), translated()):
        assert play(reader, b"") == b""
        assert reader.glimpse.failure is not None
        assert reader.glimpse.failure.kind is FailureKind.EMPTY


def test_half_an_event_is_never_relayed() -> None:
    assert native().feed(HELLO + WORLD[:30]) == HELLO


def test_an_error_in_the_stream_is_not_relayed() -> None:
    for reader in (native(), translated()):
        out = reader.feed(HELLO + b'data: {"error":{"message":"gpu on fire","type":"server_error"}}\n\n')
        assert reader.glimpse.failure is not None
        assert b"fire" not in out


def test_a_stream_that_does_not_tell_its_time_is_given_one() -> None:
    assert b'"created":1234' in play(translated(), HELLO + FINISH + DONE)


def test_text_is_kept_for_continuation_until_something_else_comes() -> None:
    reader = translated(keep_text=True)
    reader.feed(HELLO + WORLD)
    assert reader.text() == "Hello"
    reader.feed(chunk('{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}'))
    assert reader.text() is None
    assert translated().text() is None


def test_a_continued_stream_has_one_beginning_and_one_end() -> None:
    reader = translated(keep_text=True)
    out = play(reader, HELLO)
    assert reader.glimpse.failure is not None
    reader.continue_with(translated(keep_text=True))
    out += play(reader, WORLD + FINISH + DONE)
    whole = play(translated(), HELLO + WORLD + FINISH + DONE)
    assert out == whole
    assert reader.glimpse.failure is None


def test_bytes_that_are_nobodys_events_pass_untouched() -> None:
    reader = VerbatimReader()
    assert play(reader, b"\x00RIFF\xff", 2) == b"\x00RIFF\xff"
    assert reader.glimpse.ended
