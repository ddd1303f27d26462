"""Writes of one turn leave together, in order, and nothing is lost or sent after its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairlead.net.outbox import BATCH, Outbox, Port


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
