"""Gives the engine a clock: one timer for the next step, however many requests run.

A `Job` is one request: its choices are sequences of the engine. Tokens land in
the job's queue in the step that produced them and its waiter is resumed in the
same loop iteration. Leaving a job early cancels what is left of it at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from fairlead.net.run import Signal
from fairlead.simulate.engine import Engine, Progress, Request
from fairlead.simulate.metrics import Metrics
from fairlead.simulate.text import Reply

_STEPS_PER_TURN = 64
_TICK_S = 0.0005
"""uvloop's timers count whole milliseconds, rounded: a step may be that early instead of asked for twice."""


class Job:
    """One request under way."""

    __slots__ = ("_ids", "_pending", "_pump", "_signal", "left", "progress")

    def __init__(self, pump: Pump, ids: list[int], progress: list[Progress], left: int) -> None:
        self._pump = pump
        self._ids = ids
        self._pending: deque[tuple[int, int]] = deque()
        self._signal = Signal()
        self.progress = progress
        self.left = left
        """Tokens not yet taken."""

    async def next(self) -> tuple[int, int]:
        """Wait for the next token of any choice: (choice, index). Call it while `left` is not 0."""
        while not self._pending:
            await self._signal
        self.left -= 1
        return self._pending.popleft()

    async def rest(self) -> None:
        """Wait for everything that is left."""
        while self.left:
            await self.next()

    def leave(self) -> None:
        """Cancel what is unfinished; nothing when all is done."""
        self._pump.leave(self._ids)

    def deliver(self, choice: int, index: int) -> None:
        """The engine made a token for one of the choices."""
        self._pending.append((choice, index))
        self._signal.fire()


class _Member:
    __slots__ = ("choice", "finish", "job", "last_at", "progress")

    def __init__(self, job: Job, choice: int, progress: Progress, finish: str) -> None:
        self.job = job
        self.choice = choice
        self.progress = progress
        self.finish = finish
        self.last_at = progress.arrived_at


class Pump:
    """Drives one engine by the running loop's clock."""

    def __init__(self, engine: Engine, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = engine
        self._metrics = metrics
        self._loop = loop
        self._members: dict[int, _Member] = {}
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._next_id = 0

    def submit(self, prompt_tokens: int, hashes: tuple[int, ...], replies: Sequence[Reply]) -> Job:
        """Start generating; one sequence per reply.

        Raises:
            ContextWindowExceeded: a sequence could never fit; nothing was started.
        """
        now = self._loop.time()
        ids: list[int] = []
        progress: list[Progress] = []
        job = Job(self, ids, progress, sum(len(reply.tokens) for reply in replies))
        for choice, reply in enumerate(replies):
            request = Request(
                id=self._next_id,
                prompt_tokens=prompt_tokens,
                output_tokens=len(reply.tokens),
                block_hashes=hashes,
            )
            self._next_id += 1
            try:
                one = self.engine.submit(request, now)
            except BaseException:
                self.leave(ids)
                raise
            ids.append(request.id)
            progress.append(one)
            finish = "length" if reply.finish == "length" else "stop"
            self._members[request.id] = _Member(job, choice, one, finish)
        self._schedule()
        return job

    def leave(self, ids: Sequence[int]) -> None:
        now = self._loop.time()
        for sequence_id in ids:
            member = self._members.pop(sequence_id, None)
            if member is not None and self.engine.cancel(sequence_id, now):
                self._metrics.ended(member.progress, "abort")

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        due = self.engine.due_at
        if self._timer is not None or due is None:
            return
        if due <= self._loop.time() + _TICK_S:
            self._timer = self._loop.call_soon(self._turn)
        else:
            self._timer = self._loop.call_at(due, self._turn)

    def _turn(self) -> None:
        self._timer = None
        now = self._loop.time() + _TICK_S
        for _ in range(_STEPS_PER_TURN):
            step = self.engine.advance(now)
            if step is None:
                break
            self._metrics.stepped(step)
            # The books first: a waiter that is resumed may cancel others or submit more.
            deliveries: list[tuple[Job, int, int]] = []
            for produced in step.produced:
                member = self._members[produced.id]
                self._metrics.token(member.progress, step.ended_at - member.last_at)
                member.last_at = step.ended_at
                if produced.finished:
                    del self._members[produced.id]
                    self._metrics.ended(member.progress, member.finish)
                deliveries.append((member.job, member.choice, produced.index))
            for job, choice, index in deliveries:
                job.deliver(choice, index)
        self._schedule()
