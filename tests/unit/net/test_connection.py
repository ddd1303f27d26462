from __future__ import annotations

import asyncio
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.net.harness import App, Client, Stage, read_answers
from tests.unit.net.malformed import MALFORMED, ODD, Malformed, Odd

from fairlead.errors import BodyTooLarge, FairleadError, MalformedHttp, NotFound, RequestTimeout
from fairlead.net.run import Signal
from fairlead.net.server import Call, Head, Intake

GET = b"GET /first HTTP/1.1\r\nHost: gateway\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: gateway\r\n\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10\r\n\r\n"
CHUNKED = POST.replace(b"Content-Length: 10", b"Transfer-Encoding: chunked")
EXPECT = POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def streamed(limit_bytes: int = 1_048_576) -> Intake:
    return Intake(limit_bytes, streamed=True)


class Gate:
    """An application that answers when told to."""

    def __init__(self) -> None:
        self.opened = Signal()
        self.app = App(self.handle)

    async def handle(self, call: Call) -> None:
        await self.opened
        call.reply(200, b"", call.head.target.encode())


async def read_all(call: Call) -> None:
    """Answer with the body's pieces, in brackets."""
    body = b""
    while piece := await call.read():
        body += b"[" + piece + b"]"
    call.reply(200, b"", body)


# --- what is not HTTP ---------------------------------------------------------------------------


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.name)
def test_malformed_requests_are_refused(case: Malformed, bytewise: bool) -> None:
    data = case.data + NEXT
    with Stage() as stage:
        client = stage.client()
        client.send(*([data[at : at + 1] for at in range(len(data))] if bytewise else [data]))
        assert len(client.statuses) == 1
        assert client.statuses[0] in case.statuses
        assert client.answers[0].headers["connection"] == "close"
        assert client.closed
        assert stage.app.seen == []


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_odd_requests_are_answered(case: Odd, bytewise: bool) -> None:
    with Stage() as stage:
        client = stage.client()
        client.send(*([case.data[at : at + 1] for at in range(len(case.data))] if bytewise else [case.data]))
        assert client.statuses == [200]
        assert [(call.head.path, call.body) for call in stage.app.calls] == [(case.path, case.body)]


STREAM = [
    (b"POST /a?b HTTP/1.1\r\nHost: gateway\r\nContent-Length: 5\r\n\r\nhello", ("POST", "/a?b", b"hello")),
    (b"\r\nGET /c HTTP/1.1\r\nHost: gateway\r\nX:\r\n\r\n", ("GET", "/c", b"")),
    (
        b"PUT /d HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n",
        ("PUT", "/d", b"abcde"),
    ),
    (b"DELETE /e HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ("DELETE", "/e", b"")),
    (b"POST /f HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\n\r\n", ("POST", "/f", b"")),
]


@given(st.lists(st.sampled_from(STREAM), min_size=1, max_size=25), st.data())
@settings(max_examples=200, deadline=None)
def test_any_split_of_pipelined_requests_gives_the_same_calls(
    requests: list[tuple[bytes, tuple[str, str, bytes]]], data: st.DataObject
) -> None:
    raw = b"".join(request for request, _ in requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    with Stage() as stage:
        client = stage.client()
        client.send(*(raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)))
        assert stage.app.seen == [meaning for _, meaning in requests]
        assert [answer.body for answer in client.answers] == [body for _, (_, _, body) in requests]
        assert not client.closed


def test_every_single_cut_gives_the_same_calls() -> None:
    raw = b"".join(request for request, _ in STREAM)
    for cut in range(len(raw) + 1):
        with Stage() as stage:
            client = stage.client()
            client.send(raw[:cut], raw[cut:])
            assert stage.app.seen == [meaning for _, meaning in STREAM]


# --- pipelining ---------------------------------------------------------------------------------


def test_pipelined_requests_wait_for_their_turn() -> None:
    gate = Gate()
    with Stage(gate.app) as stage:
        client = stage.client()
        client.send(GET + NEXT)
        assert [call.head.path for call in gate.app.calls] == ["/first"]
        gate.opened.fire()
        stage.clock.run()
        assert [call.head.path for call in gate.app.calls] == ["/first", "/next"]
        gate.opened.fire()
        assert [answer.body for answer in client.answers] == [b"/first", b"/next"]


def test_input_held_for_later_is_bounded() -> None:
    gate = Gate()
    with Stage(gate.app) as stage:
        client = stage.client()
        client.send(GET, *[NEXT * 100] * 30)
        assert client.is_paused()
        held = len(client.protocol._held)  # type: ignore[attr-defined]  # what is bounded cannot be seen from outside
        assert 65_536 < held < 80_000
        for _ in range(3_001):
            gate.opened.fire()
            stage.clock.run()
            client._deliver()
        assert len(client.answers) == 3_001


def test_one_client_cannot_hog_the_loop_with_pipelined_requests() -> None:
    with Stage() as stage:
        client = stage.client()
        client.protocol.data_received(GET * 100)
        assert len(stage.app.calls) == 16
        stage.clock.run()
        assert len(stage.app.calls) == 100


def test_requests_wait_while_the_client_does_not_read_its_answers() -> None:
    async def handle(call: Call) -> None:
        call.reply(200, b"", b"x" * 200_000)

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.transport.stuck = True
        client.send(GET * 5)
        assert len(stage.app.calls) == 2
        client.transport.stuck = False
        client.transport.take()
        stage.clock.run()
        assert len(stage.app.calls) == 5
        assert client.statuses == [200] * 5


# --- bodies -------------------------------------------------------------------------------------


def test_continue_is_sent_once_the_request_is_accepted() -> None:
    with Stage() as stage:
        client = stage.client()
        client.send(EXPECT)
        assert client.raw == CONTINUE
        client.send(b"0123456789")
        assert client.answers[-1].body == b"0123456789"
        assert client.statuses == [100, 200]


def test_continue_is_left_out_when_the_body_is_coming_anyway() -> None:
    with Stage() as stage:
        client = stage.client()
        client.send(EXPECT + b"01234")
        assert client.raw == b""
        client.send(b"56789")
        assert client.statuses == [200]


def test_continue_is_not_sent_for_a_refused_request() -> None:
    with Stage(App(intake=lambda head: Intake(5))) as stage:
        client = stage.client()
        client.send(EXPECT)
        assert client.statuses == [413]
        assert client.closed


def test_continue_for_a_streamed_body_waits_until_it_is_read() -> None:
    wanted = Signal()

    async def handle(call: Call) -> None:
        await wanted
        await read_all(call)

    with Stage(App(handle, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(EXPECT)
        stage.wait(200)  # our time, not the client's
        assert client.raw == b""
        wanted.fire()
        assert client.raw == CONTINUE
        stage.wait(20)
        client.send(b"01234", b"56789")
        assert client.answers[-1].body == b"[01234][56789]"


def test_no_continue_when_a_streamed_body_is_not_read() -> None:
    async def handle(call: Call) -> None:
        call.reply(401, b"", b"no")

    with Stage(App(handle, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(EXPECT)
        assert client.statuses == [401]
        assert client.closed


@pytest.mark.parametrize("split", [False, True])
def test_a_body_over_its_announced_limit_is_refused_early(split: bool) -> None:
    with Stage(App(intake=lambda head: Intake(9))) as stage:
        client = stage.client()
        client.send(POST, b"0123456789") if split else client.send(POST + b"0123456789")
        assert client.statuses == [413]
        assert stage.app.seen == []
        assert stage.app.refused == ["request_too_large"]
        assert client.closed == split  # with the body here, the connection is still in step


def test_a_chunked_body_over_the_limit_is_refused_when_it_gets_there() -> None:
    with Stage(App(intake=lambda head: Intake(9))) as stage:
        client = stage.client()
        client.send(CHUNKED + b"9\r\n012345678\r\n")
        assert client.raw == b""
        client.send(b"1\r\n9\r\n0\r\n\r\n" + NEXT)
        assert client.statuses == [413]
        assert client.closed
        assert stage.app.seen == []


def test_a_streamed_body_arrives_in_pieces() -> None:
    with Stage(App(read_all, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(CHUNKED + b"3\r\nabc\r\n", b"2\r\nd", b"e\r\n0\r\n\r\n" + GET)
        assert [answer.body for answer in client.answers] == [b"[abc][d][e]", b""]
        assert not client.closed


def test_a_streamed_body_that_is_here_already() -> None:
    with Stage(App(read_all, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(POST + b"0123456789" + GET)
        assert [answer.body for answer in client.answers] == [b"[0123456789]", b""]


def test_a_streamed_body_waits_for_a_slow_application() -> None:
    wanted = Signal()

    async def handle(call: Call) -> None:
        await wanted
        await read_all(call)

    head = POST.replace(b"10", b"200000")
    with Stage(App(handle, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(head, *[b"x" * 50_000] * 4)
        assert client.is_paused()
        stage.wait(300)  # the application's time, not the client's
        assert client.raw == b""
        wanted.fire()
        assert not client.is_paused()
        assert len(client.answers[0].body) == 200_004


def test_pieces_that_come_after_reading_paused_are_not_lost() -> None:
    wanted = Signal()

    async def handle(call: Call) -> None:
        await wanted
        await read_all(call)

    with Stage(App(handle, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(POST.replace(b"10", b"200000"), b"x" * 70_000)
        assert client.is_paused()
        client.protocol.data_received(b"x" * 30_000)  # as TLS does with what it has decrypted
        stage.wait(300)
        wanted.fire()
        assert not client.is_paused()
        client.send(b"x" * 100_000)
        assert len(client.answers[0].body) == 200_004


def test_a_client_may_send_the_body_without_waiting_for_the_continue() -> None:
    with Stage(App(read_all, lambda head: streamed()), body_timeout_s=10) as stage:
        client = stage.client()
        wanted = stage.app.calls
        client.send(EXPECT + b"01234", b"56789")
        assert [call.received for call in wanted] == [True]
        assert client.statuses == [200]


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        ([CHUNKED + b"b\r\n", b"01234567890\r\n"], BodyTooLarge),
        ([CHUNKED + b"5\r\n", b"01234X\r\n"], MalformedHttp),
    ],
)
def test_the_reader_of_a_streamed_body_learns_what_is_wrong(
    pieces: list[bytes], error: type[Exception]
) -> None:
    caught: list[type[Exception]] = []

    async def handle(call: Call) -> None:
        try:
            await read_all(call)
        except FairleadError as raised:
            caught.append(type(raised))
            raise

    with Stage(App(handle, lambda head: streamed(10))) as stage:
        client = stage.client()
        client.send(*pieces, NEXT)
        assert caught == [error]
        assert client.statuses == [error.status]  # type: ignore[attr-defined]  # both are FairleadErrors
        assert client.closed
        assert len(stage.app.calls) == 1


def test_an_early_answer_to_a_streamed_body_ends_the_connection() -> None:
    async def handle(call: Call) -> None:
        assert await call.read() == b"01234"
        call.reply(422, b"", b"enough")

    with Stage(App(handle, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(POST, b"01234", b"56789" + NEXT)
        assert [(answer.status, answer.headers["connection"]) for answer in client.answers] == [
            (422, "close")
        ]
        assert client.closed


# --- refusals -----------------------------------------------------------------------------------


def refuse_by_head(head: Head) -> Intake:
    raise NotFound


def test_a_refusal_keeps_the_connection_when_it_is_in_step() -> None:
    with Stage(App(intake=refuse_by_head)) as stage:
        client = stage.client()
        client.send(GET + POST + b"0123456789" + GET)
        assert client.statuses == [404, 404, 404]
        assert not client.closed


def test_a_refusal_closes_the_connection_when_a_body_is_still_coming() -> None:
    with Stage(App(intake=refuse_by_head)) as stage:
        client = stage.client()
        client.send(POST + b"01234", b"56789" + GET)
        assert client.statuses == [404]
        assert client.closed


def test_a_refusal_of_head_has_no_body() -> None:
    with Stage(App(intake=refuse_by_head)) as stage:
        client = stage.client()
        client.send(GET.replace(b"GET", b"HEAD"))
        assert client.raw.endswith(b"content-length: 9\r\n\r\n")


def test_the_client_can_read_the_refusal_before_the_connection_ends() -> None:
    with Stage(App(intake=lambda head: Intake(9))) as stage:
        client = stage.client()
        client.send(POST)
        assert client.transport.half_closed
        assert not client.transport.closing
        client.send(b"x" * 100_000)
        assert not client.transport.closing
        client.leave()
        assert stage.server.connections == 0
        assert client.statuses == [413]


def test_lingering_has_an_end_in_time() -> None:
    with Stage(App(intake=lambda head: Intake(9))) as stage:
        client = stage.client()
        client.send(POST)
        stage.wait(1.2)
        assert client.transport.closing
        assert stage.server.connections == 0


def test_lingering_has_an_end_in_bytes() -> None:
    with Stage(App(intake=lambda head: Intake(9))) as stage:
        client = stage.client()
        client.send(POST, *[b"x" * 65_536] * 5)
        assert client.transport.aborted
        assert stage.server.connections == 0


# --- errors of the application ------------------------------------------------------------------


def test_an_unexpected_error_is_a_500_with_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        raise KeyError("bug")

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET + GET)
        assert client.statuses == [500, 500]
        assert [answer.body for answer in client.answers] == [b"internal_error"] * 2
    assert caplog.records[0].name == "fairlead.net"
    assert caplog.records[0].exc_info is not None


def test_an_error_of_the_tree_has_its_own_status(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        raise NotFound

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET)
        assert client.statuses == [404]
    assert caplog.records == []


def test_an_error_after_the_start_cuts_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"")
        call.write(b"x")
        raise KeyError("bug")

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET + NEXT)
        assert [(answer.body, answer.complete) for answer in client.answers] == [(b"x", False)]
        assert client.closed
        assert stage.server.active == 0
    assert len(caplog.records) == 1


def test_an_error_after_the_answer_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        call.reply(200, b"", b"")
        raise KeyError("bug")

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET + NEXT)
        assert client.statuses == [200, 200]
    assert len(caplog.records) == 2


@pytest.mark.parametrize("begin", [False, True])
def test_an_answer_that_is_never_ended(begin: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        if begin:
            call.start(200, b"")
            call.write(b"x")

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET)
        assert client.statuses == ([200] if begin else [500])
        assert client.closed == begin
        assert not begin or not client.answers[0].complete
    assert "not ended" in caplog.text


def test_an_error_in_intake_is_a_500(caplog: pytest.LogCaptureFixture) -> None:
    def intake(head: Head) -> Intake:
        raise KeyError("bug")

    with Stage(App(intake=intake)) as stage:
        client = stage.client()
        client.send(GET)
        assert client.statuses == [500]
    assert caplog.records[0].exc_info is not None


def test_an_error_in_the_wording_of_an_error_is_a_bare_500(caplog: pytest.LogCaptureFixture) -> None:
    class Speechless(App):
        def refuse(self, error: FairleadError, head: Head | None) -> tuple[int, bytes, bytes]:
            raise KeyError("bug")

    with Stage(Speechless()) as stage:
        client = stage.client()
        client.send(b"nonsense\r\n\r\n")
        assert [(answer.status, answer.body) for answer in client.answers] == [(500, b"")]
        assert client.closed


def test_a_cancellation_of_its_own_is_an_error_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        raise asyncio.CancelledError

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET)
        assert client.statuses == [500]


# --- the client leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", GET[:10], POST, POST + b"01234", CHUNKED + b"5\r\nab"])
def test_leaving_before_the_request_is_complete_starts_nothing(sent: bytes) -> None:
    with Stage() as stage:
        client = stage.client()
        if sent:
            client.send(sent)
        client.leave()
        assert stage.server.connections == 0
        assert stage.app.calls == []
        stage.wait(100)
        assert client.raw == b""


@pytest.mark.parametrize("reset", [False, True], ids=["half-close", "reset"])
def test_leaving_before_the_answer_cancels_at_once(reset: bool) -> None:
    gate = Gate()
    with Stage(gate.app) as stage:
        client = stage.client()
        client.send(GET + NEXT)
        if reset:
            client.protocol.connection_lost(ConnectionResetError())
        else:
            client.protocol.eof_received()
        assert (gate.app.cancelled, gate.app.finished) == (1, 0)
        assert stage.server.active == 0
        client.leave()
        assert len(gate.app.calls) == 1
        assert client.raw == b""
        assert stage.server.connections == 0


def test_leaving_in_the_middle_of_the_answer_cancels_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"")
        call.write(b"x")
        try:
            await Signal()
        finally:
            call.write(b"y")  # to nobody
            call.end()

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET)
        client.leave()
        assert stage.app.cancelled == 1
        assert client.transport.aborted
        assert client.raw.endswith(b"1\r\nx\r\n")
    assert caplog.records == []


def test_leaving_while_the_answer_waits_for_the_client_to_read() -> None:
    async def handle(call: Call) -> None:
        call.start(200, b"")
        while True:
            call.write(b"x" * 100_000)
            await call.drain()

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.transport.stuck = True
        client.send(GET)
        assert stage.server.active == 1
        client.leave()
        assert (stage.app.cancelled, stage.server.active) == (1, 0)


def test_leaving_while_a_streamed_body_is_read() -> None:
    with Stage(App(read_all, lambda head: streamed())) as stage:
        client = stage.client()
        client.send(POST + b"01234")
        client.leave()
        assert stage.app.cancelled == 1
        assert stage.server.connections == 0


def test_leaving_after_the_answer_lets_the_application_finish() -> None:
    after = Signal()

    async def handle(call: Call) -> None:
        call.reply(200, b"", b"x")
        await after

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET)
        client.leave()
        assert client.statuses == [200]
        assert stage.server.active == 1
        after.fire()
        assert (stage.app.cancelled, stage.app.finished, stage.server.active) == (0, 1, 0)


def test_an_application_may_take_its_time_over_a_cancellation() -> None:
    tidied = Signal()

    async def handle(call: Call) -> None:
        try:
            await Signal()
        finally:
            await tidied

    with Stage(App(handle)) as stage:
        client = stage.client()
        client.send(GET)
        client.leave()
        assert (stage.server.connections, stage.server.active) == (0, 1)
        tidied.fire()
        assert stage.server.active == 0


# --- time ---------------------------------------------------------------------------------------


def test_an_idle_connection_is_closed() -> None:
    with Stage(idle_timeout_s=5) as stage:
        client = stage.client()
        stage.wait(4)
        client.send(GET)
        stage.wait(4.5)
        assert not client.closed
        stage.wait(1)
        assert client.transport.closing
        assert client.statuses == [200]
        assert stage.server.connections == 0


def test_a_header_section_that_trickles_in_is_cut_off() -> None:
    with Stage(header_timeout_s=5) as stage:
        client = stage.client()
        stage.wait(30)  # idle, which is allowed
        client.send(b"GET / HTTP/1.1\r\nHost: gateway\r\n")
        for _ in range(10):
            client.send(b"X-A: b\r\n")
            stage.wait(0.6)
        assert client.statuses == [408]
        assert stage.app.refused == ["request_timeout"]
        assert client.closed


def test_empty_lines_do_not_stretch_the_time_for_a_header_section() -> None:
    with Stage(header_timeout_s=5) as stage:
        client = stage.client()
        for _ in range(10):
            client.send(b"\r\n")
            stage.wait(0.6)
        assert client.statuses == [408]


def test_a_body_that_stalls_is_cut_off() -> None:
    with Stage(body_timeout_s=10) as stage:
        client = stage.client()
        client.send(POST + b"01234")
        stage.wait(9)
        assert not client.closed
        stage.wait(1.5)
        assert client.statuses == [408]
        assert client.closed


def test_a_body_at_a_byte_per_time_out_is_cut_off() -> None:
    with Stage(body_timeout_s=10) as stage:
        client = stage.client()
        client.send(POST.replace(b"10", b"1000"))
        for _ in range(3):
            client.send(b"x")
            stage.wait(4)
        assert client.statuses == [408]


def test_a_body_at_a_decent_rate_takes_as_long_as_it_takes() -> None:
    with Stage(body_timeout_s=10) as stage:
        client = stage.client()
        client.send(POST.replace(b"10", b"200000"))
        for _ in range(100):
            client.send(b"x" * 2000)
            stage.wait(2)
        assert client.statuses == [200]


def test_the_reader_of_a_streamed_body_learns_that_it_stalled() -> None:
    caught: list[Exception] = []

    async def handle(call: Call) -> None:
        try:
            await read_all(call)
        except RequestTimeout as error:
            caught.append(error)
            call.reply(408, b"", b"too slow")

    with Stage(App(handle, lambda head: streamed()), body_timeout_s=10) as stage:
        client = stage.client()
        client.send(POST + b"01234")
        stage.wait(10.5)
        assert len(caught) == 1
        assert [answer.body for answer in client.answers] == [b"too slow"]
        assert client.closed


def test_an_answer_may_take_as_long_as_it_takes() -> None:
    gate = Gate()
    with Stage(gate.app) as stage:
        client = stage.client()
        client.send(GET)
        stage.wait(1000)
        gate.opened.fire()
        assert client.statuses == [200]


def stuck(stage: Stage) -> Client:
    client = stage.client()
    client.transport.stuck = True
    client.send(GET)
    return client


async def pour(call: Call) -> None:
    call.start(200, b"")
    for _ in range(20):
        call.write(b"x" * 100_000)
        await call.drain()
    call.end()


def test_an_answer_waits_for_a_slow_client() -> None:
    with Stage(App(pour)) as stage:
        client = stuck(stage)
        assert len(client.transport.buffer) < 400_000
        while client.transport.buffer:
            stage.wait(1)
            client.transport.take(50_000)
        assert stage.app.finished == 1
        assert client.answers[0].complete
        assert len(client.answers[0].body) == 2_000_000


def test_a_client_that_reads_a_little_is_not_cut() -> None:
    with Stage(App(pour), body_timeout_s=10) as stage:
        client = stuck(stage)
        for _ in range(10):
            stage.wait(8)
            client.transport.take(1)
        assert not client.closed


def test_a_client_that_reads_nothing_is_cut() -> None:
    with Stage(App(pour), body_timeout_s=10) as stage:
        client = stuck(stage)
        stage.wait(9)
        assert not client.closed
        stage.wait(2)
        assert client.transport.aborted
        assert stage.app.cancelled == 1
        assert stage.server.connections == 0


@pytest.mark.parametrize("taken", [0, 1])
def test_closing_waits_for_the_client_only_while_it_reads(taken: int) -> None:
    async def handle(call: Call) -> None:
        call.reply(200, b"", b"x" * 100_000)

    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with Stage(App(handle), body_timeout_s=10) as stage:
        client = stage.client()
        client.transport.stuck = True
        client.send(request)
        assert client.transport.closing
        for _ in range(4):
            stage.wait(6)
            client.transport.take(taken)
        assert client.transport.aborted == (taken == 0)
        assert stage.server.connections == taken


def test_closing_ends_even_when_the_client_stops_half_way() -> None:
    async def handle(call: Call) -> None:
        call.reply(200, b"", b"x" * 400_000)

    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with Stage(App(handle), body_timeout_s=10) as stage:
        client = stage.client()
        client.transport.stuck = True
        client.send(request)
        client.transport.take(399_000)
        stage.wait(25)
        assert client.transport.aborted
        assert stage.server.connections == 0


# --- many connections ---------------------------------------------------------------------------


def test_connections_over_the_limit_are_told_when_to_come_back() -> None:
    with Stage(max_connections=2) as stage:
        first, second, third = stage.client(), stage.client(), stage.client()
        assert [(answer.status, answer.headers["retry-after"]) for answer in third.answers] == [(503, "1")]
        assert third.closed
        third.send(GET)
        assert stage.app.seen == []
        for client in (first, second):
            client.send(GET)
            assert client.statuses == [200]
        stage.wait(1.2)
        assert stage.server.connections == 2
        first.leave()
        fourth = stage.client()
        fourth.send(GET)
        assert fourth.statuses == [200]


def test_a_flood_of_connections_is_closed_without_a_word() -> None:
    with Stage(max_connections=1) as stage:
        clients = [stage.client() for _ in range(260)]
        assert stage.server.connections == 257
        assert clients[256].statuses == [503]
        assert clients[257].raw == b""
        assert clients[257].transport.aborted


def test_the_peer_is_the_clients_address() -> None:
    with Stage() as stage:
        stage.client("2001:db8::1").send(GET)
        assert stage.app.calls[0].head.peer == "2001:db8::1"


def test_a_call_knows_when_its_header_section_ended() -> None:
    with Stage() as stage:
        client = stage.client()
        client.send(POST)
        stage.wait(2)
        client.send(b"0123456789")
        assert stage.app.calls[0].started_at == 1000.0


def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(call: Call) -> None:
        raise KeyError("bug")

    caplog.set_level(logging.DEBUG)
    with Stage(App(handle)) as stage:
        stage.client().send(
            b"GET /?key=sk-secret HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer sk-secret\r\n\r\n"
        )
    assert caplog.records
    assert "sk-secret" not in "".join(record.getMessage() for record in caplog.records)


def test_answers_are_read_back_by_another_parser() -> None:
    with Stage() as stage:
        client = stage.client()
        client.send(GET + POST + b"0123456789")
        assert read_answers(client.raw) == client.answers
        assert [answer.body for answer in client.answers] == [b"", b"0123456789"]
