"""The published experiments on fair serving, against a simulated batching engine.

The engine works in steps: one token for every request of its batch, and the
whole prompt of each that joins; a step's length is linear in both. A request
joins when its prompt and answer together still fit the KV cache. That is the
model of the published comparison, so its figures can be compared.

A policy decides who joins next. Those named `gateway` do not own the batch:
they stand in front of an engine with a queue of its own, first come first
served, decide at dispatch with `limits.fair` and `limits.inflight` as the
gateway does, and see only its metrics, twice a second, and its tokens.

Pure and deterministic: time is a number, chance a seed.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from fairlead.limits.fair import FairQueue, Rules
from fairlead.limits.flows import Entry, Flow
from fairlead.limits.inflight import EngineFacts, Window, WindowRules
from fairlead.limits.simulate_workloads import Arrival, Client, Workload

INPUT_WEIGHT: Final = 1.0
OUTPUT_WEIGHT: Final = 2.0
_AFTER_S: Final = 30.0
"""Arrivals and service go on for this long, so that the last requests' waits are known."""
_LOOK_S: Final = 0.5
_NETWORK_S: Final = 0.001
"""One way, between gateway and engine."""
_UNBOUNDED: Final = 10**9


class EngineShape(msgspec.Struct, frozen=True, kw_only=True):
    """Capacity and timing."""

    kv_tokens: int = 10_000
    step_s: float = 0.020
    per_sequence_s: float = 0.0006
    per_prefill_token_s: float = 0.00012


class Job:
    """One request on its way."""

    __slots__ = ("arrival", "entry", "first_token_at", "made", "refused")

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.made = 0
        self.first_token_at: float | None = None
        self.refused = False
        self.entry: Entry | None = None

    @property
    def size(self) -> int:
        return self.arrival.input_tokens + self.arrival.output_tokens


class Policy(Protocol):
    """Who joins the batch next."""

    def arrive(self, job: Job, now: float) -> None:
        """A request has come; refuse it by setting `refused`."""
        ...

    def join(self, room: int, now: float) -> Job | None:
        """The next request to join the batch, when it fits `room` tokens."""
        ...

    def made(self, job: Job, tokens: int) -> None:
        """A request got output tokens."""
        ...

    def ended(self, job: Job, now: float) -> None:
        """A request is complete."""
        ...

    def pass_time(self, now: float, engine: Engine) -> float:
        """Do what was due by `now`; return when something is due next."""
        ...


class Engine:
    """The batch. `turn` runs it until something may change."""

    def __init__(self, shape: EngineShape) -> None:
        self.shape = shape
        self.running: list[Job] = []
        self._reserved = 0

    @property
    def kv_usage(self) -> float:
        """Part of the cache that holds tokens."""
        held = sum(job.arrival.input_tokens + job.made for job in self.running)
        return held / self.shape.kv_tokens

    def turn(self, policy: Policy, now: float, until: float) -> tuple[float, int, list[Job]]:
        """Let requests join, then step at least once and at most until `until` or until one is complete.

        Returns the time, the steps made, and those that joined. Nothing happens with an empty batch.
        """
        shape, running = self.shape, self.running
        joined: list[Job] = []
        while (job := policy.join(shape.kv_tokens - self._reserved, now)) is not None:
            self._reserved += job.size
            joined.append(job)
        running += joined
        if not running:
            return now, 0, joined
        length = shape.step_s + shape.per_sequence_s * len(running)
        if joined:
            steps = 1
            length += shape.per_prefill_token_s * sum(job.arrival.input_tokens for job in joined)
        else:
            left = min(job.arrival.output_tokens - job.made for job in running)
            steps = max(1, min(left, math.ceil((until - now) / length)))
        now += steps * length
        complete = False
        for job in running:
            if not job.made:
                job.first_token_at = now
            job.made += steps
            policy.made(job, steps)
            complete |= job.made == job.arrival.output_tokens
        if complete:
            for job in [job for job in running if job.made == job.arrival.output_tokens]:
                running.remove(job)
                self._reserved -= job.size
                policy.ended(job, now)
        return now, steps, joined


# --- policies that own the batch -----------------------------------------------------------------


class FirstComeFirstServed:
    """One queue for all. With `per_minute`, each client's requests beyond that are refused."""

    def __init__(self, clients: Sequence[Client], per_minute: int | None = None) -> None:
        self._queue: deque[Job] = deque()
        self._per_minute = per_minute
        self._counts = [(0, 0)] * len(clients)

    def arrive(self, job: Job, now: float) -> None:
        if self._per_minute is not None:
            minute, count = self._counts[job.arrival.client]
            if minute != int(now // 60):
                minute, count = int(now // 60), 0
            self._counts[job.arrival.client] = (minute, count + 1)
            if count >= self._per_minute:
                job.refused = True
                return
        self._queue.append(job)

    def join(self, room: int, now: float) -> Job | None:
        return self._queue.popleft() if self._queue and self._queue[0].size <= room else None

    def made(self, job: Job, tokens: int) -> None:
        """No counters."""

    def ended(self, job: Job, now: float) -> None:
        """No counters."""

    def pass_time(self, now: float, engine: Engine) -> float:
        return math.inf


class Counters:
    """Virtual token counters inside the engine; endless `credit` is least-counter-first."""

    def __init__(self, clients: Sequence[Client], *, credit: float = 0.0) -> None:
        self._flows = _flows(clients)
        self._queue = FairQueue(
            Rules(
                input_weight=INPUT_WEIGHT,
                output_weight=OUTPUT_WEIGHT,
                max_waiting=_UNBOUNDED,
                max_waiting_per_key=_UNBOUNDED,
                credit=credit,
            )
        )

    def arrive(self, job: Job, now: float) -> None:
        arrival = job.arrival
        flow = self._flows[arrival.client]
        job.entry = self._queue.entry(flow, arrival.input_tokens, arrival.output_tokens, item=job)
        self._queue.put(job.entry, now)

    def join(self, room: int, now: float) -> Job | None:
        head = self._queue.head(now)
        if head is None or head.size_tokens > room:
            return None
        self._queue.take(head, now)
        assert isinstance(head.item, Job)
        return head.item

    def made(self, job: Job, tokens: int) -> None:
        assert job.entry is not None
        self._queue.stream(job.entry, tokens)

    def ended(self, job: Job, now: float) -> None:
        assert job.entry is not None
        self._queue.finish(job.entry)

    def pass_time(self, now: float, engine: Engine) -> float:
        return math.inf


# --- the gateway, which does not own the batch ---------------------------------------------------


class Gateway:
    """The product's queue and window in front of an engine that is first come first served."""

    def __init__(
        self,
        clients: Sequence[Client],
        *,
        fixed_tokens: int | None = None,
        metrics: bool = True,
        guess: float = 1.0,
    ) -> None:
        """Stand in front of an engine.

        Args:
            clients: who sends.
            fixed_tokens: a window that is not tuned.
            metrics: the engine shows its queue and cache; else latency must do.
            guess: how many times its real length an answer is estimated to have.
        """
        self._flows = _flows(clients)
        self._queue = FairQueue(Rules(input_weight=INPUT_WEIGHT, output_weight=OUTPUT_WEIGHT))
        fixed = WindowRules(first_tokens=fixed_tokens or 0, first_requests=_UNBOUNDED)
        self.window = Window(WindowRules() if fixed_tokens is None else fixed)
        self._metrics = metrics and fixed_tokens is None
        self._latency = not metrics and fixed_tokens is None
        self._guess = guess
        self._engine: deque[Job] = deque()
        self._sent: dict[Job, float] = {}
        self._due: list[tuple[float, int, Job | None]] = []
        """Requests that will reach the engine; None for a look at its metrics, or for a free place."""
        self._count = 0
        if self._metrics:
            self._later(_LOOK_S, None)

    def arrive(self, job: Job, now: float) -> None:
        arrival = job.arrival
        flow = self._flows[arrival.client]
        expected = round(arrival.output_tokens * self._guess)
        entry = job.entry = self._queue.entry(flow, arrival.input_tokens, expected, item=job)
        if not self._queue.waiting and self.window.admits(entry.size_tokens):
            self._queue.enter(entry)
            self._send(job, entry, now)
            return
        refused = self._queue.put(entry, now)
        if refused is not None:
            assert isinstance(refused.item, Job)
            refused.item.refused = True
        self._pump(now)

    def join(self, room: int, now: float) -> Job | None:
        return self._engine.popleft() if self._engine and self._engine[0].size <= room else None

    def made(self, job: Job, tokens: int) -> None:
        assert job.entry is not None
        self._queue.stream(job.entry, tokens)
        if self._latency and job.made == tokens and job.first_token_at is not None:
            at = job.first_token_at + _NETWORK_S
            self.window.first_token(at - self._sent[job], at)

    def ended(self, job: Job, now: float) -> None:
        assert job.entry is not None
        self._queue.finish(job.entry)
        self._sent.pop(job)
        self.window.leave(job.entry.size_tokens)
        self._pump(now + _NETWORK_S)

    def pass_time(self, now: float, engine: Engine) -> float:
        due = self._due
        while due and due[0][0] <= now:
            at, _, job = heapq.heappop(due)
            if job is not None:
                self._engine.append(job)
                continue
            facts = EngineFacts(
                running=len(engine.running), waiting=len(self._engine), kv_usage=engine.kv_usage
            )
            self.window.saw(facts, at)
            self._pump(at)
            self._later(at + _LOOK_S, None)
        return due[0][0] if due else math.inf

    def _pump(self, now: float) -> None:
        while (head := self._queue.head(now)) is not None and self.window.admits(head.size_tokens):
            self._queue.take(head, now)
            assert isinstance(head.item, Job)
            self._send(head.item, head, now)

    def _send(self, job: Job, entry: Entry, now: float) -> None:
        self.window.enter(entry.size_tokens)
        self._sent[job] = now
        self._later(now + _NETWORK_S, job)

    def _later(self, at: float, job: Job | None) -> None:
        self._count += 1
        heapq.heappush(self._due, (at, self._count, job))


def _flows(clients: Sequence[Client]) -> list[Flow]:
    return [Flow(names=(client.name,), weights=(client.weight,)) for client in clients]


POLICIES: Final[dict[str, Callable[[Sequence[Client]], Policy]]] = {
    "FCFS": FirstComeFirstServed,
    "LCF": lambda clients: Counters(clients, credit=math.inf),
    "RPM 5": lambda clients: FirstComeFirstServed(clients, 5),
    "RPM 10": lambda clients: FirstComeFirstServed(clients, 10),
    "RPM 15": lambda clients: FirstComeFirstServed(clients, 15),
    "RPM 20": lambda clients: FirstComeFirstServed(clients, 20),
    "RPM 30": lambda clients: FirstComeFirstServed(clients, 30),
    "VTC": Counters,
    "gateway, half window": lambda clients: Gateway(clients, fixed_tokens=EngineShape().kv_tokens // 2),
    "gateway, tuned": Gateway,
    "gateway, latency": lambda clients: Gateway(clients, metrics=False),
}
"""By name; `gateway, tuned` is what the product does."""


# --- a run ---------------------------------------------------------------------------------------


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Where things stand after a turn of the engine."""

    at_s: float
    service: tuple[float, ...]
    """Weighted tokens of each client until then."""
    waiting: tuple[int, ...]
    """Requests of each client that have not joined the batch."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one workload."""

    jobs: tuple[Job, ...]
    """Those that arrived within the workload's duration."""
    moments: tuple[Moment, ...]
    """Within the duration; the last is at its end."""
    ended_at: float
    """When the simulation stopped; whoever has no token then waited at least until then."""


def run(workload: Workload, policy: Policy, *, seed: int = 1, shape: EngineShape | None = None) -> Result:
    """Simulate a workload and half a minute more of it."""
    engine = Engine(shape or EngineShape())
    end = workload.duration_s + _AFTER_S
    jobs = [Job(arrival) for arrival in workload.arrivals(end, seed)]
    service = [0.0] * len(workload.clients)
    waiting = [0] * len(workload.clients)
    moments: list[Moment] = []
    now, coming = 0.0, 0
    while now < end:
        while coming < len(jobs) and jobs[coming].arrival.at_s <= now:
            job = jobs[coming]
            coming += 1
            policy.pass_time(job.arrival.at_s, engine)
            waiting[job.arrival.client] += 1
            policy.arrive(job, job.arrival.at_s)
        due = policy.pass_time(now, engine)
        if coming < len(jobs):
            due = min(due, jobs[coming].arrival.at_s)
        before = list(engine.running)
        now, steps, joined = engine.turn(policy, now, min(due, end))
        if not steps:
            now = due
            continue
        for job in joined:
            waiting[job.arrival.client] -= 1
            service[job.arrival.client] += job.arrival.input_tokens * INPUT_WEIGHT
        for job in (*before, *joined):
            service[job.arrival.client] += steps * OUTPUT_WEIGHT
        if now <= workload.duration_s:
            moments.append(Moment(now, tuple(service), tuple(waiting)))
    counted = tuple(job for job in jobs if job.arrival.at_s < workload.duration_s)
    return Result(jobs=counted, moments=tuple(moments), ended_at=now)
