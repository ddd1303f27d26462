"""The promise of fair queueing on real processes: a quiet tenant beside one that floods.

Real gateways, each in front of a simulated engine of its own with a batch of finite size, serve the same
quiet tenant at the same random moments: alone, beside another tenant's flood, and beside the same flood by
the same key, which is first come, first served. All run at once, so that whatever else the machine does
happens to all of them, and the first two several times over, for more samples. Everything goes over HTTP and
streams; times to first token are the client's.

The engine prefills 2,500 tokens a second and makes a step in some ten milliseconds, as a small one does. The
quiet tenant's prompts are long: what it waits for anyway is then long beside a step of the engine, and beside
what the machine's other work adds.

    python -m bench.fairness --live
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

import msgspec
from tests.e2e.gateway import start_engine, start_gateway

_GIVE_UP_S: Final = 8.0
"""After the end; who has no token then is lost."""
_CONFIG: Final = """
providers:
  engine: {{type: vllm, base_url: {engine}}}
models:
  m: {{targets: [{{provider: engine}}]}}
tenants:
  default: {{}}
  flood: {{}}
"""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant's requests are like."""

    prompt_tokens: int
    answer_tokens: int
    """On average; between half and one and a half times as many."""


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """The engine, who sends, and for how long."""

    step_ms: float = 8.0
    sequence_ms: float = 0.1
    prefill_token_ms: float = 0.4
    max_batch: int = 32
    quiet: Shape = Shape(prompt_tokens=450, answer_tokens=16)
    quiet_per_s: float = 2.0
    """At random moments."""
    flood: Shape = Shape(prompt_tokens=16, answer_tokens=32)
    flood_at_once: int = 200
    """Requests that are open at any moment, six times as many as the engine runs."""
    warm_up_s: float = 10.0
    """In which the window is found, and for a second or two is too large; not counted."""
    seconds: float = 36.0
    copies: int = 3
    """Of the quiet tenant alone and beside the flood."""


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One request."""

    status: int
    first_token_s: float
    """Infinite when there was no (whole) answer."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the quiet tenant fared."""

    name: str
    samples: tuple[Sample, ...]
    flood_served_per_s: float

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return sum(math.isinf(sample.first_token_s) for sample in self.samples)

    def quantile_s(self, part: float) -> float:
        """A quantile of the time to first token; infinite when it is of a request that was lost."""
        times = sorted(sample.first_token_s for sample in self.samples)
        return times[max(0, math.ceil(part * len(times)) - 1)]


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway with an engine behind it."""

    name: str
    copy: int
    port: int
    quiet_key: str
    flood_key: str


ALONE, FAIR, FIRST_COME = "alone", "beside a flood", "first come, first served"


@contextlib.contextmanager
def stacks(experiment: Experiment) -> Iterator[list[Stack]]:
    """All of them, running."""
    timing = [
        *("--step-ms", str(experiment.step_ms), "--sequence-ms", str(experiment.sequence_ms)),
        *("--prefill-token-ms", str(experiment.prefill_token_ms), "--max-batch", str(experiment.max_batch)),
        "--no-prefix-cache",
    ]
    wanted = [(name, copy) for copy in range(experiment.copies) for name in (ALONE, FAIR)] + [(FIRST_COME, 0)]
    with contextlib.ExitStack() as closing, ThreadPoolExecutor(max_workers=2) as pool:

        def start(one: tuple[str, int]) -> Stack:
            name, copy = one
            engine = closing.enter_context(start_engine("openai", *timing))
            gateway = closing.enter_context(start_gateway(_CONFIG.format(engine=engine.base_url)))
            quiet = gateway.admin_key  # it is a key of `default`
            flood = gateway.key("--tenant", "flood") if name == FAIR else quiet
            return Stack(name=name, copy=copy, port=gateway.port, quiet_key=quiet, flood_key=flood)

        yield list(pool.map(start, wanted))


class _Ask(asyncio.Protocol):
    """One streamed request on a connection of its own."""

    def __init__(self, request: bytes, done: asyncio.Future[Sample]) -> None:
        self._request = request
        self._done = done
        self._began = 0.0
        self._first_token_s = math.inf
        self._head = b""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._began = time.perf_counter()
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if math.isinf(self._first_token_s):
            self._head += data
            # The first event tells the role and has no content.
            if b'"content":"' in self._head.replace(b'"content":""', b""):
                self._first_token_s = time.perf_counter() - self._began
        self._tail = self._tail[-20:] + data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            status = int(self._head[9:12] or 0)
            whole = status == 200 and b"[DONE]" in self._tail
            self._done.set_result(Sample(status, self._first_token_s if whole else math.inf))


async def play(experiment: Experiment, running: Sequence[Stack]) -> list[Outcome]:
    """Everybody behind all gateways at once."""
    clock = _Clock(began=time.perf_counter() + 0.2, end_s=experiment.warm_up_s + experiment.seconds)
    flooding = []
    for stack in running:
        if stack.name != ALONE:
            flood = _flood(stack, experiment.flood, clock, experiment.flood_at_once)
            flooding.append(asyncio.ensure_future(flood))
    quiet = await asyncio.gather(
        *(_send(stack, experiment.quiet, clock, experiment.quiet_per_s) for stack in running)
    )
    served = dict(await asyncio.gather(*flooding))
    outcomes = []
    for name in (ALONE, FAIR, FIRST_COME):
        stacks = [index for index, stack in enumerate(running) if stack.name == name]
        samples = [sample for index in stacks for at, sample in quiet[index] if at >= experiment.warm_up_s]
        flooded = sum(served.get(running[index], 0) for index in stacks) / len(stacks)
        outcomes.append(Outcome(name=name, samples=tuple(samples), flood_served_per_s=flooded / clock.end_s))
    return outcomes


class _Clock(msgspec.Struct, frozen=True):
    began: float
    end_s: float

    def now_s(self) -> float:
        return time.perf_counter() - self.began

    async def wait_until(self, at_s: float) -> None:
        pause_s = at_s - self.now_s()
        if pause_s > 0:
            await asyncio.sleep(pause_s)


async def _send(stack: Stack, shape: Shape, clock: _Clock, per_s: float) -> list[tuple[float, Sample]]:
    """Send requests at random moments, the same for each copy. Returns when each was due, and its answer."""
    roll = random.Random(f"quiet {stack.copy}")
    sent: list[tuple[float, asyncio.Task[Sample]]] = []
    # First come, first served takes seconds: they are to be answered when the others are.
    end_s = clock.end_s - (_GIVE_UP_S if stack.name == FIRST_COME else 0.0)
    at = 0.0
    while (at := at + roll.expovariate(per_s)) < end_s:
        await clock.wait_until(at)
        request = _request(stack.quiet_key, shape, roll)
        sent.append((at, asyncio.ensure_future(_answer(stack.port, request, clock))))
    return [(at, await task) for at, task in sent]


async def _flood(stack: Stack, shape: Shape, clock: _Clock, at_once: int) -> tuple[Stack, int]:
    """Have so many requests open at any moment. Returns how many were answered until the end."""

    async def client(number: int) -> int:
        roll = random.Random(f"flood {stack.copy} {number}")
        served = 0
        await clock.wait_until(0.0)
        while clock.now_s() < clock.end_s:
            sample = await _answer(stack.port, _request(stack.flood_key, shape, roll), clock)
            if sample.status == 200:
                served += clock.now_s() < clock.end_s
            else:
                await asyncio.sleep(0.1)
        return served

    return stack, sum(await asyncio.gather(*(client(number) for number in range(at_once))))


async def _answer(port: int, request: bytes, clock: _Clock) -> Sample:
    """One request's answer, or what there was of it when time was up."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Sample] = loop.create_future()
    try:
        transport, _ = await loop.create_connection(lambda: _Ask(request, done), "127.0.0.1", port)
    except OSError:
        return Sample(0, math.inf)
    try:
        async with asyncio.timeout(max(0.0, clock.end_s + _GIVE_UP_S - clock.now_s())):
            return await done
    except TimeoutError:
        return Sample(0, math.inf)
    finally:
        transport.abort()


def _request(key: str, shape: Shape, roll: random.Random) -> bytes:
    """A streamed chat completion of that shape: each word is a token."""
    messages = [{"role": "user", "content": "oak " * (shape.prompt_tokens - 12)}]
    tokens = roll.randint(shape.answer_tokens // 2, shape.answer_tokens * 3 // 2)
    options = {"stream": True, "max_tokens": tokens, "ignore_eos": True}
    body = json.dumps({"model": "m", **options, "messages": messages}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def rise(outcomes: Sequence[Outcome]) -> float:
    """By what part the quiet tenant's 99th percentile is longer beside the flood."""
    alone, fair = (next(one for one in outcomes if one.name == name) for name in (ALONE, FAIR))
    return fair.quantile_s(0.99) / alone.quantile_s(0.99) - 1.0


def table(experiment: Experiment, outcomes: Sequence[Outcome]) -> str:
    """The outcomes as text."""
    lines = [
        f"{experiment.quiet_per_s:g} requests a second beside {experiment.flood_at_once} open ones; "
        f"{experiment.seconds:g} s, seconds to first token.",
        "",
        f"{'the quiet tenant':<26} requests  lost     p50     p90     p99  flood served/s",
    ]
    for one in outcomes:
        shown = [one.quantile_s(part) for part in (0.5, 0.9, 0.99)]
        times = "".join(f"{'lost' if math.isinf(value) else f'{value:.3f}':>8}" for value in shown)
        lines.append(
            f"{one.name:<26}{len(one.samples):>9}{one.lost:>6}{times}{one.flood_served_per_s:>16.1f}"
        )
    lines.append(f"\np99 to first token beside the flood: {rise(outcomes):+.1%}")
    return "\n".join(lines)


def measure(experiment: Experiment) -> list[Outcome]:
    """Start everything, play and stop."""
    import uvloop

    with stacks(experiment) as running:
        return uvloop.run(play(experiment, running))
