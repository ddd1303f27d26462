from __future__ import annotations

import pytest
from tests.unit.net.harness import App, Client, Handle, Stage

from fairlead.net.run import Signal
from fairlead.net.server import Call, Intake

GET = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
GET_10 = b"GET /v1/models HTTP/1.0\r\n\r\n"
GET_10_KEEP = b"GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
EVENTS = b"content-type: text/event-stream\r\n"


def asked(handle: Handle, request: bytes = GET) -> tuple[Client, Call]:
    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(request)
        return client, stage.app.calls[0]


def test_a_reply_is_one_write() -> None:
    async def handle(call: Call) -> None:
        assert (call.started, call.ended) == (False, False)
        call.reply(201, b"x-request-id: 1\r\n", b"hello")
        assert (call.started, call.ended) == (True, True)

    client, call = asked(handle)
    assert len(client.transport.writes) == 1
    head, body = client.raw.split(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 201 Created"
    assert lines[1].startswith(b"date: ")
    assert lines[2:] == [b"x-request-id: 1", b"content-length: 5"]
    assert body == b"hello"
    assert call.bytes_out == 5


def test_a_streamed_answer_is_one_write_a_piece() -> None:
    async def handle(call: Call) -> None:
        call.start(200, EVENTS)
        call.write(b"data: 1\n\n")
        call.write(b"")
        call.write(b"data: 2\n\n")
        await call.drain()
        call.end()

    client, call = asked(handle)
    first, second, last = client.transport.writes
    assert first.endswith(b"transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
    assert (second, last) == (b"9\r\ndata: 2\n\n\r\n", b"0\r\n\r\n")
    assert client.answers[0].body == b"data: 1\n\ndata: 2\n\n"
    assert call.bytes_out == 18
    assert not client.closed


def test_the_last_piece_may_come_with_the_end() -> None:
    async def handle(call: Call) -> None:
        call.start(200, EVENTS)
        call.end(b"data: 1\n\n")

    client, call = asked(handle)
    assert len(client.transport.writes) == 1
    assert client.answers[0].body == b"data: 1\n\n"
    assert client.answers[0].complete
    assert call.bytes_out == 9


def test_a_head_without_a_piece_leaves_on_its_own() -> None:
    async def handle(call: Call) -> None:
        call.start(200, EVENTS)
        await call.read()

    with Stage(App(handle, intake=lambda head: Intake(100, streamed=True))) as stage:
        client = stage.client()
        client.send(GET.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
        assert client.answers[0].status == 200
        assert not client.answers[0].complete


def test_a_length_is_announced_and_kept() -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"", length=6)
        call.write(b"abc")
        call.end(b"def")

    client, _ = asked(handle)
    assert client.answers[0].headers["content-length"] == "6"
    assert "transfer-encoding" not in client.answers[0].headers
    assert client.answers[0].body == b"abcdef"


@pytest.mark.parametrize("piece", [b"ab", b"abcd"])
def test_a_length_that_is_not_kept_breaks_the_connection(piece: bytes) -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"", length=3)
        call.write(piece)
        call.end()

    client, call = asked(handle)
    assert client.closed
    assert call.ended
    assert client.raw in (b"", b"".join(client.transport.writes))
    assert not client.raw.endswith(b"abcd")


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    async def whole(call: Call) -> None:
        call.reply(status, b"x: y\r\n", b"ignored")

    async def streamed(call: Call) -> None:
        call.start(status, b"x: y\r\n")
        call.write(b"ignored")
        call.end()

    for handle in (whole, streamed):
        client, call = asked(handle)
        assert client.raw.endswith(b"x: y\r\n\r\n")
        assert b"content-length" not in client.raw
        assert b"transfer-encoding" not in client.raw
        assert call.bytes_out == 0
        assert not client.closed


def test_head_gets_the_head_only() -> None:
    async def whole(call: Call) -> None:
        call.reply(200, b"", b"hello")

    async def streamed(call: Call) -> None:
        call.start(200, b"")
        call.write(b"hello")
        call.end()

    client, _ = asked(whole, HEAD)
    assert client.raw.endswith(b"content-length: 5\r\n\r\n")
    client, _ = asked(streamed, HEAD)
    assert client.raw.endswith(b"transfer-encoding: chunked\r\n\r\n")
    assert len(client.transport.writes) == 1


def test_http_1_0_streams_until_the_connection_ends() -> None:
    async def handle(call: Call) -> None:
        call.start(200, EVENTS)
        call.write(b"data: 1\n\n")
        call.end()

    client, _ = asked(handle, GET_10_KEEP)
    head, body = client.raw.split(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert body == b"data: 1\n\n"
    assert client.closed


def test_http_1_0_keeps_the_connection_only_when_asked() -> None:
    async def handle(call: Call) -> None:
        call.reply(200, b"", b"x")

    client, _ = asked(handle, GET_10)
    assert client.answers[0].headers["connection"] == "close"
    assert client.closed
    client, _ = asked(handle, GET_10_KEEP)
    assert client.answers[0].headers["connection"] == "keep-alive"
    assert not client.closed


def test_connection_close_is_obeyed() -> None:
    async def handle(call: Call) -> None:
        call.reply(200, b"", b"x")

    client, _ = asked(handle, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert client.answers[0].headers["connection"] == "close"
    assert client.closed


def test_an_aborted_stream_has_no_last_chunk() -> None:
    async def handle(call: Call) -> None:
        call.start(200, EVENTS)
        call.write(b"data: 1\n\n")
        call.abort()
        call.write(b"data: 2\n\n")

    client, call = asked(handle)
    assert client.answers[0].body == b"data: 1\n\n"
    assert not client.answers[0].complete
    assert client.closed
    assert call.bytes_out == 9


def test_an_aborted_stream_of_http_1_0_is_reset() -> None:
    async def handle(call: Call) -> None:
        call.start(200, EVENTS)
        call.write(b"data: 1\n\n")
        call.abort()

    client, _ = asked(handle, GET_10)
    assert client.transport.aborted


def test_misuse_is_an_error() -> None:
    async def handle(call: Call) -> None:
        with pytest.raises(RuntimeError):
            call.write(b"x")
        with pytest.raises(RuntimeError):
            call.end()
        with pytest.raises(RuntimeError):
            await call.read()
        call.reply(200, b"", b"")
        with pytest.raises(RuntimeError):
            call.reply(200, b"", b"")
        with pytest.raises(RuntimeError):
            call.start(200, b"")
        with pytest.raises(RuntimeError):
            call.write(b"x")

    client, _ = asked(handle)
    assert client.statuses == [200]


def waiting(stage: Stage, request: bytes = GET) -> tuple[Client, Call]:
    client = stage.client()
    client.send(request)
    return client, stage.app.calls[-1]


async def forever(call: Call) -> None:
    await Signal()


def beating() -> tuple[Stage, Client, Call]:
    stage = Stage(App(forever))
    client, call = waiting(stage.__enter__())
    call.keepalive(1.0, 0.5, 200, lambda: EVENTS, b": wait\n\n")
    return stage, client, call


def test_signs_of_life_start_the_answer_when_it_is_late() -> None:
    stage, client, call = beating()
    with stage:
        stage.wait(0.9)
        assert client.raw == b""
        stage.wait(0.3)
        assert call.started
        assert client.answers[0].body == b": wait\n\n"
        stage.wait(1.0)
        assert client.answers[0].body == b": wait\n\n" * 3


def test_the_first_write_ends_the_signs_of_life() -> None:
    stage, client, call = beating()
    with stage:
        stage.wait(1.2)
        call.write(b"data: 1\n\n")
        stage.wait(5)
        assert client.answers[0].body == b": wait\n\ndata: 1\n\n"
        call.end()
        assert client.answers[0].complete


def test_a_reply_in_time_needs_no_sign_of_life() -> None:
    stage, client, call = beating()
    with stage:
        stage.wait(0.5)
        call.reply(503, b"", b"late")
        stage.wait(5)
        assert [(answer.status, answer.body) for answer in client.answers] == [(503, b"late")]


def test_quiet_ends_the_signs_of_life() -> None:
    stage, client, call = beating()
    with stage:
        call.quiet()
        stage.wait(5)
        assert client.raw == b""


def test_signs_of_life_end_with_the_client() -> None:
    stage, client, call = beating()
    with stage:
        stage.wait(1.2)
        client.leave()
        sent = client.raw
        stage.wait(5)
        assert client.raw == sent
        assert not call._hub.beating


def test_signs_of_life_wait_for_a_slow_reader() -> None:
    stage, client, call = beating()
    with stage:
        call.start(200, EVENTS)
        client.transport.stuck = True
        call.write(b"x" * 300_000)
        call.keepalive(1.0, 0.5, 200, lambda: EVENTS, b": wait\n\n")
        before = len(client.transport.buffer)
        stage.wait(3)
        assert len(client.transport.buffer) == before
