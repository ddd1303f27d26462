"""What GPU time costs, and who has used it. Pure; integers, so that sums are exact.

GPUs are paid by the hour, used or not. A window (a minute) of a pool of GPUs
costs its price; the part in which requests kept its engines busy is *used* and
shared among them by the work they made, the rest is *idle*. Whatever the
requests, `used + idle` is the window's cost, and the shares are what is used,
to the micro-dollar; the windows of an hour add up to the hour's price.

- Work: prompt tokens that were computed (not those from a prefix cache) times
  a weight, spread evenly from the request's start at the engine to its first
  token, and output tokens times another, from there to its end. Requests that
  run together share the time they run in.
- Busy: an engine with any request is busy. `replicas` engines share a pool,
  and one request keeps one of them busy.
- A request that spans windows is charged in each for the work it made there.
  One whose record comes when its windows are closed is charged in the next
  for all its work, and for no time: what was idle then stays idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fairlead.config.scrape_options import ApiPrice, GpuPool
from fairlead.telemetry.scrapers.engine import Work

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3600 * SECOND_US
WINDOW_US: Final = 60 * SECOND_US

_WEIGHT_UNIT: Final = 10**9
_FEWEST_TOKENS: Final = 2000
"""Of each kind that an engine must have been seen to work on before its weights count."""
_FURTHEST: Final = 1000.0
"""How far apart two weights may be; a histogram of few requests says all sorts of things."""


class Weights(msgspec.Struct, frozen=True):
    """The work of a token, in any unit that both have in common."""

    prompt: int
    output: int
    source: str
    """`configured`, `learned` or `assumed`."""


ASSUMED: Final = Weights(_WEIGHT_UNIT, 4 * _WEIGHT_UNIT, "assumed")
"""Before anything is known: an output token is about four prompt tokens, as most APIs' prices have it."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a request at a target. Times are Unix microseconds."""

    id: str
    """The request's."""
    attempt: int
    target: str
    started_us: int
    first_us: int
    """Its first token; between the other two."""
    ended_us: int
    input_tokens: int
    cached_tokens: int
    """Those of `input_tokens` that were not computed."""
    output_tokens: int
    begun: bool = False
    """An earlier window has been charged for its part of this."""


class Share(msgspec.Struct, frozen=True):
    """What one piece is charged in a window."""

    piece: Piece
    gpu_us: int
    microusd: int


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time of a pool, and what it cost."""

    start_us: int
    end_us: int
    gpus: int
    busy_us: int
    """Engine time with requests, of all `replicas` together."""
    gpu_us: int
    """GPU time that was used; the shares' add up to it."""
    reserved_microusd: int
    used_microusd: int
    requests: int
    """Pieces that ended in it."""
    input_tokens: int
    """Theirs, as are the output tokens."""
    output_tokens: int
    weights: Weights

    @property
    def idle_microusd(self) -> int:
        """Paid and not used."""
        return self.reserved_microusd - self.used_microusd


def price_microusd(usd_per_hour: float) -> int:
    """A price per hour in micro-dollars."""
    return round(usd_per_hour * 1e6)


def cost_between(microusd_per_hour: int, start_us: int, end_us: int) -> int:
    """What is paid from one moment to another. Adjacent stretches add up exactly, whatever they are."""
    return microusd_per_hour * end_us // HOUR_US - microusd_per_hour * start_us // HOUR_US


def weights_of(pool: GpuPool, works: Iterable[Work]) -> Weights:
    """The weights of a pool's tokens: the configured ones, else what its engines have shown."""
    if pool.prompt_weight is not None and pool.output_weight is not None:
        prompt, output = (round(weight * _WEIGHT_UNIT) for weight in (pool.prompt_weight, pool.output_weight))
        return Weights(prompt, output, "configured")
    prefill_s = decode_s = prompt_tokens = output_tokens = 0.0
    for work in works:
        prefill_s += work.prefill_s
        decode_s += work.decode_s
        prompt_tokens += work.prompt_tokens
        output_tokens += work.output_tokens
    if min(prompt_tokens, output_tokens) < _FEWEST_TOKENS or min(prefill_s, decode_s) <= 0:
        return ASSUMED
    ratio = (decode_s / output_tokens) / (prefill_s / prompt_tokens)
    ratio = min(max(ratio, 1 / _FURTHEST), _FURTHEST)
    return Weights(_WEIGHT_UNIT, round(ratio * _WEIGHT_UNIT), "learned")


def work_until(piece: Piece, weights: Weights, at_us: int) -> int:
    """The work that a piece had made at a moment. Never goes down; all of it once it has ended."""
    prompt = max(piece.input_tokens - piece.cached_tokens, 0) * weights.prompt
    output = max(piece.output_tokens, 0) * weights.output
    if not prompt and not output:
        prompt = 1  # it kept an engine busy all the same
    return _spread(prompt, piece.started_us, piece.first_us, at_us) + _spread(
        output, piece.first_us, piece.ended_us, at_us
    )


def _spread(work: int, start_us: int, end_us: int, at_us: int) -> int:
    if at_us >= end_us:
        return work
    return work * (at_us - start_us) // (end_us - start_us) if at_us > start_us else 0


def close(
    pieces: Sequence[Piece],
    *,
    start_us: int,
    end_us: int,
    microusd_per_hour: int,
    gpus: int,
    replicas: int,
    weights: Weights,
) -> tuple[Window, list[Share]]:
    """Share out a window.

    Args:
        pieces: everything known that started before its end and was not wholly charged yet.
        start_us: Unix microseconds.
        end_us: after `start_us`.
        microusd_per_hour: the price of one GPU.
        gpus: how many there were.
        replicas: engines that share them.
        weights: the work of tokens.
    """
    works = [
        work_until(piece, weights, end_us) - (work_until(piece, weights, start_us) if piece.begun else 0)
        for piece in pieces
    ]
    busy_us = _busy(pieces, start_us, end_us, replicas)
    reserved = cost_between(microusd_per_hour * gpus, start_us, end_us)
    used = reserved * busy_us // ((end_us - start_us) * replicas) if sum(works) else 0
    gpu_us = busy_us * gpus // replicas if sum(works) else 0
    ended = [piece for piece in pieces if piece.ended_us <= end_us]
    window = Window(
        start_us=start_us,
        end_us=end_us,
        gpus=gpus,
        busy_us=busy_us,
        gpu_us=gpu_us,
        reserved_microusd=reserved,
        used_microusd=used,
        requests=len(ended),
        input_tokens=sum(piece.input_tokens for piece in ended),
        output_tokens=sum(piece.output_tokens for piece in ended),
        weights=weights,
    )
    parts = zip(pieces, apportion(gpu_us, works), apportion(used, works), strict=True)
    return window, [Share(piece, us, microusd) for piece, us, microusd in parts]


def _busy(pieces: Sequence[Piece], start_us: int, end_us: int, replicas: int) -> int:
    """Engine time within the window in which requests ran: of at most `replicas` at a time."""
    changes: list[tuple[int, int]] = []
    for piece in pieces:
        begins, ends = max(piece.started_us, start_us), min(piece.ended_us, end_us)
        if begins < ends:
            changes += ((begins, 1), (ends, -1))
    changes.sort()
    busy = running = 0
    since = start_us
    for at, change in changes:
        busy += (at - since) * min(running, replicas)
        running += change
        since = at
    return busy


def apportion(amount: int, works: Sequence[int]) -> list[int]:
    """`amount` in parts proportional to `works`: whole numbers that add up to it.

    Largest remainders; of equal ones the earlier. All work nothing: all parts nothing.
    """
    total = sum(works)
    if not total:
        return [0] * len(works)
    parts = [amount * work // total for work in works]
    short = amount - sum(parts)
    if short:
        by_remainder = sorted(range(len(works)), key=lambda at: (-(amount * works[at] % total), at))
        for at in by_remainder[:short]:
            parts[at] += 1
    return parts


class BreakEven(msgspec.Struct, frozen=True, kw_only=True):
    """A pool's cost beside what the same tokens would cost at an API."""

    api_microusd: int
    """The API's price of the tokens that were served."""
    saved_microusd: int
    """What owning the GPUs has saved; below 0 it has cost more."""
    times: float | None
    """How many times this traffic would cost as much at the API as the GPUs do; None without traffic."""


def break_even(reserved_microusd: int, input_tokens: int, output_tokens: int, api: ApiPrice) -> BreakEven:
    """Compare what was reserved with an API's price. Cached input counts as other input."""
    api_microusd = round(input_tokens * api.input_usd_per_mtok + output_tokens * api.output_usd_per_mtok)
    return BreakEven(
        api_microusd=api_microusd,
        saved_microusd=api_microusd - reserved_microusd,
        times=reserved_microusd / api_microusd if api_microusd > 0 else None,
    )
