"""Metrics as data: what a worker counts, sends to its siblings and exposes.

A `Family` is one metric with all its series, independent of any text format.
Histogram counts are per bucket, not cumulative; the exposition adds them up.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max"]


class Exemplar(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A trace that stands for the observations of a histogram's bucket."""

    bucket: int
    """Its place in `Series.counts`."""
    trace_id: str
    value: float
    """What was observed of it."""
    at: float
    """When, in Unix seconds."""


class Series(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One set of label values and its value."""

    labels: tuple[str, ...] = ()
    """Values, in the order of the family's label names."""
    value: float | int = 0
    """A counter's or gauge's value; the sum of a histogram's observations."""
    counts: tuple[int, ...] = ()
    """A histogram's observations per bucket, the one above the last bound included."""
    exemplars: tuple[Exemplar, ...] = ()
    """At most one a bucket, in the order of the buckets. Only OpenMetrics shows them."""


class Family(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One metric. Counters carry their `_total` in the name."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    series: tuple[Series, ...] = ()
    bounds: tuple[float, ...] = ()
    merge: Merge = "sum"
    """How a gauge's values of several workers become one."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """All metrics of one worker at one moment."""

    worker: int
    generation: str
    """Which start of the whole gateway it belongs to; snapshots of different ones are never added."""
    families: tuple[Family, ...]


def single(
    name: str, kind: Literal["counter", "gauge"], text: str, value: float, *, merge: Merge = "sum"
) -> Family:
    """A family of one series without labels."""
    return Family(name=name, kind=kind, help=text, series=(Series(value=value),), merge=merge)
