"""The upstream connection against a scripted network: framing, reuse, failures, back-pressure."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Iterable
from itertools import pairwise
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.errors import (
    BadUpstreamAnswer,
    UpstreamCut,
    UpstreamDisconnected,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamTlsFailed,
)
from fairlead.net.pool import Pool
from fairlead.net.run import Run
from fairlead.net.upstream import PAUSE_BYTES, Connection, Shared
from fairlead.testing import FakeTransport

GET = b"GET / HTTP/1.1\r\nhost: engine\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"

T = TypeVar("T")


class Wire:
    """One connection, checked out of a pool, on a fake transport."""

    def __init__(self, *, max_head_bytes: int = 65_536) -> None:
        self.pool: Pool[Connection] = Pool("engine:80", 10, 60.0)
        self.clock = Shared(lambda flush: flush())
        self.connection = Connection(self.pool, self.clock, "engine:80", max_head_bytes=max_head_bytes)
        self.transport = FakeTransport(self.connection)
        self.pool.admit(self.connection)

    def receive(self, *packets: bytes) -> None:
        """Deliver packets; like a real transport, none after it was closed."""
        for packet in packets:
            if packet and not self.transport.is_closing():
                self.connection.data_received(packet)

    def eof(self) -> None:
        if not self.transport.is_closing():
            self.connection.eof_received()
        self.transport.lose()

    @property
    def pooled(self) -> bool:
        return self.pool.counts.idle == 1


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


async def started(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and let it reach its first wait."""
    task = asyncio.get_running_loop().create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def read_to_end(connection: Connection) -> tuple[bytes, type[UpstreamError] | None]:
    """Everything that can be read, and the error that ended it, if one did."""
    body = b""
    try:
        while piece := await connection.read():
            body += piece
    except UpstreamError as error:
        return body, type(error)
    return body, None


Outcome = tuple[int, list[tuple[bytes, bytes]], bytes, type[UpstreamError] | None, bool]


def outcome(packets: Iterable[bytes], *, request: bytes = GET, eof: bool = True) -> Outcome:
    """What a borrower sees of an answer that came in these packets."""
    seen: list[Outcome] = []

    async def main() -> None:
        wire = Wire()
        wire.connection.send(request)
        wire.receive(*packets)
        reusable_in_time = wire.connection.finished
        if eof and not reusable_in_time:
            wire.eof()
        status, headers = 0, []
        try:
            head = await wire.connection.head()
            status, headers = head.status, head.raw_headers
        except UpstreamError as error:
            seen.append((0, [], b"", type(error), False))
            return
        body, failure = await read_to_end(wire.connection)
        wire.connection.release()
        seen.append((status, headers, body, failure, wire.pooled))

    run(main)
    return seen[0]


ANSWERS = {
    "length": (OK + b"content-length: 5\r\n\r\nhello", (200, b"hello", None, True)),
    "length zero": (OK + b"content-length: 0\r\n\r\n", (200, b"", None, True)),
    "length, body of line ends": (OK + b"content-length: 3\r\n\r\nab\n", (200, b"ab\n", None, True)),
    "length, nothing but line ends": (
        OK + b"content-length: 4\r\n\r\n\r\n\r\n",
        (200, b"\r\n\r\n", None, True),
    ),
    "line ends after line ends": (
        OK + b"content-length: 4\r\n\r\n\r\n\r\n\r\n",
        (200, b"\r\n\r\n", None, False),
    ),
    "line ends after a body that ends in them": (
        OK + b"content-length: 7\r\n\r\nabc\r\n\r\n\r\n\r\n",
        (200, b"abc\r\n\r\n", None, False),
    ),
    "chunked": (
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\n!!!\r\n0\r\n\r\n",
        (200, b"hello!!!", None, True),
    ),
    "chunked with extension and trailer": (
        OK + b"Transfer-Encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx-late: 1\r\n\r\n",
        (200, b"hello", None, True),
    ),
    "until the end": (OK + b"\r\nhello", (200, b"hello", None, False)),
    "connection: close": (
        OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi",
        (200, b"hi", None, False),
    ),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi", None, False)),
    "HTTP/1.0 keep-alive": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",
        (200, b"hi", None, True),
    ),
    "HTTP/1.0 with a transfer coding": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\n\r\n",
        (200, b"hi", None, False),
    ),
    "interim answers": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        + OK
        + b"content-length: 2\r\n\r\nhi",
        (200, b"hi", None, True),
    ),
    "interim answers with framing that does not count": (
        b"HTTP/1.1 100 Continue\r\ncontent-length: 4\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\ntransfer-encoding: chunked\r\n\r\n"
        + OK
        + b"content-length: 2\r\n\r\nhi",
        (200, b"hi", None, True),
    ),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"", None, True)),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", (304, b"", None, True)),
    "204 with a transfer coding": (
        b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        (204, b"", None, False),
    ),
    "no reason phrase": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", (200, b"hi", None, True)),
    "length cut": (OK + b"content-length: 5\r\n\r\nhel", (200, b"hel", UpstreamCut, False)),
    "chunked without last chunk": (
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        (200, b"hello", UpstreamCut, False),
    ),
    "cut in the head": (OK + b"content-le", (0, b"", UpstreamCut, False)),
    "cut after an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n", (0, b"", UpstreamCut, False)),
    "nothing": (b"", (0, b"", UpstreamDisconnected, False)),
    "bad chunk in the middle": (
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        (200, b"hello", UpstreamProtocolError, False),
    ),
    "garbage after a length": (OK + b"content-length: 5\r\n\r\nhelloX", (200, b"hello", None, False)),
    "line end after a length": (OK + b"content-length: 5\r\n\r\nhello\r\n", (200, b"hello", None, False)),
    "second answer": (
        OK + b"content-length: 2\r\n\r\nhi" + OK + b"content-length: 4\r\n\r\nevil",
        (200, b"hi", None, False),
    ),
    "start of a second answer": (OK + b"content-length: 2\r\n\r\nhiHTTP/1.1", (200, b"hi", None, False)),
    "repetition of the body": (OK + b"content-length: 4\r\n\r\nHTTPHTTP", (200, b"HTTP", None, False)),
    "line end after the last chunk": (
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\r\n",
        (200, b"hi", None, False),
    ),
    "line feed after the last chunk": (
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\n",
        (200, b"hi", None, False),
    ),
    "body where none belongs": (b"HTTP/1.1 204 No Content\r\n\r\n\r\n", (204, b"", None, False)),
    "line end after a head": (OK + b"content-length: 0\r\n\r\n\r\n\r\n", (200, b"", None, False)),
}

REFUSED = {
    "both lengths": OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, other order": OK + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "list of lengths": OK + b"content-length: 5, 5\r\n\r\nhello",
    "signed length": OK + b"content-length: +5\r\n\r\nhello",
    "huge length": OK + b"content-length: 99999999999999999999\r\n\r\n",
    "space before the colon": OK + b"content-length : 5\r\n\r\nhello",
    "other coding before chunked": OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding after chunked": OK + b"transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "unknown coding": OK + b"transfer-encoding: identity\r\n\r\nhello",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\nhi",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
    "bare CR in a value": OK + b"x: a\rb\r\ncontent-length: 2\r\n\r\nhi",
    "NUL in a value": OK + b"x: a\0b\r\ncontent-length: 2\r\n\r\nhi",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw",
    "interim status the parser gives a body": b"HTTP/1.1 199 Odd\r\ncontent-length: 4\r\n\r\nevil"
    + OK
    + b"content-length: 2\r\n\r\nhi",
    "interim status the parser reads to the end": b"HTTP/1.1 104 Odd\r\n\r\n"
    + OK
    + b"content-length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 000 Zero\r\ncontent-length: 0\r\n\r\n",
    "status above 599": b"HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
    "unknown version": b"HTTP/1.9 200 OK\r\ncontent-length: 0\r\n\r\n",
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answer(name: str) -> None:
    answer, (status, body, failure, pooled) = ANSWERS[name]
    seen = outcome([answer])
    assert (seen[0], seen[2], seen[3], seen[4]) == (status, body, failure, pooled)


@pytest.mark.parametrize("name", REFUSED)
def test_bad_framing_is_a_protocol_error(name: str) -> None:
    assert outcome([REFUSED[name]])[3] is UpstreamProtocolError


@pytest.mark.parametrize("name", [*ANSWERS, *REFUSED])
def test_any_split_in_two_gives_the_same(name: str) -> None:
    answer = ANSWERS[name][0] if name in ANSWERS else REFUSED[name]
    whole = outcome([answer])
    for cut in range(1, len(answer)):
        assert outcome([answer[:cut], answer[cut:]]) == whole, f"split at {cut}"
    assert outcome([bytes([byte]) for byte in answer]) == whole


@settings(max_examples=150, deadline=None)
@given(
    answer=st.sampled_from([answer for answer, _ in ANSWERS.values()]),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_any_split_gives_the_same(answer: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    packets = [answer[start:end] for start, end in pairwise(places)]
    assert outcome(packets) == outcome([answer])


def test_head_has_a_length_but_no_body_and_is_not_reused() -> None:
    answer = OK + b"content-length: 5\r\n\r\n"
    for packets in ([answer], [answer + b"hello"], [answer[:9], answer[9:]]):
        status, _, body, failure, pooled = outcome(packets, request=b"HEAD / HTTP/1.1\r\n\r\n")
        assert (status, body, failure, pooled) == (200, b"", None, False)


def test_headers_are_lower_case_joined_and_kept_in_order() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(
            b"HTTP/1.1 429 Too Many\r\nVia: a\r\nSet-Cookie: a=1\r\nVIA: b \r\nSet-Cookie: b=2\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        head = await wire.connection.head()
        assert (head.status, head.reason, head.keep_alive) == (429, b"Too Many", True)
        assert head.headers == {b"via": b"a, b", b"set-cookie": b"a=1", b"content-length": b"0"}
        assert head.raw_headers == [
            (b"via", b"a"),
            (b"set-cookie", b"a=1"),
            (b"via", b"b"),
            (b"set-cookie", b"b=2"),
            (b"content-length", b"0"),
        ]

    run(main)


def test_trailers_are_not_mixed_into_the_headers() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"transfer-encoding: chunked\r\n\r\n0\r\nset-cookie: late\r\n\r\n")
        head = await wire.connection.head()
        assert head.raw_headers == [(b"transfer-encoding", b"chunked")]

    run(main)


def test_a_pooled_connection_answers_without_suspension() -> None:
    """Run has no task, so this also shows that nothing but Signals is awaited."""
    bodies: list[bytes] = []

    async def request(wire: Wire) -> None:
        taken = wire.pool.take()
        assert taken is not None
        connection, _ = taken
        connection.send(GET)
        head = await connection.head()
        bodies.append(await connection.read_all(100))
        assert head.status == 200
        connection.release()

    def failed(_: Run, error: BaseException | None) -> None:
        assert error is None

    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 0\r\n\r\n")
        wire.connection.release()
        for number in range(3):
            Run(request(wire), failed).start()
            wire.receive(OK + b"content-length: 1\r\n\r\n%d" % number)
            assert bodies[number] == b"%d" % number  # inside data_received, not an iteration later
            assert wire.pooled
        assert wire.connection.reused
        assert len(wire.transport.written) == 4

    loop = asyncio.new_event_loop()
    try:
        # A callback, not a task: the way data arrives.
        errors: list[BaseException] = []

        def step() -> None:
            try:
                main().send(None)
            except StopIteration:
                pass
            except BaseException as error:
                errors.append(error)
            loop.stop()

        loop.call_soon(step)
        loop.run_forever()
        assert errors == []
    finally:
        loop.close()


def test_a_single_piece_is_handed_over_uncopied() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 4\r\n\r\nbody")
        piece = wire.connection._pieces[0]
        assert await wire.connection.read() is piece
        assert await wire.connection.read() == b""

    run(main)


def test_the_waiter_may_send_the_next_request_from_within() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)

        async def borrower() -> list[bytes]:
            bodies = []
            for _ in range(2):
                await wire.connection.head()
                bodies.append(await wire.connection.read_all(10))
                wire.connection.release()
                taken = wire.pool.take()
                assert taken is not None
                taken[0].send(GET)
            return bodies

        task = await started(borrower())
        wire.receive(OK + b"content-length: 1\r\n\r\na")
        await asyncio.sleep(0)
        wire.receive(OK + b"content-length: 1\r\n\r\nb")
        assert await task == [b"a", b"b"]

    run(main)


# --- reuse ----------------------------------------------------------------------------------


def test_bytes_on_an_idle_connection_poison_it() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 0\r\n\r\n")
        wire.connection.release()
        assert wire.pooled
        wire.receive(OK + b"content-length: 4\r\n\r\nevil")
        assert wire.transport.aborted
        assert wire.pool.empty

    run(main)


def test_an_idle_connection_closed_by_the_peer_leaves_the_pool_at_once() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 0\r\n\r\n")
        wire.connection.release()
        wire.eof()
        assert wire.pool.empty

    run(main)


def test_a_connection_released_before_the_end_is_closed() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 5\r\n\r\nhel")
        wire.connection.release()
        assert wire.transport.aborted
        assert wire.pool.empty

    run(main)


def test_an_unread_but_complete_body_does_not_prevent_reuse_nor_leak_into_the_next() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 5\r\n\r\nhello")
        wire.connection.release()
        assert wire.pooled
        wire.pool.take()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 2\r\n\r\nhi")
        assert (await wire.connection.head()).status == 200
        assert await wire.connection.read_all(10) == b"hi"

    run(main)


def test_an_answer_before_the_upload_ended_prevents_reuse() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", complete=False)
        wire.receive(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
        assert not await wire.connection.send_piece(b"5\r\nhello\r\n")
        assert (await wire.connection.head()).status == 413
        wire.connection.release()
        assert len(wire.transport.written) == 1
        assert wire.pool.empty

    run(main)


def test_a_complete_upload_allows_reuse() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(b"POST / HTTP/1.1\r\ncontent-length: 4\r\n\r\n", complete=False)
        assert await wire.connection.send_piece(b"ab")
        assert await wire.connection.send_piece(b"cd", last=True)
        wire.receive(OK + b"content-length: 0\r\n\r\n")
        assert (await wire.connection.head()).status == 200
        wire.connection.release()
        assert wire.pooled
        assert b"".join(wire.transport.written).endswith(b"abcd")

    run(main)


# --- failures ---------------------------------------------------------------------------------


def test_lost_before_sending_is_unsent() -> None:
    async def main() -> None:
        wire = Wire()
        wire.transport.close()  # the loop knows, but has not told
        wire.connection.send(GET)
        wire.transport.lose()
        with pytest.raises(UpstreamDisconnected) as caught:
            await wire.connection.head()
        assert caught.value.unsent
        assert wire.transport.written == []

    run(main)


def test_a_reused_connection_lost_before_sending_is_unsent() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 0\r\n\r\n")
        wire.connection.release()
        wire.pool.take()
        wire.eof()
        wire.connection.send(GET)
        with pytest.raises(UpstreamDisconnected) as caught:
            await wire.connection.head()
        assert caught.value.unsent
        assert len(wire.transport.written) == 1

    run(main)


def test_a_tls_alert_while_the_request_is_sent_is_told_as_such() -> None:
    async def main() -> None:
        wire = Wire()
        wire.transport.close()
        wire.connection.send(GET)
        wire.transport.lose(ssl.SSLError(1, "certificate required"))
        with pytest.raises(UpstreamTlsFailed):
            await wire.connection.head()

    run(main)


def test_closed_after_sending_is_not_unsent() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        task = await started(wire.connection.head())
        wire.eof()
        with pytest.raises(UpstreamDisconnected, match="engine:80 closed the connection") as caught:
            await task
        assert not caught.value.unsent

    run(main)


def test_a_reset_cuts_a_body_that_only_the_end_delimits() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"\r\nhello")
        wire.transport.lose(ConnectionResetError())
        assert await read_to_end(wire.connection) == (b"hello", UpstreamCut)

    run(main)


def test_tls_without_closing_alert_cuts_a_body_that_only_the_end_delimits() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"\r\nhello")
        wire.transport.lose()  # asyncio's TLS calls eof_received for a proper end only
        assert await read_to_end(wire.connection) == (b"hello", UpstreamCut)

    run(main)


def test_a_tls_alert_after_the_handshake_is_a_tls_failure() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.transport.lose(ssl.SSLError(1, "alert"))
        with pytest.raises(UpstreamTlsFailed):
            await wire.connection.head()

    run(main)


def test_bytes_before_the_request_are_a_protocol_error() -> None:
    async def main() -> None:
        wire = Wire()
        wire.receive(b"220 mail.example ESMTP\r\n")
        wire.connection.send(GET)
        with pytest.raises(UpstreamProtocolError):
            await wire.connection.head()
        assert wire.transport.written == []

    run(main)


def test_an_error_is_raised_by_every_wait_that_follows() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.eof()
        for _ in range(2):
            with pytest.raises(UpstreamDisconnected):
                await wire.connection.head()
        with pytest.raises(UpstreamDisconnected):
            await wire.connection.read()
        with pytest.raises(UpstreamDisconnected):
            await wire.connection.read_all(10)

    run(main)


def test_the_deadline_wakes_the_waiter_and_closes() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        task = await started(wire.connection.head())
        wire.connection.expire()
        with pytest.raises(UpstreamTimeout, match="did not answer in time"):
            await task
        assert wire.transport.aborted
        assert wire.pool.empty

    run(main)


def test_what_arrived_before_the_deadline_can_still_be_read() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 9\r\n\r\nhello")
        wire.connection.expire()
        assert await read_to_end(wire.connection) == (b"hello", UpstreamTimeout)

    run(main)


def test_a_deadline_after_the_end_costs_only_the_reuse() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 5\r\n\r\nhello")
        wire.connection.expire()
        assert await wire.connection.read_all(10) == b"hello"
        wire.connection.release()
        assert wire.pool.empty

    run(main)


def test_abort_closes_at_once_and_wakes_the_waiter() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 9\r\n\r\n")
        task = await started(wire.connection.read())
        wire.connection.abort()
        wire.connection.abort()
        assert wire.transport.aborted
        with pytest.raises(UpstreamCut, match="aborted"):
            await task

    run(main)


def test_abort_drops_what_was_not_read() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 5\r\n\r\nhello")
        wire.connection.abort()
        with pytest.raises(UpstreamCut):
            await wire.connection.read_all(100)

    run(main)


def test_a_cancelled_wait_keeps_its_own_error() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        task = await started(wire.connection.head())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        wire.connection.abort()
        assert wire.pool.empty

    run(main)


def test_a_fault_inside_a_parser_callback_is_not_taken_for_the_upstreams() -> None:
    class Broken(Connection):
        def on_status(self, reason: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        pool: Pool[Connection] = Pool("engine:80", 1, 1.0)
        connection = Broken(pool, Shared(lambda flush: flush()), "engine:80")
        FakeTransport(connection)
        connection.send(GET)
        with pytest.raises(ZeroDivisionError):
            connection.data_received(OK)

    run(main)


# --- bounds -----------------------------------------------------------------------------------

_LONG_HEADERS = b"".join(b"x-%03d: %b\r\n" % (n, b"v" * 90) for n in range(20))  # 2 kB


@pytest.mark.parametrize(
    "answer",
    [
        OK + _LONG_HEADERS + b"content-length: 2\r\n\r\nhi",
        OK + b"x: " + b"v" * 3000,
        OK + b"x" * 3000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + _LONG_HEADERS,
        OK + b"transfer-encoding: chunked\r\n\r\n0\r\nx: " + b"v" * 3000,
        OK + b"transfer-encoding: chunked\r\n\r\n5;" + b"e" * 3000,
    ],
    ids=["headers", "value", "name", "interim", "trailers", "trailer", "extension"],
)
@pytest.mark.parametrize("size", [10_000, 100, 7])
def test_nothing_between_bodies_grows_without_bound(answer: bytes, size: int) -> None:
    async def main() -> None:
        wire = Wire(max_head_bytes=1024)
        wire.connection.send(GET)
        wire.receive(*(answer[start : start + size] for start in range(0, len(answer), size)))
        _, failure = await read_to_end(wire.connection)
        assert failure is UpstreamProtocolError
        assert wire.pool.empty

    run(main)


def test_a_large_body_in_the_same_packet_does_not_count_as_headers() -> None:
    async def main() -> None:
        wire = Wire(max_head_bytes=1024)
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 5000\r\n\r\n" + b"b" * 5000)
        assert len(await wire.connection.read_all(10_000)) == 5000
        wire.connection.release()
        assert wire.pooled

    run(main)


def test_reading_pauses_while_the_borrower_is_slow() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(OK + b"content-length: 1000000\r\n\r\n", b"b" * PAUSE_BYTES)
        reading = [wire.transport.reading]
        wire.receive(b"b")
        reading.append(wire.transport.reading)
        assert len(await wire.connection.read()) == PAUSE_BYTES + 1
        assert [*reading, wire.transport.reading] == [True, False, True]

    run(main)


def test_read_all_is_woken_once_and_bounded() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        size = 2 * PAUSE_BYTES
        wire.receive(OK + b"content-length: %d\r\n\r\n" % size)
        task = await started(wire.connection.read_all(size))
        for _ in range(size // 1024):
            wire.receive(b"b" * 1024)
        assert wire.transport.reading
        assert len(await task) == size

    run(main)


@pytest.mark.parametrize("packets", [[b"b" * 11], [b"b" * 6, b"b" * 5], [b"b" * 10, b"b" * 1000]])
def test_an_answer_over_the_limit_is_refused(packets: list[bytes]) -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        size = sum(map(len, packets))
        task = await started(wire.connection.read_all(10))
        wire.receive(OK + b"content-length: %d\r\n\r\n" % size, *packets)
        with pytest.raises(BadUpstreamAnswer, match="more than 10 bytes"):
            await task
        assert wire.transport.aborted

    run(main)


def test_an_upload_waits_for_the_upstream() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", complete=False)
        wire.connection.pause_writing()
        task = await started(wire.connection.send_piece(b"ab", last=True))
        assert not task.done()
        wire.connection.resume_writing()
        assert await task
        assert wire.transport.written[-1] == b"ab"

    run(main)


def test_a_piece_is_not_written_to_a_transport_that_closes() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", complete=False)
        wire.transport.close()
        task = await started(wire.connection.send_piece(b"ab", last=True))
        assert not task.done()
        wire.transport.lose()
        with pytest.raises(UpstreamDisconnected):
            await task

    run(main)


def test_an_upload_that_waits_ends_with_an_early_answer() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", complete=False)
        wire.connection.pause_writing()
        task = await started(wire.connection.send_piece(b"ab", last=True))
        wire.receive(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n")
        assert await task is False

    run(main)


def test_an_upload_that_waits_ends_with_the_connection() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n", complete=False)
        wire.connection.pause_writing()
        task = await started(wire.connection.send_piece(b"ab", last=True))
        wire.eof()
        with pytest.raises(UpstreamDisconnected):
            await task

    run(main)


# --- liveness ---------------------------------------------------------------------------------


def test_usable_looks_at_the_transport() -> None:
    async def main() -> None:
        wire = Wire()
        assert wire.connection.usable(0.0)
        wire.transport.close()
        assert not wire.connection.usable(0.0)

    run(main)
