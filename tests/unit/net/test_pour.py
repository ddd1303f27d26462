"""A body that is poured into a sink: every piece once and in order, its end and its failures."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.net.test_upstream import GET, OK, Wire, run, started

from fairlead.errors import UpstreamCut, UpstreamProtocolError

HEAD = OK + b"transfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12), st.integers(0, 2**32))
def test_whatever_the_packets_the_sink_gets_the_body(contents: list[bytes], seed: int) -> None:
    data = b"".join(map(chunk, contents)) + LAST
    roll = random.Random(seed)
    cuts = sorted(roll.choices(range(len(data) + 1), k=roll.randrange(8)))
    packets = [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]

    async def main() -> None:
        wire, got = Wire(), bytearray()
        wire.connection.send(GET)
        wire.receive(HEAD)
        await wire.connection.head()

        def sink(piece: bytes) -> bool:
            got.extend(piece)
            return True

        pouring = await started(wire.connection.pour(sink))
        wire.receive(*packets)
        assert await pouring is False
        assert bytes(got) == b"".join(contents)
        wire.connection.release()
        assert wire.pooled

    run(main)


def test_a_sink_that_has_enough_is_not_called_again_and_the_rest_can_be_read() -> None:
    async def main() -> None:
        wire, got = Wire(), []
        wire.connection.send(GET)
        wire.receive(HEAD + chunk(b"a"))
        await wire.connection.head()

        def sink(piece: bytes) -> bool:
            got.append(piece)
            return len(got) < 3

        pouring = await started(wire.connection.pour(sink))
        wire.receive(chunk(b"b"), chunk(b"c"), chunk(b"d"), chunk(b"e") + LAST)
        assert await pouring is True
        assert got == [b"a", b"b", b"c"]
        assert await wire.connection.read() == b"de"
        assert await wire.connection.read() == b""

    run(main)


def test_what_the_sink_raises_is_raised_where_it_was_asked_to_pour() -> None:
    async def main() -> None:
        wire = Wire()
        wire.connection.send(GET)
        wire.receive(HEAD)
        await wire.connection.head()

        def sink(piece: bytes) -> bool:
            raise ValueError(piece)

        pouring = await started(wire.connection.pour(sink))
        wire.receive(chunk(b"a"))
        with pytest.raises(ValueError, match="a"):
            await pouring
        wire.connection.abort()

    run(main)


def test_what_arrived_before_a_fault_is_handed_over_first() -> None:
    for packet, failure in ((chunk(b"b") + b"zz\r\n", UpstreamProtocolError), (chunk(b"b"), UpstreamCut)):
        asyncio.run(_faulty(packet, failure))


async def _faulty(packet: bytes, failure: type[Exception]) -> None:
    wire, got = Wire(), []
    wire.connection.send(GET)
    wire.receive(HEAD + chunk(b"a"))
    await wire.connection.head()

    def sink(piece: bytes) -> bool:
        got.append(piece)
        return True

    pouring = await started(wire.connection.pour(sink))
    wire.receive(packet)
    wire.eof()
    with pytest.raises(failure):
        await pouring
    assert b"".join(got) == b"ab"


def test_a_cancelled_pour_leaves_no_sink_behind() -> None:
    async def main() -> None:
        wire, got = Wire(), []
        wire.connection.send(GET)
        wire.receive(HEAD)
        await wire.connection.head()

        def sink(piece: bytes) -> bool:
            got.append(piece)
            return True

        pouring = await started(wire.connection.pour(sink))
        pouring.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        wire.receive(chunk(b"a") + LAST)
        assert got == []
        assert await wire.connection.read() == b"a"

    run(main)
