"""Histograms as bucket counts over fixed upper bounds.

A histogram is `counts`, one for each bound and one more for what is above the
last. Bounds are inclusive, as in Prometheus (`le`). Histograms over the same
bounds merge by addition, so percentiles over any window or any set of
workers come from merged counts, never from averaged percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add


def merged(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """The histogram of both sets of observations; either may be empty.

    Raises:
        ValueError: when their bounds differ in number.
    """
    if not left or not right:
        return tuple(left or right)
    if len(left) != len(right):
        raise ValueError(f"histograms over {len(left) - 1} and {len(right) - 1} bounds do not merge")
    return tuple(map(add, left, right))


def coarsened(bounds: Sequence[float], counts: Sequence[int], to: Sequence[float]) -> tuple[int, ...]:
    """The histogram over fewer bounds; `to` are some of `bounds`.

    Raises:
        ValueError: when one of `to` is not.
    """
    ends = [bounds.index(bound) + 1 for bound in to]
    starts = [0, *ends]
    return tuple(sum(counts[start:end]) for start, end in zip(starts, [*ends, len(counts)], strict=True))


def quantile(bounds: Sequence[float], counts: Sequence[int], q: float) -> float | None:
    """The value below which the share `q` (0 to 1) of the observations lies; None without any.

    Interpolated linearly within its bucket, whose lower end is 0 for the first
    one. What lies above the last bound is reported as that bound: the answer is
    then a floor, not an estimate.
    """
    total = sum(counts)
    if not total:
        return None
    rank = min(max(q, 0.0), 1.0) * total
    below = 0
    lower = 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if count and below + count >= rank:
            return lower + (bound - lower) * max(rank - below, 0.0) / count
        below += count
        lower = bound
    return bounds[-1]
