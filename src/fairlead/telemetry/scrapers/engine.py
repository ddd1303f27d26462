"""What an engine says of itself, and what two readings say of the time between them.

Pure. Counters of a program that was started again begin at zero: one that has
gone down counts as it stands. Times between readings are the caller's
monotonic clock; one that goes backwards starts a new interval.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

INTERVAL_S: Final = 10.0
"""Shortest time that means are taken over: between two looks at an engine few of its requests end."""
KEPT_S: Final = 120.0
"""How long means hold when no request has ended since."""


class Total(msgspec.Struct, frozen=True, gc=False):
    """A histogram's sum and count: seconds, and how many observations they add up."""

    sum_s: float = 0.0
    count: float = 0.0


class EngineReading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An engine's figures at one moment. None is what it does not say."""

    engine: str
    """Whose names it uses: `vllm`, `sglang`, `tgi`, `llamacpp`, `trtllm` or `triton`."""
    running: float | None = None
    """Requests in its batch."""
    waiting: float | None = None
    """Requests in its own queue."""
    kv_usage: float | None = None
    """Used part of the KV cache, 0 to 1; of several engines the fullest one's."""
    capacity_tokens: int | None = None
    """Tokens the KV cache holds."""
    prompt_tokens: float | None = None
    """Counter."""
    cached_tokens: float | None = None
    """Counter: prompt tokens that were in the prefix cache."""
    generation_tokens: float | None = None
    """Counter."""
    preemptions: float | None = None
    """Counter: requests put out of the batch for want of memory."""
    queue: Total | None = None
    prefill: Total | None = None
    decode: Total | None = None
    first_token: Total | None = None
    """From arrival at the engine; contains queue and prefill."""
    inter_token: Total | None = None
    whole: Total | None = None
    """From arrival to end."""
    prefill_work_s: float | None = None
    """Counter: seconds of work on prompts, where the engine counts them apart from requests."""
    decode_work_s: float | None = None
    """Counter: seconds of work on answers."""


class EngineMeans(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Means over the requests that ended in an interval, in seconds; None where the engine does not say."""

    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    first_token_s: float | None = None
    inter_token_s: float | None = None


class Work(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an engine did in an interval: seconds in each phase, and the tokens they were spent on."""

    prefill_s: float = 0.0
    decode_s: float = 0.0
    prompt_tokens: float = 0.0
    """Those computed; tokens from the prefix cache are not among them."""
    output_tokens: float = 0.0


class Interval:
    """The readings of one engine, one after the other. Mutable."""

    __slots__ = ("_base", "_base_at", "_means", "_means_at", "latest", "latest_at", "work")

    def __init__(self) -> None:
        self.latest: EngineReading | None = None
        self.latest_at = -math.inf
        self._base: EngineReading | None = None
        self._base_at = -math.inf
        self._means: EngineMeans | None = None
        self._means_at = -math.inf
        self.work = Work()
        """Everything since the first reading, added up."""

    def saw(self, reading: EngineReading, now: float) -> None:
        """Take a reading made at `now` (monotonic seconds)."""
        self.latest, self.latest_at = reading, now
        base = self._base
        if base is None or base.engine != reading.engine or now < self._base_at:
            self._base, self._base_at = reading, now
            return
        if now - self._base_at < INTERVAL_S:
            return
        found = means(base, reading)
        if found != EngineMeans():
            self._means, self._means_at = found, now
        self.work = _added(self.work, work(base, reading))
        self._base, self._base_at = reading, now

    def means(self, now: float) -> EngineMeans | None:
        """The means of the last interval in which requests ended; None when that is long ago."""
        return self._means if now - self._means_at <= KEPT_S else None


def means(before: EngineReading, after: EngineReading) -> EngineMeans:
    """Means over what ended between two readings.

    An engine without a histogram of prefill or decode has them as what is left
    of the first token's time without the queue's, and of the whole without
    what comes before.
    """
    queue, prefill = _mean(before.queue, after.queue), _mean(before.prefill, after.prefill)
    decode, first = _mean(before.decode, after.decode), _mean(before.first_token, after.first_token)
    whole = _mean(before.whole, after.whole)
    if prefill is None and first is not None and queue is not None:
        prefill = max(first - queue, 0.0)
    if decode is None and whole is not None:
        if first is not None:
            decode = max(whole - first, 0.0)
        elif queue is not None and prefill is not None:
            decode = max(whole - queue - prefill, 0.0)
    return EngineMeans(
        queue_s=queue,
        prefill_s=prefill,
        decode_s=decode,
        first_token_s=first,
        inter_token_s=_mean(before.inter_token, after.inter_token),
    )


def work(before: EngineReading, after: EngineReading) -> Work:
    """What was done between two readings; nothing where an engine has no times of its own for both phases.

    Seconds are those of the histograms, which requests enter when they end;
    over many intervals seconds and tokens belong together.
    """
    prompt = rise(before.prompt_tokens, after.prompt_tokens)
    output = rise(before.generation_tokens, after.generation_tokens)
    prefill_s = rise(before.prefill_work_s, after.prefill_work_s)
    decode_s = rise(before.decode_work_s, after.decode_work_s)
    first = _seconds(before.first_token, after.first_token)
    if prefill_s is None:
        prefill_s = _seconds(before.prefill, after.prefill)
    if prefill_s is None:
        prefill_s = _less(first, _seconds(before.queue, after.queue))
    if decode_s is None:
        decode_s = _seconds(before.decode, after.decode)
    if decode_s is None:
        decode_s = _less(_seconds(before.whole, after.whole), first)
    if prompt is None or output is None or prefill_s is None or decode_s is None:
        return Work()
    cached = rise(before.cached_tokens, after.cached_tokens) or 0.0
    return Work(
        prefill_s=prefill_s,
        decode_s=decode_s,
        prompt_tokens=max(prompt - cached, 0.0),
        output_tokens=output,
    )


def since(before: Total | None, after: Total | None) -> Total | None:
    """What a histogram has gained; None when it is not there. One that has gone down began at zero."""
    if after is None:
        return None
    if before is None or after.count < before.count or after.sum_s < before.sum_s:
        # What is new on a page may be as old as the engine: nothing is known of the interval.
        return after if before is not None else Total()
    return Total(after.sum_s - before.sum_s, after.count - before.count)


def rise(before: float | None, after: float | None) -> float | None:
    """What a counter has gained, likewise."""
    if after is None:
        return None
    if before is None:
        return 0.0
    return after - before if after >= before else after


def _mean(before: Total | None, after: Total | None) -> float | None:
    gained = since(before, after)
    # Whoever counts observations counts whole ones; a part of one would make any mean, infinity included.
    return gained.sum_s / gained.count if gained is not None and gained.count >= 1 else None


def _seconds(before: Total | None, after: Total | None) -> float | None:
    gained = since(before, after)
    return gained.sum_s if gained is not None else None


def _less(left: float | None, right: float | None) -> float | None:
    return max(left - right, 0.0) if left is not None and right is not None else None


def _added(left: Work, right: Work) -> Work:
    return Work(
        prefill_s=left.prefill_s + right.prefill_s,
        decode_s=left.decode_s + right.decode_s,
        prompt_tokens=left.prompt_tokens + right.prompt_tokens,
        output_tokens=left.output_tokens + right.output_tokens,
    )
