"""Throughput of gateways that differ only in their telemetry, in turns.

Real processes, on a core of their own, with the upstream and the load on the
other: `off` counts and records nothing, `default` is an installation without
a configuration (metrics and ledger), `lines` also writes a line for each
request, `spans` exports every span to a collector, `all` does both. They take turns, so that a machine
which grows slower on the way does so for all. What counts is the least processor time that a
request took in any round, against that of `off`: a gateway has one core, so
that is its throughput, and the least depends much less than the throughput
that is seen on what else the machine is doing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NamedTuple

from bench.gateway.contestants import Contestant, start_fairlead, verify
from bench.gateway.programs import Generator, Upstream

_OFF: Final = "telemetry: {metrics: false, exemplars: false}\nledger: {enabled: false}\n"
_LINES: Final = "logs: {requests: true}\n"
_SPANS: Final = 'telemetry: {{otel: {{endpoint: "http://127.0.0.1:{collector}"}}}}\n'
_MODES: Final = ("unary", "stream", "events")
_CONNECTIONS: Final = 64
_MOST_LOST: Final = 0.10
_SETTLE_S: Final = 1.5
"""Longer than the recorder's interval: what one left to do is not done in the next one's turn."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("overhead", help="throughput with telemetry on against off")
    parser.add_argument("--mode", action="append", choices=_MODES, help="may be repeated; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run")
    parser.add_argument("--check", action="store_true", help="exit status 1 when it costs more than 10 %%")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> bool:
    """Measure and print; True when everything on costs at most a tenth."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fairlead-bench-")))
        upstream = stack.enter_context(Upstream(tokens=50, tokens_per_s=20.0))
        configs = {"off": _OFF, "default": "", "lines": _LINES}
        if importlib.util.find_spec("opentelemetry") is not None:
            spans = _SPANS.format(collector=stack.enter_context(_collector()))
            configs |= {"spans": spans, "all": _LINES + spans}
        else:
            print("without the extra `otel`: no spans are exported")
        contestants = []
        for name, config in configs.items():
            one = start_fairlead(upstream.port, directory / name, name=name, config=config)
            assert one.process is not None
            stack.enter_context(one.process)
            verify(one)
            contestants.append(one)
        generator = Generator(directory)
        kept = True
        for mode in options.mode or _MODES:
            left = _compare(generator, contestants, mode, options.rounds, options.seconds)
            kept = kept and min(left.values()) >= 1 - _MOST_LOST
        return kept


class _Round(NamedTuple):
    """What one gateway did in its turn."""

    rate: float
    """Requests a second."""
    cpu_us: float
    """Processor time of a request, what was done after its answer included."""


def _compare(
    generator: Generator, contestants: list[Contestant], mode: str, rounds: int, seconds: float
) -> dict[str, float]:
    """How much of the first one's throughput each has left, by processor time; printed too."""
    turns: dict[str, list[_Round]] = {one.name: [] for one in contestants}
    for _ in range(rounds):
        for one in contestants:
            turns[one.name].append(_turn(generator, one, mode, seconds))
    base = turns[contestants[0].name]
    left = {}
    for name, found in turns.items():
        pairs = list(zip(found, base, strict=True))
        least = min(one.cpu_us for one in found)
        left[name] = min(one.cpu_us for one in base) / least
        rate = statistics.median(one.rate for one in found)
        rates = statistics.median(one.rate / other.rate for one, other in pairs)
        print(
            f"{mode:7} {name:8} {least:7.1f} us/request, {left[name]:6.1%} of off left;  "
            f"{rate:8.1f} requests/s, {rates:6.1%} of off",
            flush=True,
        )
    return left


def _turn(generator: Generator, one: Contestant, mode: str, seconds: float) -> _Round:
    assert one.process is not None
    before = one.process.cpu_s()
    load = generator.closed(one.port, one.request(mode), _CONNECTIONS, warmup_s=0.3, seconds=seconds)
    time.sleep(_SETTLE_S)
    used_us = (one.process.cpu_s() - before) * 1e6
    return _Round(rate=load.requests / load.seconds, cpu_us=used_us / max(load.total, 1))


class _Sink(BaseHTTPRequestHandler):
    """Takes whatever it is sent."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer as a collector that has taken all of it."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _collector() -> Iterator[int]:
    """The port of a collector that keeps nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Sink)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
