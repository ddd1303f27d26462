"""Memory of one gateway over many requests with thousands of model names that nobody knows.

In one process and without sockets, as `bench.micro` does it, so that a million
requests take a minute: half are for junk names that no route has, half for
junk names that a wildcard route takes. Printed is the memory held after each
tenth; what matters is that it stops growing. The ledger is off by default, as
its file's cache is SQLite's business; `--ledger` turns it on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from bench.gateway.programs import BenchError
from bench.micro import Upstream, Wire, _answer
from fairlead import config as cfg
from fairlead.app import Gateway, Worker
from fairlead.config.parse import parse
from fairlead.gateway.db import ensure_first_key

_CONFIG: Final = """\
providers:
  a: {type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
models:
  "junk/*": {targets: [{provider: a}]}
"""
_PARTS: Final = 10
_GROWTH_MIB: Final = 8.0
"""Between the fifth tenth and the last: less than eight bytes a request of a million."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("memory", help="memory over many requests with junk model names")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--names", type=int, default=10_000)
    parser.add_argument("--ledger", action="store_true", help="keep the ledger, too")
    parser.add_argument("--check", action="store_true", help="exit status 1 when memory goes on growing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> bool:
    """Measure and print; True when memory has stopped growing."""
    with tempfile.TemporaryDirectory(prefix="fairlead-memory-") as state:
        held = uvloop.run(_measure(options, Path(state)))
    growth = held[-1] - held[_PARTS // 2 - 1]
    print(f"growth in the second half: {growth:+.1f} MiB")
    return growth < _GROWTH_MIB


async def _measure(options: argparse.Namespace, state: Path) -> list[float]:
    config = msgspec.structs.replace(
        parse(_CONFIG, "bench"),
        server=cfg.Server(port=0),
        ledger=cfg.Ledger(enabled=options.ledger),
    )
    gateway = Gateway(config, state, os.environ, Worker())
    upstream = Upstream(_answer("unary"))
    await gateway.start()
    try:
        gateway.client._dial = upstream.dial  # where the network begins; the gateway has no other
        secret = await ensure_first_key(gateway.database, now=time.time())
        await gateway.keys.poll()
        assert secret is not None
        client = _Client(gateway, secret, options.names)
        held = []
        for part in range(_PARTS):
            await client.ask(options.requests // _PARTS)
            await gateway.recorder.flush()
            held.append(_held_mib())
            series = sum(len(family.series) for family in gateway.metrics.families())
            done = (part + 1) * (options.requests // _PARTS)
            print(f"{done:9} requests  {held[-1]:7.1f} MiB  {series} series", flush=True)
        return held
    finally:
        await gateway.stop()
        upstream.close()


class _Client:
    """Asks for one model name after the other over one connection."""

    def __init__(self, gateway: Gateway, secret: str, names: int) -> None:
        self._protocol = gateway.server.protocol()
        self._secret = secret
        self._names = names
        self._number = 0
        self._left = 0
        self._done = asyncio.Event()
        self._soon = asyncio.get_running_loop().call_soon
        self._protocol.connection_made(Wire(self._received, {"peername": ("127.0.0.1", 5000)}))

    async def ask(self, requests: int) -> None:
        """Ask so often."""
        self._left = requests
        self._done.clear()
        self._next()
        await self._done.wait()
        if self._left:
            raise BenchError("the gateway answered with something else than 200 or 404")

    def _next(self) -> None:
        number = self._number = self._number + 1
        name = f"{'junk/' if number % 2 else 'nobody-'}{number % self._names}"
        body: dict[str, Any] = {"model": name, "messages": [{"role": "user", "content": "hello"}]}
        encoded = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self._secret}\r\ncontent-length: {len(encoded)}\r\n\r\n"
        )
        self._protocol.data_received(head.encode() + encoded)

    def _received(self, data: bytes) -> None:
        if data.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
            self._left -= 1
            if self._left:
                self._soon(self._next)
                return
        self._done.set()


def _held_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
