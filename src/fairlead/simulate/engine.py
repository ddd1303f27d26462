"""A continuous-batching inference engine as arithmetic.

The model is that of today's servers: every step of the engine decodes one
token for each running sequence and spends what is left of a token budget on
prefill, in order of arrival. A step takes

    base + per sequence in the batch + per prefilled token

seconds. A sequence is admitted when the batch and the KV cache have room for
its prompt, else it queues, first come first served. When decoding outgrows
the cache the youngest running sequence is preempted and later recomputed.

Rules kept: nothing here reads a clock, the caller passes `now`; the running
sequences are always the oldest ones; a cancelled sequence frees its blocks at
once; the same calls give the same steps.
"""

from __future__ import annotations

from collections import deque

import msgspec

from fairlead.errors import ContextWindowExceeded
from fairlead.simulate.kv import KvCache, Lease


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """How long a step takes. `speed` divides every time; `instant` makes them zero."""

    base_s: float = 0.020
    per_sequence_s: float = 0.0006
    per_prefill_token_s: float = 0.00012
    speed: float = 1.0
    instant: bool = False

    def step_s(self, sequences: int, prefill_tokens: int) -> float:
        """Seconds that one step of the batch takes."""
        if self.instant:
            return 0.0
        full = self.base_s + self.per_sequence_s * sequences + self.per_prefill_token_s * prefill_tokens
        return full / self.speed


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine has room for."""

    kv_tokens: int = 262_144
    """KV-cache capacity; also the longest context."""
    block_tokens: int = 16
    max_batch: int = 256
    step_tokens: int = 2048
    """Token budget of one step: decode first, the rest is prefill (chunked prefill)."""
    prefix_cache: bool = True


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence to generate. `block_hashes` identify the prompt's full blocks, each chained on."""

    id: int
    prompt_tokens: int
    output_tokens: int
    block_hashes: tuple[int, ...] = ()


class Produced(msgspec.Struct, frozen=True):
    """One sequence got its token number `index` (from 0)."""

    id: int
    index: int
    finished: bool


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A completed step."""

    started_at: float
    ended_at: float
    batch: int
    prefill_tokens: int
    produced: tuple[Produced, ...]


class Progress:
    """What the engine knows of one sequence; read-only for callers."""

    __slots__ = (
        "arrived_at",
        "cached_tokens",
        "computed",
        "ended_at",
        "first_token_at",
        "lease",
        "preemptions",
        "produced",
        "request",
        "scheduled_at",
    )

    def __init__(self, request: Request, arrived_at: float) -> None:
        self.request = request
        self.arrived_at = arrived_at
        self.scheduled_at: float | None = None
        self.first_token_at: float | None = None
        self.ended_at: float | None = None
        self.cached_tokens = 0
        """Prompt tokens found in the prefix cache at first admission."""
        self.produced = 0
        self.computed = 0
        """Tokens whose keys and values are in the cache."""
        self.preemptions = 0
        self.lease: Lease | None = None

    @property
    def context(self) -> int:
        """Tokens whose keys and values the next token needs."""
        return self.request.prompt_tokens + self.produced


class Counters:
    """Running totals, as an engine reports them."""

    __slots__ = ("generation_tokens", "preemptions", "prefix_hits", "prefix_queries", "prompt_tokens")

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.preemptions = 0
        self.prefix_queries = 0
        self.prefix_hits = 0


class _Batch:
    """The step under way: when it ends, and how many tokens of each sequence it computes."""

    __slots__ = ("ends_at", "plan", "prefill_tokens", "started_at")

    def __init__(
        self, started_at: float, ends_at: float, plan: list[tuple[Progress, int]], prefill: int
    ) -> None:
        self.started_at = started_at
        self.ends_at = ends_at
        self.plan = plan
        self.prefill_tokens = prefill


class Engine:
    """The state machine. `submit` and `cancel` at any time; `advance` when `due_at` has come."""

    def __init__(self, latency: Latency, limits: Limits) -> None:
        self.latency = latency
        self.limits = limits
        self.counters = Counters()
        self.kv = KvCache(
            limits.kv_tokens // limits.block_tokens, limits.block_tokens, prefix_cache=limits.prefix_cache
        )
        self._waiting: deque[Progress] = deque()
        self._running: list[Progress] = []
        self._sequences: dict[int, Progress] = {}
        self._step: _Batch | None = None

    @property
    def context_tokens(self) -> int:
        """The longest prompt and answer together."""
        return self.kv.capacity * self.kv.block_tokens

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        """Share of the KV cache that running sequences hold, from 0 to 1."""
        return self.kv.used / self.kv.capacity

    @property
    def due_at(self) -> float | None:
        """When the step under way ends; None when the engine is idle."""
        return None if self._step is None else self._step.ends_at

    def submit(self, request: Request, now: float) -> Progress:
        """Queue one sequence.

        Raises:
            ContextWindowExceeded: prompt and answer together could never fit.
        """
        assert request.id not in self._sequences
        assert request.prompt_tokens > 0
        assert request.output_tokens > 0
        total = request.prompt_tokens + request.output_tokens
        if total > self.context_tokens:
            raise ContextWindowExceeded(
                f"This model's maximum context length is {self.context_tokens} tokens. However, you "
                f"requested {total} tokens ({request.prompt_tokens} in the prompt, "
                f"{request.output_tokens} in the completion)."
            )
        progress = Progress(request, now)
        self._sequences[request.id] = progress
        self._waiting.append(progress)
        if self._step is None:
            self._begin(now)
        return progress

    def cancel(self, sequence_id: int, now: float) -> bool:
        """Forget a sequence and free its blocks. False when it is not there (any more).

        The step under way takes as long as it was going to: a GPU kernel is not interrupted.
        """
        progress = self._sequences.pop(sequence_id, None)
        if progress is None:
            return False
        progress.ended_at = now
        if progress.lease is None:
            self._waiting.remove(progress)
        else:
            self._free(progress)
            self._running.remove(progress)
        return True

    def advance(self, now: float) -> Step | None:
        """Complete the step under way if it has ended by `now`, and begin the next one.

        Call again until it returns None: a caller that was late gets one step at a time.
        """
        batch = self._step
        if batch is None or batch.ends_at > now:
            return None
        self._step = None
        produced: list[Produced] = []
        for progress, tokens in batch.plan:
            if progress.ended_at is None:  # not cancelled meanwhile
                self._complete(progress, tokens, batch.ends_at, produced)
        self._begin(batch.ends_at)
        return Step(
            started_at=batch.started_at,
            ended_at=batch.ends_at,
            batch=len(batch.plan),
            prefill_tokens=batch.prefill_tokens,
            produced=tuple(produced),
        )

    def _complete(self, progress: Progress, tokens: int, at: float, produced: list[Produced]) -> None:
        request = progress.request
        progress.computed += tokens
        if progress.computed < progress.context:
            return
        assert progress.lease is not None
        if progress.first_token_at is None:
            progress.first_token_at = at
            self.counters.prompt_tokens += request.prompt_tokens
        if tokens > 1 or progress.produced == 0:
            self.kv.share(progress.lease, request.block_hashes)
        index = progress.produced
        progress.produced += 1
        self.counters.generation_tokens += 1
        finished = progress.produced == request.output_tokens
        produced.append(Produced(request.id, index, finished))
        if finished:
            progress.ended_at = at
            self._free(progress)
            self._running.remove(progress)
            del self._sequences[request.id]

    def _begin(self, now: float) -> None:
        """Decide what the next step computes."""
        plan: list[tuple[Progress, int]] = []
        budget = self.limits.step_tokens
        prefill = 0
        preempted = False
        index = 0
        while index < len(self._running):
            progress = self._running[index]
            missing = progress.context - progress.computed
            decode = missing == 1 and progress.produced > 0
            if decode and not self._room(progress):
                preempted = True
                continue  # the youngest went; the same one tries again unless it was that one
            tokens = min(missing, budget)
            if tokens:
                plan.append((progress, tokens))
                budget -= tokens
                if not decode:
                    prefill += tokens
            index += 1
        if not preempted:
            prefill += self._admit(plan, budget, now)
        if plan:
            length = self.latency.step_s(len(plan), prefill)
            self._step = _Batch(now, now + length, plan, prefill)

    def _room(self, progress: Progress) -> bool:
        """Room for the next token; when there is none the youngest sequence is preempted."""
        assert progress.lease is not None
        if self.kv.grow(progress.lease, progress.context):
            return True
        victim = self._running.pop()
        self._free(victim)
        victim.computed = 0
        victim.preemptions += 1
        self.counters.preemptions += 1
        self._waiting.appendleft(victim)
        return False

    def _admit(self, plan: list[tuple[Progress, int]], budget: int, now: float) -> int:
        prefill = 0
        while self._waiting and budget and len(self._running) < self.limits.max_batch:
            progress = self._waiting[0]
            hashes = progress.request.block_hashes
            cached = hashes[: self.kv.hit(hashes)]
            if len(cached) * self.kv.block_tokens >= progress.context:
                cached = cached[:-1]  # the last token is always computed: it yields the next one
            lease = self.kv.lease(progress.context, cached)
            if lease is None:
                break
            self._waiting.popleft()
            self._running.append(progress)
            progress.lease = lease
            progress.computed = len(cached) * self.kv.block_tokens
            if progress.scheduled_at is None:
                progress.scheduled_at = now
                progress.cached_tokens = progress.computed
                if self.limits.prefix_cache:
                    self.counters.prefix_queries += progress.request.prompt_tokens
                    self.counters.prefix_hits += progress.computed
            tokens = min(progress.context - progress.computed, budget)
            plan.append((progress, tokens))
            budget -= tokens
            prefill += tokens
        return prefill

    def _free(self, progress: Progress) -> None:
        assert progress.lease is not None
        self.kv.release(progress.lease)
        progress.lease = None
