"""Metrics of several workers as one.

Pure, associative and commutative (up to the rounding of float sums), so it
does not matter who asks whom. Counters and histograms are added; a gauge is
added or its maximum taken, as its family declares.
"""

from __future__ import annotations

from collections.abc import Iterable

from fairlead.telemetry.metrics import histogram
from fairlead.telemetry.metrics.samples import Exemplar, Family, Kind, Merge, Series

_Shape = tuple[str, Kind, tuple[str, ...], tuple[float, ...], Merge]


def merge(sets: Iterable[Iterable[Family]]) -> tuple[Family, ...]:
    """All families of all sets, sorted by name, each series once.

    Families that share a name but not their labels or bounds (two versions of
    the program side by side during an upgrade) are kept apart; the exposition
    shows the first of a name.
    """
    helps: dict[_Shape, str] = {}
    merged: dict[_Shape, dict[tuple[str, ...], Series]] = {}
    for families in sets:
        for family in families:
            shape = (family.name, family.kind, family.labels, family.bounds, family.merge)
            helps[shape] = min(helps.get(shape, family.help), family.help)
            all_series = merged.setdefault(shape, {})
            for series in family.series:
                other = all_series.get(series.labels)
                all_series[series.labels] = series if other is None else _both(family, other, series)
    return tuple(
        Family(
            name=shape[0],
            kind=shape[1],
            help=helps[shape],
            labels=shape[2],
            bounds=shape[3],
            merge=shape[4],
            series=tuple(merged[shape][labels] for labels in sorted(merged[shape])),
        )
        for shape in sorted(merged)
    )


def cumulative(families: Iterable[Family]) -> tuple[Family, ...]:
    """Only what has happened and stays true when a worker is gone: counters and histograms."""
    return tuple(family for family in families if family.kind != "gauge")


def _both(family: Family, left: Series, right: Series) -> Series:
    if family.kind == "gauge" and family.merge == "max":
        return left if left.value >= right.value else right
    return Series(
        labels=left.labels,
        value=left.value + right.value,
        counts=histogram.merged(left.counts, right.counts),
        exemplars=_latest(left.exemplars, right.exemplars),
    )


def _latest(left: tuple[Exemplar, ...], right: tuple[Exemplar, ...]) -> tuple[Exemplar, ...]:
    """For each bucket that has any, the later exemplar; of two at once the same whoever asks."""
    if not left or not right:
        return left or right
    found = {one.bucket: one for one in left}
    for one in right:
        other = found.get(one.bucket)
        if other is None or (other.at, other.trace_id, other.value) < (one.at, one.trace_id, one.value):
            found[one.bucket] = one
    return tuple(found[bucket] for bucket in sorted(found))
