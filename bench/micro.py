"""What one request costs in the gateway's own code, without sockets and without a second process.

A client's protocol and a pooled upstream connection stand on transports that
only pass bytes on, so what is counted is the path of a request: parsing, key
check, routing, relaying, the record. The kernel's part is left out, which
makes the figure stable enough to compare two versions of the code on a busy
machine: the least of many short bursts is what is printed.

    python -m bench.micro [unary|hit|stream|events] [--profile]

`stream` delivers an upstream's 53 events at once, `events` one by one; a `hit` is
answered by the cache.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from fairlead import config as cfg
from fairlead.app import Gateway, Worker
from fairlead.config.parse import parse
from fairlead.gateway.db import ensure_first_key
from fairlead.net.client import Origin
from fairlead.net.client_tls import TlsContexts
from fairlead.net.resolve import Resolver

_CONFIG: Final = """\
providers:
  a: {type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
  b: {type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
models:
  bench: {targets: [{provider: a}, {provider: b}]}
"""
_LAST_CHUNK: Final = b"0\r\n\r\n"
_CHUNKS: Final = 50
_CACHED: Final = _CONFIG.replace("{provider: b}]", "{provider: b}], cache: {}")
_REQUESTS: Final = {"unary": 2000, "hit": 2000, "stream": 400, "events": 200}
"""Requests of one burst, by mode: short enough to end between two turns of the recorder."""
_PATIENCE: Final = 4


class Wire(asyncio.Transport):
    """A transport that hands what is written to a function."""

    def __init__(self, written: Callable[[bytes], None], extra: dict[str, object]) -> None:
        super().__init__(extra)
        self.write = written  # type: ignore[method-assign,assignment]  # one call less to measure

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Nothing is open."""

    def abort(self) -> None:
        """Nothing is open."""

    def pause_reading(self) -> None:
        """Nothing is sent that was not asked for."""

    def resume_reading(self) -> None:
        """Nothing was held back."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered."""

    def get_write_buffer_size(self) -> int:
        return 0


class Upstream:
    """Stands in for the network: connections that answer each request with the same bytes."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._ends = socket.socketpair()
        self._ends[0].setblocking(False)

    async def dial(
        self, _origin: Origin, protocol: asyncio.Protocol, _resolver: Resolver, _contexts: TlsContexts
    ) -> None:
        """Connect a protocol. Its socket is there to be looked at when idle, and stays silent."""
        soon, received, pieces = asyncio.get_running_loop().call_soon, protocol.data_received, self._pieces

        def answer(_request: bytes) -> None:
            for piece in pieces:
                soon(received, piece)

        protocol.connection_made(Wire(answer, {"socket": self._ends[0]}))

    def close(self) -> None:
        """Close the sockets."""
        for end in self._ends:
            end.close()


class Client:
    """One connection to the gateway that asks again as soon as it has its answer."""

    def __init__(self, protocol: asyncio.Protocol, request: bytes, *, streamed: bool) -> None:
        self._protocol = protocol
        self._request = request
        self._streamed = streamed
        self._left = 0
        self._fresh = True
        self._bad = b""
        self._done = asyncio.Event()
        self._soon = asyncio.get_running_loop().call_soon
        protocol.connection_made(Wire(self._received, {"peername": ("127.0.0.1", 5000)}))

    async def burst(self, requests: int) -> None:
        """Ask so many times, one after the other.

        Raises:
            RuntimeError: an answer was not a success.
        """
        self._left = requests
        self._done.clear()
        self._protocol.data_received(self._request)
        await self._done.wait()
        if self._bad:
            raise RuntimeError(f"the gateway answered: {self._bad[:500]!r}")

    def _received(self, data: bytes) -> None:
        if self._fresh and not data.startswith(b"HTTP/1.1 200"):
            self._bad = data
            self._done.set()
            return
        self._fresh = not self._streamed or data.endswith(_LAST_CHUNK)
        if self._fresh:
            self._left -= 1
            if self._left:
                self._soon(self._protocol.data_received, self._request)
            else:
                self._done.set()


def main(arguments: Sequence[str]) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.micro", description="CPU time of one request in the gateway's own code."
    )
    parser.add_argument("mode", nargs="?", choices=tuple(_REQUESTS), default="unary")
    parser.add_argument("--requests", type=int, help="requests of one burst")
    parser.add_argument("--bursts", type=int, default=15)
    parser.add_argument("--profile", action="store_true", help="list where the time goes")
    parser.add_argument("--sort", default="tottime", help="order of the list: tottime, cumtime or calls")
    parser.add_argument("--lines", type=int, default=50, help="length of the list")
    options = parser.parse_args(arguments)
    options.requests = options.requests or _REQUESTS[options.mode]
    with tempfile.TemporaryDirectory(prefix="fairlead-micro-") as state:
        uvloop.run(_measure(options, Path(state)))
    return 0


async def _measure(options: argparse.Namespace, state: Path) -> None:
    streamed = options.mode not in ("unary", "hit")
    text = _CACHED if options.mode == "hit" else _CONFIG
    config = msgspec.structs.replace(parse(text, "bench"), server=cfg.Server(port=0))
    gateway = Gateway(config, state, os.environ, Worker())
    upstream = Upstream(_answer(options.mode))
    await gateway.start()
    try:
        gateway.client._dial = upstream.dial  # where the network begins; the gateway has no other
        secret = await ensure_first_key(gateway.database, now=time.time())
        await gateway.keys.poll()
        assert secret is not None
        client = Client(gateway.server.protocol(), _request(secret, streamed), streamed=streamed)
        await client.burst(options.requests)  # connects, and fills what is cached
        await gateway.recorder.flush()
        if options.profile:
            await _profile(client, options)
        else:
            await _print(client, gateway, options)
    finally:
        await gateway.stop()
        upstream.close()


async def _print(client: Client, gateway: Gateway, options: argparse.Namespace) -> None:
    path_us: list[float] = []
    record_us: list[float] = []
    for _ in range(options.bursts * _PATIENCE):
        begun = time.thread_time()
        await client.burst(options.requests)
        path_s = time.thread_time() - begun
        whole = gateway.recorder.pending == options.requests
        # Metrics and ledger take the records in batches; SQLite writes in a thread.
        begun = time.process_time()
        await gateway.recorder.flush()
        record_s = time.process_time() - begun
        if whole:  # else the recorder's own turn came in the middle of the burst
            path_us.append(path_s / options.requests * 1e6)
            record_us.append(record_s / options.requests * 1e6)
        if len(path_us) == options.bursts:
            break
    if not path_us:
        print(f"each burst of {options.requests} requests was longer than the recorder's interval")
        return
    for name, values in (("path", path_us), ("record", record_us)):
        print(
            f"{options.mode} {name:7} {min(values):7.1f} us/request (median {statistics.median(values):.1f})"
        )


async def _profile(client: Client, options: argparse.Namespace) -> None:
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(options.bursts):
        await client.burst(options.requests)
    profile.disable()
    print(f"{options.bursts * options.requests} requests; the profiler makes calls dearer than they are")
    pstats.Stats(profile).sort_stats(options.sort).print_stats(options.lines)


def _request(secret: str, streamed: bool) -> bytes:
    body: dict[str, Any] = {
        "model": "bench",
        "messages": [
            {"role": "system", "content": "You are helpful."},
            {"role": "user", "content": "y" * 400},
        ],
        "max_tokens": 200,
        "temperature": 0.7,
    }
    if streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    encoded = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {secret}\r\ncontent-length: {len(encoded)}\r\n\r\n"
    )
    return head.encode() + encoded


def _answer(mode: str) -> list[bytes]:
    """What the upstream sends, in the pieces in which it arrives."""
    usage = {"prompt_tokens": 20, "completion_tokens": _CHUNKS, "total_tokens": 20 + _CHUNKS}
    if mode in ("unary", "hit"):
        message = {"role": "assistant", "content": "x" * 700}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = _encoded("chat.completion", [choice], usage=usage)
        head = "HTTP/1.1 200 OK\r\nserver: upstream\r\ncontent-type: application/json\r\n"
        return [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body]
    choices: list[list[dict[str, Any]]] = [
        [{"index": 0, "delta": {"content": "token "}, "finish_reason": None}] for _ in range(_CHUNKS)
    ]
    events = [_encoded("chat.completion.chunk", each) for each in choices]
    events.append(
        _encoded("chat.completion.chunk", [{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    )
    events.append(_encoded("chat.completion.chunk", [], usage=usage))
    events.append(b"[DONE]")
    head = "HTTP/1.1 200 OK\r\nserver: upstream\r\ncontent-type: text/event-stream\r\n"
    pieces = [_chunk(b"data: " + event + b"\n\n") for event in events]
    pieces[0] = f"{head}transfer-encoding: chunked\r\n\r\n".encode() + pieces[0]
    pieces[-1] += _LAST_CHUNK
    return pieces if mode == "events" else [b"".join(pieces)]


def _encoded(kind: str, choices: Sequence[object], **more: object) -> bytes:
    body = {"id": "chatcmpl-bench", "object": kind, "created": 1700000000, "model": "bench"}
    return json.dumps(body | {"choices": choices} | more, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
