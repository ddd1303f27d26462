"""Asking real local ports."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fairlead.config.probe import Place, probe_local_engines

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[int]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def models(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    assert request.startswith(b"GET /v1/models HTTP/1.0\r\n")
    writer.write(b'HTTP/1.0 200 OK\r\n\r\n{"data":[{"id":"tiny","owned_by":"vllm"}]}')
    writer.close()


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
    try:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
    except OSError:
        writer.close()


async def closed_port() -> int:
    async with listening(silence) as port:
        return port


def test_engines_are_found_beside_ports_that_are_closed_silent_or_endless() -> None:
    async def scenario() -> None:
        async with listening(models) as vllm, listening(silence) as mute, listening(endless) as flood:
            places = [
                Place(await closed_port(), "tgi", "tgi"),
                Place(mute, "sglang", "sglang"),
                Place(vllm, "vllm", "vllm"),
                Place(flood, "ollama", "ollama"),
            ]
            began = time.monotonic()
            found = await probe_local_engines(places, timeout_s=0.3)
            assert time.monotonic() - began < 2
            assert [(engine.name, engine.models) for engine in found] == [("vllm", ("tiny",))]

    asyncio.run(scenario())


def test_closed_ports_cost_next_to_nothing() -> None:
    async def scenario() -> None:
        places = [Place(await closed_port(), "vllm", "vllm") for _ in range(6)]
        began = time.monotonic()
        assert await probe_local_engines(places) == []
        assert time.monotonic() - began < 0.25

    asyncio.run(scenario())
