"""Mergeable histograms whose percentiles have a bounded relative error.

A value of at least 1 falls into bucket `i` when `GAMMA**i <= value < GAMMA**(i+1)`,
as in DDSketch; a percentile is the middle of its bucket and so at most `ERROR`
away from the value that it stands for, whatever the distribution and however
many histograms were merged. Values are microseconds or tokens; what is
smaller than 1 counts as 1.

A sketch is an integer: 40 bits for each bucket. Merging is addition, which
Python does in C: a day of minutes in milliseconds. A bucket holds up to 10**12
observations.

Stored, it is bytes: nothing for an empty sketch; pairs of index and count when
few buckets are filled; else all buckets from the first to the last.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

ERROR: Final = 0.02
"""Largest relative error of a percentile."""
GAMMA: Final = (1 + ERROR) / (1 - ERROR)
HIGHEST: Final = 1100
"""The last bucket; it begins above 10**19."""
_LARGEST: Final = 1e20
"""What is larger, infinity as well, counts as this; what is no number counts as 1."""

_PER_LOG: Final = 1 / math.log(GAMMA)
_BITS: Final = 40
_BYTES: Final = _BITS // 8
_LANE: Final = struct.Struct("<IB")
_PAIR: Final = struct.Struct("<HI")
_FEW: Final = 8
_DENSE: Final = b"d"
_SPARSE: Final = b"s"


def index(value: float) -> int:
    """The bucket of a value."""
    return min(int(math.log(min(value, _LARGEST)) * _PER_LOG), HIGHEST) if value > 1 else 0


def sketch(values: Iterable[float]) -> int:
    """The sketch of these values."""
    # The same as `index` for each, in a third of the time.
    logs = map(math.log, [min(value, _LARGEST) if value > 1 else 1 for value in values])
    counts = Counter(map(int, map(_PER_LOG.__mul__, logs)))
    return from_counts((min(bucket, HIGHEST), count) for bucket, count in counts.items())


def from_counts(counts: Iterable[tuple[int, int]]) -> int:
    """The sketch with so many observations in each of these buckets."""
    pairs = list(counts)
    if len(pairs) <= _FEW:
        return sum(count << (bucket * _BITS) for bucket, count in pairs)
    lanes = bytearray(_BYTES * (max(pairs)[0] + 1))
    for bucket, count in pairs:
        start = bucket * _BYTES
        # Two buckets beyond the highest may be one.
        before = int.from_bytes(lanes[start : start + _BYTES], "little") if bucket == HIGHEST else 0
        lanes[start : start + _BYTES] = (before + count).to_bytes(_BYTES, "little")
    return int.from_bytes(lanes, "little")


def counts_of(merged: int) -> Iterator[tuple[int, int]]:
    """The buckets that are not empty, in order, with their counts."""
    if not merged:
        return
    bucket = _first(merged)
    merged >>= bucket * _BITS
    for low, high in _LANE.iter_unpack(merged.to_bytes(_lanes(merged) * _BYTES, "little")):
        if low or high:
            yield bucket, low | high << 32
        bucket += 1


def size(merged: int) -> int:
    """How many observations there are."""
    return sum(count for _, count in counts_of(merged))


def quantiles(merged: int, shares: Sequence[float]) -> list[float] | None:
    """The values at the ranks `ceil(share * observations)`; None without any observation.

    `shares` are 0 to 1, in any order.
    """
    return summary(merged, shares)[1] or None


def summary(merged: int, shares: Sequence[float]) -> tuple[int, list[float]]:
    """How many observations there are, and their `quantiles`; none without any."""
    counts = list(counts_of(merged))
    total = sum([count for _, count in counts])
    if not total:
        return 0, []
    found = [0.0] * len(shares)
    remaining = sorted(range(len(shares)), key=lambda place: shares[place])
    below = 0
    at = 0
    for bucket, count in counts:
        below += count
        while at < len(remaining) and below >= max(1, math.ceil(shares[remaining[at]] * total - 1e-9)):
            found[remaining[at]] = middle(bucket)
            at += 1
    return total, found


def middle(bucket: int) -> float:
    """The value that is within `ERROR` of every value of a bucket."""
    return 2 * GAMMA ** (bucket + 1) / (1 + GAMMA)


def encode(merged: int) -> bytes:
    """The sketch as bytes: pairs where they are much shorter, as the other form is read much faster."""
    if not merged:
        return b""
    first = _first(merged)
    dense = merged >> (first * _BITS)
    length = _lanes(dense)
    if length > 1:
        counts = list(counts_of(merged))
        if 4 * len(counts) * _PAIR.size < length * _BYTES and all(count < 2**32 for _, count in counts):
            return _SPARSE + b"".join([_PAIR.pack(bucket, count) for bucket, count in counts])
    return _DENSE + first.to_bytes(2, "little") + dense.to_bytes(length * _BYTES, "little")


def decode(stored: bytes) -> int:
    """The sketch that `encode` gave these bytes for.

    Raises:
        ValueError: it gave them for none.
    """
    if not stored:
        return 0
    form = stored[:1]
    if form == _DENSE and len(stored) > 3:
        return int.from_bytes(stored[3:], "little") << (int.from_bytes(stored[1:3], "little") * _BITS)
    if form == _SPARSE and len(stored) % _PAIR.size == 1:
        return from_counts(_PAIR.iter_unpack(stored[1:]))
    raise ValueError("not a stored sketch")


class Tally:
    """Adds up sketches, in their stored form or not. Pairs are counted apart, which is much faster."""

    __slots__ = ("_dense", "_pairs")

    def __init__(self) -> None:
        self._dense = 0
        self._pairs: dict[int, int] = {}

    def add(self, merged: int) -> None:
        """Add a sketch."""
        self._dense += merged

    def add_stored(self, stored: bytes) -> None:
        """Add a stored sketch.

        Raises:
            ValueError: it is none.
        """
        if stored[:1] != _SPARSE or len(stored) % _PAIR.size != 1:
            self._dense += decode(stored)
            return
        pairs = self._pairs
        for bucket, count in _PAIR.iter_unpack(stored[1:]):
            pairs[bucket] = pairs.get(bucket, 0) + count

    def sketch(self) -> int:
        """Their sum."""
        return self._dense + from_counts(self._pairs.items())


def _first(merged: int) -> int:
    """The first bucket that is not empty."""
    return ((merged & -merged).bit_length() - 1) // _BITS


def _lanes(merged: int) -> int:
    """How many buckets there are up to the last that is not empty."""
    return (merged.bit_length() + _BITS - 1) // _BITS


class Spread:
    """Puts the counts of a histogram over coarse bounds into the buckets of a sketch.

    The observations of a coarse bucket are spread evenly over the fine ones within it, so what is
    known of them is no more exact than the coarse bucket is.
    """

    def __init__(self, bounds: Sequence[float], scale: float) -> None:
        """`bounds` are the coarse buckets' upper ones; times `scale` they have the sketch's unit."""
        edges = [index(bound * scale) for bound in bounds]
        lowest = max(0, edges[0] - (edges[1] - edges[0])) if len(edges) > 1 else edges[0]
        starts = [lowest, *edges]
        self._stretches = [
            (start, max(1, stop - start)) for start, stop in zip(starts, [*edges, edges[-1] + 1], strict=True)
        ]

    def sketch(self, counts: Sequence[int]) -> int:
        """The sketch of a histogram; its counts are one more than the bounds.

        Raises:
            ValueError: they are not.
        """
        return from_counts(
            chain.from_iterable(
                _evenly(start, width, count)
                for (start, width), count in zip(self._stretches, counts, strict=True)
                if count
            )
        )


def _evenly(start: int, width: int, count: int) -> Iterator[tuple[int, int]]:
    """`count` over `width` buckets from `start`; a single one lies in the middle."""
    before = 0
    for place in range(width):
        upto = (2 * count * (place + 1) + width) // (2 * width)
        if upto > before:
            yield start + place, upto - before
        before = upto
