"""The promise of fair queueing on real processes: a quiet tenant beside one that floods.

Three gateways, each in front of a simulated engine of its own with finite capacity, serve the same quiet tenant at
the same moments: alone, beside a flood of another tenant, and beside the same flood by the same key, which is first
come, first served. All three run at once, so whatever else the machine does happens to all of them.

Everything goes over HTTP with streaming, and times to first token are the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Final, cast

import msgspec
from tests.e2e.gateway import EngineProcess, GatewayProcess, start_engine, start_gateway


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one tenant, at random moments."""

    per_s: float
    prompt_tokens: int
    answer_tokens: int


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """The engine, who sends, and for how long."""

    step_ms: float = 10.0
    sequence_ms: float = 0.1
    prefill_token_ms: float = 0.1
    max_batch: int = 32
    quiet: Load = Load(per_s=5.0, prompt_tokens=800, answer_tokens=16)
    flood: Load = Load(per_s=120.0, prompt_tokens=20, answer_tokens=48)
    warm_up_s: float = 5.0
    seconds: float = 30.0


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One request of the quiet tenant."""

    status: int
    first_token_s: float | None
    """None when there was none."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How the quiet tenant fared behind one gateway."""

    name: str
    samples: tuple[Sample, ...]
    flood_served: int
    flood_refused: int

    @property
    def lost(self) -> int:
        """Requests without a first token."""
        return sum(sample.first_token_s is None for sample in self.samples)

    def quantile_s(self, part: float) -> float:
        """A quantile of the time to first token; infinite when it is of a request that was lost."""
        times = sorted(math.inf if one.first_token_s is None else one.first_token_s for one in self.samples)
        return times[min(len(times) - 1, math.ceil(part * len(times)) - 1)]


class _Ask(asyncio.Protocol):
    """One streamed request on a connection of its own."""

    def __init__(self, request: bytes, done: asyncio.Future[Sample]) -> None:
        self._request = request
        self._done = done
        self._started = 0.0
        self._first: float | None = None
        self._begin = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._started = time.perf_counter()
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._first is None:
            now = time.perf_counter()
            self._begin += data
            # The event before it tells the role and has no content.
            if b'"content":"' in self._begin.replace(b'"content":""', b""):
                self._first = now - self._started
        self._last = data

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            status = int(self._begin[9:12]) if self._begin else 0
            whole = status == 200 and b"[DONE]" in (self._begin + self._last)[-200:] if self._begin else False
            self._done.set_result(Sample(status, self._first if whole else None))

    _last = b""


class Stack:
    """An engine, a gateway in front of it, and a key for either tenant."""

    def __init__(self, name: str, engine: EngineProcess, gateway: GatewayProcess, *, one_key: bool) -> None:
        self.name = name
        self.engine = engine
        self.gateway = gateway
        self.quiet_key = gateway.key("--tenant", "quiet")
        self.flood_key = self.quiet_key if one_key else gateway.key("--tenant", "flood")


CONFIG: Final = """
providers:
  engine: {{type: vllm, base_url: {engine}}}
models:
  m: {{targets: [{{provider: engine}}]}}
tenants:
  quiet: {{}}
  flood: {{}}
"""


@contextlib.contextmanager
def stacks(experiment: Experiment) -> Iterator[list[Stack]]:
    """The three, running."""
    timing = [
        *("--step-ms", str(experiment.step_ms), "--sequence-ms", str(experiment.sequence_ms)),
        *("--prefill-token-ms", str(experiment.prefill_token_ms), "--max-batch", str(experiment.max_batch)),
        "--no-prefix-cache",
    ]
    with contextlib.ExitStack() as stack:
        found = []
        for name in ("alone", "fair", "fcfs"):
            engine = stack.enter_context(start_engine("openai", *timing))
            gateway = stack.enter_context(start_gateway(CONFIG.format(engine=engine.base_url)))
            found.append(Stack(name, engine, gateway, one_key=name == "fcfs"))
        yield found


def request(port: int, key: str, load: Load) -> bytes:
    """One streamed chat completion of a load's size."""
    # A word is a token.
    content = "fairy " * (load.prompt_tokens - 10)
    body = json.dumps(
        {
            "model": "m", "stream": True, "max_tokens": load.answer_tokens, "ignore_eos": True,
            "messages": [{"role": "user", "content": content}],
        }
    ).encode()  # fmt: skip
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def moments(per_s: float, begin: float, end: float, seed: str) -> list[float]:
    """Random moments (a Poisson process), the same for the same seed."""
    roll = random.Random(seed)
    found: list[float] = []
    at = begin
    while (at := at + roll.expovariate(per_s)) < end:
        found.append(at)
    return found


async def send(port: int, request: bytes, moments: Sequence[float], began: float) -> list[Sample]:
    """Send a request at each moment and wait for all answers."""
    loop = asyncio.get_running_loop()
    sent: list[asyncio.Future[Sample]] = []
    opening: set[asyncio.Task[None]] = set()

    async def connect(done: asyncio.Future[Sample]) -> None:
        try:
            await loop.create_connection(lambda: _Ask(request, done), "127.0.0.1", port)
        except OSError:
            done.set_result(Sample(0, None))

    for at in moments:
        pause_s = began + at - time.perf_counter()
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        done: asyncio.Future[Sample] = loop.create_future()
        task = loop.create_task(connect(done))
        opening.add(task)
        task.add_done_callback(opening.discard)
        sent.append(done)
    return await asyncio.gather(*sent)


async def play(experiment: Experiment, stacks: Sequence[Stack]) -> list[Outcome]:
    """All tenants behind all gateways at once."""
    end = experiment.warm_up_s + experiment.seconds
    quiet = moments(experiment.quiet.per_s, 0.0, end, "quiet")
    flood = moments(experiment.flood.per_s, 0.0, end, "flood")
    began = time.perf_counter() + 0.2
    jobs = []
    for stack in stacks:
        port = stack.gateway.port
        jobs.append(send(port, request(port, stack.quiet_key, experiment.quiet), quiet, began))
        theirs = [] if stack.name == "alone" else flood
        jobs.append(send(port, request(port, stack.flood_key, experiment.flood), theirs, began))
    answers = await asyncio.gather(*jobs)
    outcomes = []
    for index, stack in enumerate(stacks):
        samples, flooded = answers[2 * index], answers[2 * index + 1]
        counted = tuple(
            sample for at, sample in zip(quiet, samples, strict=True) if at >= experiment.warm_up_s
        )
        served = sum(sample.first_token_s is not None for sample in flooded)
        outcomes.append(
            Outcome(
                name=stack.name,
                samples=counted,
                flood_served=served,
                flood_refused=sum(sample.status == 429 or sample.status == 503 for sample in flooded),
            )
        )
    return outcomes


if __name__ == "__main__":
    import sys

    experiment = msgspec.convert(json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}, Experiment)
    import uvloop

    with stacks(experiment) as running:
        outcomes = uvloop.run(play(experiment, running))
        for outcome in outcomes:
            q = [outcome.quantile_s(p) * 1000 for p in (0.1, 0.5, 0.9, 0.95, 0.99)]
            print(
                outcome.name,
                len(outcome.samples),
                "lost",
                outcome.lost,
                "ttft ms",
                [f"{x:.0f}" for x in q],
                "flood",
                outcome.flood_served,
                outcome.flood_refused,
            )
        import subprocess

        print(
            subprocess.run(
                ["ps", "-eo", "pcpu,time,args", "--sort=-time"], capture_output=True, text=True
            ).stdout[:1500]
        )
