"""The gateway's own stops, reloads and crashes while requests are under way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Final

from tests.e2e.faults import stories
from tests.e2e.faults.gateway import running
from tests.e2e.faults.page import Page
from tests.e2e.faults.play import words
from tests.e2e.faults.scenarios import begun, sends
from tests.e2e.faults.shapes import CHAT, CHAT_STREAM, SPARE, STREAMS, Shape
from tests.e2e.faults.stories import config, provider, target
from tests.e2e.faults.wire import Wire, ask, until

from fairlead.net.http1 import chunk
from fairlead.testing import Action, Repeat, ScriptedUpstream, Stall, Wait

STREAM_BYTES: Final = 32 * 2**20
PIECE: Final = b": " + b"x" * 65_000 + b"\n\n"


def rest(shape: Shape) -> bytes:
    """What follows `begun` in a healthy stream."""
    return shape.tokens(" reach", " the", " sea") + shape.finish() + shape.end()


async def two_tokens(wire: Wire) -> None:
    await wire.until(lambda: wire.status == 200 and wire.reading().tokens == 2)


def refuses(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_a_drain_lets_streams_finish(page: Page) -> None:
    async def main() -> None:
        for shape in STREAMS:
            go_on = asyncio.Event()
            async with ScriptedUpstream(sends(begun(shape), Wait(go_on), rest(shape))) as upstream:
                with running(config({"p": provider(shape, upstream)}, [target("p")])) as gateway:
                    async with (
                        await Wire.open(gateway.port) as idle,
                        await Wire.open(gateway.port) as wire,
                    ):
                        wire.ask(shape, "m")
                        await two_tokens(wire)
                        gateway.signal(signal.SIGTERM)
                        await until(lambda: refuses(gateway.port))  # awaited here
                        await idle.until(lambda: idle.closed)
                        go_on.set()
                        assert words(await wire.end()) == "200, whole answer"
                        assert await gateway.ended() == 0

    asyncio.run(main())
    saw = (
        "200, whole answer; new connections are refused, idle ones closed; "
        "then the process ends with status 0"
    )
    page.show(stories.DRAIN.row(STREAMS, saw, attempts="ok"))


def test_a_reload_during_traffic(page: Page) -> None:
    async def main() -> None:
        shape = CHAT_STREAM
        go_on = asyncio.Event()
        async with (
            ScriptedUpstream(sends(begun(shape), Wait(go_on), rest(shape))) as before,
            ScriptedUpstream((Repeat(sends(shape.whole(SPARE))),)) as after,
        ):
            with running(config({"p": provider(shape, before)}, [target("p")])) as gateway:
                async with await Wire.open(gateway.port) as wire, await Wire.open(gateway.port) as kept:
                    wire.ask(shape, "m")
                    await two_tokens(wire)
                    gateway.configure(config({"p": provider(shape, after)}, [target("p")]))
                    gateway.signal(signal.SIGHUP)
                    await gateway.logged("the configuration was reloaded")
                    # Connections outlive the reload; new requests go by the new configuration.
                    kept.ask(shape, "m")
                    assert words(await kept.end()) == "200, whole answer of the spare"
                    go_on.set()
                    assert words(await wire.end()) == "200, whole answer"

    asyncio.run(main())
    saw = "200, whole answer of the old target on the stream, of the new one on new requests"
    page.show(stories.RELOAD.row((CHAT_STREAM,), saw, attempts="ok"))


def test_a_bad_file_changes_nothing(page: Page) -> None:
    async def main() -> None:
        shape = CHAT
        async with ScriptedUpstream((Repeat(sends(shape.whole())),)) as upstream:
            good = config({"p": provider(shape, upstream)}, [target("p")])
            with running(good) as gateway:
                gateway.configure(config({"p": provider(shape, upstream)}, [target("nobody")]))
                gateway.signal(signal.SIGHUP)
                await gateway.logged("the running one stays")
                assert "nobody" in gateway.log
                assert words(await ask(gateway.port, shape, "m")) == "200, whole answer"
                gateway.configure(good)
                gateway.signal(signal.SIGHUP)
                await gateway.logged("the configuration was reloaded")
                assert words(await ask(gateway.port, shape, "m")) == "200, whole answer"

    asyncio.run(main())
    saw = "200, whole answer; the log names the fault and says that the running configuration stays"
    page.show(stories.BAD_RELOAD.row((CHAT,), saw, attempts="ok"))


def test_a_worker_that_is_killed(page: Page) -> None:
    """Only its own streams are lost, as cuts that a client can tell, and it is started again."""

    async def main() -> None:
        shape = CHAT_STREAM
        go_on = asyncio.Event()
        script = (Repeat(sends(begun(shape), Wait(go_on), rest(shape))),)
        async with ScriptedUpstream(script) as upstream:
            settings = config({"p": provider(shape, upstream)}, [target("p")])
            with running(settings, workers=2) as gateway:
                wires = [await Wire.open(gateway.port) for _ in range(16)]
                for wire in wires:
                    wire.ask(shape, "m")
                for wire in wires:
                    await two_tokens(wire)
                workers = children(gateway.pid)
                assert len(workers) == 2
                os.kill(workers[0], signal.SIGKILL)
                await until(lambda: any(wire.closed for wire in wires))
                await asyncio.sleep(0.1)
                go_on.set()
                saw = [words(await wire.end()) for wire in wires]
                assert set(saw) == {"200, 2 tokens, cut off", "200, whole answer"}
                # Everybody who comes now is served: by the other one, then by the new one.
                for _ in range(20):
                    assert words(await ask(gateway.port, shape, "m")) == "200, whole answer"
                await gateway.logged("is started again")
                await until(lambda: len(set(children(gateway.pid)) - {workers[0]}) == 2)
                for wire in wires:
                    wire.leave()

    asyncio.run(main())
    saw = (
        "on its streams 200, 2 tokens, cut off without HTTP's end; on the other worker's 200, whole answer; "
        "new requests are served, and the worker is started again"
    )
    page.show(stories.KILLED.row((CHAT_STREAM,), saw, attempts="none recorded for the lost streams"))


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in listed.split()]


def test_a_client_that_reads_slowly(page: Page) -> None:
    """Back-pressure reaches the upstream: what the client does not take is not held in memory."""

    async def main() -> None:
        shape = CHAT_STREAM
        count = STREAM_BYTES // len(PIECE)
        flood: list[bytes | Action] = [begun(shape), *([chunk(PIECE)] * count), rest(shape)]
        async with ScriptedUpstream(sends(*flood, Stall())) as upstream:
            settings = config({"p": provider(shape, upstream)}, [target("p")], timeouts={"stall_s": 0.4})
            with running(settings) as gateway:
                async with await Wire.open(gateway.port, receive_bytes=65_536) as wire:
                    before = resident_bytes(gateway.pid)
                    wire.ask(shape, "m")
                    await wire.until(lambda: len(wire.body) > 1000)
                    wire.transport.pause_reading()
                    await asyncio.sleep(1.0)
                    taken = len(wire.body)
                    grown = resident_bytes(gateway.pid) - before
                    assert grown < 16 * 2**20, f"{grown} bytes more while the client did not read"
                    unsent = upstream.connections[0].unsent_bytes
                    assert unsent > STREAM_BYTES // 2, "the upstream was not held back"
                    wire.transport.resume_reading()
                    # Its pause was longer than `stall_s`, which is a bound for upstreams.
                    assert words(await wire.end()) == "200, whole answer"
                    assert (await gateway.target("p"))["last_failure"] is None
                    assert len(wire.body) > STREAM_BYTES * 0.9 > taken
                    assert resident_bytes(gateway.pid) - before < 24 * 2**20

    asyncio.run(main())
    saw = "200, whole answer; the upstream is held back, and the gateway grows by less than 16 MiB"
    page.show(stories.SLOW_READER.row((CHAT_STREAM,), saw, attempts="ok", breaker="closed"))


def resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")
