"""Writes of one turn leave together, in order, and nothing is lost or sent after its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.net.harness import App, Client, Handle, Stage, read_answers

from fairlead.net.outbox import BATCH, Outbox, Port
from fairlead.net.run import Signal
from fairlead.net.server import Call


class Turn:
    """The event loop's turn: what was scheduled runs at its end."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], object]] = []
        self.outbox = Outbox(self.scheduled.append)
        self.sent: list[tuple[str, bytes]] = []

    def port(self, name: str) -> Port:
        return Port(Wire(lambda data: self.sent.append((name, data))), self.outbox)

    def end(self) -> None:
        scheduled, self.scheduled[:] = list(self.scheduled), []
        for callback in scheduled:
            callback()


class Wire(asyncio.Transport):
    def __init__(self, written: Callable[[bytes], object]) -> None:
        super().__init__()
        self._written = written

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._written(bytes(data))


def test_a_connection_that_is_alone_does_not_wait() -> None:
    turn = Turn()
    turn.outbox.active = 1
    turn.port("a").write(b"1")
    assert turn.sent == [("a", b"1")]
    assert not turn.scheduled


def test_several_wait_for_the_turns_end_and_keep_their_order() -> None:
    turn = Turn()
    turn.outbox.active = 2
    a, b = turn.port("a"), turn.port("b")
    a.write(b"1")
    b.write(b"2")
    a.write(b"3")
    assert turn.sent == []
    turn.end()
    assert turn.sent == [("a", b"13"), ("b", b"2")]
    turn.end()
    assert len(turn.sent) == 2


def test_what_waits_leaves_before_a_later_write_of_a_connection_that_has_become_alone() -> None:
    turn = Turn()
    turn.outbox.active = 2
    a = turn.port("a")
    a.write(b"1")
    turn.outbox.active = 1
    a.write(b"2")
    turn.end()
    assert b"".join(data for _, data in turn.sent) == b"12"


def test_no_more_than_a_batch_waits() -> None:
    turn = Turn()
    turn.outbox.active = 2 * BATCH
    for number in range(BATCH):
        turn.port(str(number)).write(b"x")
    assert len(turn.sent) == BATCH
    turn.end()
    assert len(turn.sent) == BATCH


def test_flushing_before_a_close_sends_and_dropping_forgets() -> None:
    turn = Turn()
    turn.outbox.active = 2
    a, b = turn.port("a"), turn.port("b")
    a.write(b"1")
    a.flush()
    b.write(b"2")
    assert b.drop()
    assert not b.drop()
    turn.end()
    assert turn.sent == [("a", b"1")]


# --- on a connection, with others under way so that its writes wait for the turn's end ----------


class Busy:
    """A server with two requests under way; the client that is given is a third."""

    def __init__(self, handle: Handle, **options: Any) -> None:
        self.stage = Stage(App(self._handle), **options)
        self._answer = handle

    async def _handle(self, call: Call) -> None:
        if call.head.path == "/wait":
            await Signal()
        await self._answer(call)

    def __enter__(self) -> Client:
        self.stage.__enter__()
        for _ in range(2):
            self.stage.client().send(get("/wait"))
        return self.stage.client()

    def __exit__(self, *error: Any) -> None:
        self.stage.__exit__(*error)


def get(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "host: gateway", *fields, "", ""]).encode()


async def whole(call: Call) -> None:
    call.reply(200, b"", call.head.target.encode())


async def streamed(call: Call) -> None:
    call.start(200, b"")
    call.write(b"one ")
    call.write(b"two")
    call.end()


def taken(client: Client) -> list[bytes]:
    """Bodies of the complete answers that have left."""
    answers = read_answers(client.transport.taken)
    assert all(answer.complete for answer in answers)
    return [answer.body for answer in answers]


@pytest.mark.parametrize(("handle", "body"), [(whole, b"/x"), (streamed, b"one two")])
def test_an_answer_leaves_as_one_write_at_the_end_of_its_turn(handle: Handle, body: bytes) -> None:
    busy = Busy(handle)
    with busy as client:
        client.protocol.data_received(get("/x"))
        assert client.transport.writes == []
        busy.stage.clock.run()
        assert taken(client) == [body]
        assert len(client.transport.writes) == 1


@pytest.mark.parametrize("handle", [whole, streamed])
def test_an_answer_leaves_before_its_connection_is_closed(handle: Handle) -> None:
    busy = Busy(handle)
    with busy as client:
        client.protocol.data_received(get("/x", "connection: close"))
        assert len(taken(client)) == 1
        assert client.closed
        busy.stage.clock.run()
        assert len(taken(client)) == 1


def test_pipelined_answers_leave_in_order_and_an_error_behind_them() -> None:
    busy = Busy(whole)
    with busy as client:
        client.protocol.data_received(get("/1") + get("/2") + b"nonsense\r\n\r\n")
        busy.stage.clock.run()
        assert client.statuses == [200, 200, 400]
        assert client.closed


def test_a_client_that_is_gone_before_the_turns_end_is_sent_nothing_and_nobody_else_suffers() -> None:
    busy = Busy(whole)
    with busy as client:
        other = busy.stage.client()
        client.protocol.data_received(get("/1"))
        other.protocol.data_received(get("/2"))
        client.transport.abort()
        client.protocol.connection_lost(ConnectionResetError())
        busy.stage.clock.run()
        assert client.transport.writes == []
        assert taken(other) == [b"/2"]


@pytest.mark.parametrize("handle", [whole, streamed])
def test_a_client_that_half_closes_behind_its_request_still_gets_an_answer_that_was_ready(
    handle: Handle,
) -> None:
    busy = Busy(handle)
    with busy as client:
        client.protocol.data_received(get("/x"))
        assert not client.protocol.eof_received()
        client.transport.close()  # what the event loop does next
        busy.stage.clock.run()
        assert len(taken(client)) == 1


def test_a_client_that_half_closes_before_its_answer_ends_gets_no_part_of_it() -> None:
    async def half(call: Call) -> None:
        call.start(200, b"")
        call.write(b"one")
        await Signal()

    busy = Busy(half)
    with busy as client:
        client.protocol.data_received(get("/x"))
        client.protocol.eof_received()
        busy.stage.clock.run()
        assert client.transport.writes == []
        assert client.transport.aborted
        assert busy.stage.app.cancelled == 1


def test_an_answer_that_is_given_up_leaves_as_far_as_it_came() -> None:
    async def broken(call: Call) -> None:
        call.start(200, b"")
        call.write(b"one")
        call.abort()

    busy = Busy(broken)
    with busy as client:
        client.protocol.data_received(get("/x"))
        busy.stage.clock.run()
        (answer,) = client.answers
        assert (answer.body, answer.complete) == (b"one", False)
        assert client.closed


def test_the_next_request_after_a_write_that_waits_is_answered_behind_it() -> None:
    busy = Busy(whole)
    with busy as client:
        client.protocol.data_received(get("/1"))
        client.protocol.data_received(get("/2"))
        assert client.transport.writes == []
        busy.stage.clock.run()
        assert taken(client) == [b"/1", b"/2"]


def test_a_connection_that_is_retired_while_its_answer_waits_sends_it_first() -> None:
    busy = Busy(whole)
    with busy as client:
        client.protocol.data_received(get("/1"))
        busy.stage.server.protocol()
        client.protocol.retire()  # type: ignore[attr-defined]  # what a drain calls
        assert taken(client) == [b"/1"]
        assert client.closed
        busy.stage.clock.run()


def test_a_connection_that_is_cut_while_its_answer_waits_sends_nothing() -> None:
    busy = Busy(whole)
    with busy as client:
        client.protocol.data_received(get("/1"))
        client.protocol.cut()  # type: ignore[attr-defined]  # what the end of a drain calls
        busy.stage.clock.run()
        assert client.transport.writes == []
        assert client.transport.aborted


def test_a_last_answer_that_is_read_slowly_is_not_cut_while_it_is_read() -> None:
    async def large(call: Call) -> None:
        call.reply(200, b"", b"x" * 2_000_000)

    busy = Busy(large, body_timeout_s=1.0)
    with busy as client:
        client.transport.stuck = True
        client.protocol.data_received(get("/x", "connection: close"))
        for _ in range(3):
            client.transport.take(500_000)
            busy.stage.wait(1.2)
            assert not client.transport.aborted
        client.transport.take()
        assert taken(client) == [b"x" * 2_000_000]


def test_a_last_answer_that_nobody_reads_is_cut() -> None:
    async def large(call: Call) -> None:
        call.reply(200, b"", b"x" * 2_000_000)

    busy = Busy(large, body_timeout_s=1.0)
    with busy as client:
        client.transport.stuck = True
        client.protocol.data_received(get("/x", "connection: close"))
        busy.stage.wait(3)
        assert client.transport.aborted
