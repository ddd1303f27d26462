"""What the metrics were, over time: where rules take rates and earlier values from.

Pure bookkeeping. Time is a number of seconds that only ever grows and that no
clock can set back: the engine adds up what passed between its turns.

Each gateway's running totals are taken relative to what it said before, so
that gateways that come, go and start anew neither add what they had counted
before anybody looked nor take anything away: only what exceeds the highest
total ever seen of a gateway's present life counts.

Old points are thinned so that their distance is about a 64th of their age, at
most a 32nd: a window's edge is off by 3 %, and three days take some hundred points.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from fairlead.telemetry.alerts.facts import MOST_GROUPS, Cell, Folded, Group

_FINENESS: Final = 64.0
_THIN_EVERY: Final = 64
_PLACES: Final = 9
"""Decimals of a running total that are kept: it is a sum of floats."""


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A group's numbers at one moment."""

    at: float
    counts: tuple[float, ...] = ()
    gauges: tuple[float, ...] = ()


class MetricSource(Protocol):
    """What rules read."""

    def groups(self, rule: str) -> Iterable[Group]:
        """Every group that the rule has numbers of."""
        ...

    def increase(self, rule: str, group: Group, window_s: float, *, ago_s: float = 0.0) -> tuple[float, ...]:
        """How much each total grew in the window that ended `ago_s` ago; empty when nothing is known."""
        ...

    def gauges(self, rule: str, group: Group, *, ago_s: float = 0.0) -> tuple[float, ...]:
        """The gauges now or some time ago (the oldest known when that is later); empty when not known."""
        ...

    def bounds(self, rule: str) -> tuple[float, ...]:
        """Of the histogram whose counts are among the rule's totals."""
        ...


class _Track:
    """One group of one rule."""

    __slots__ = ("appended", "highest", "points", "seen", "totals")

    def __init__(self, points: list[Point]) -> None:
        self.points = points
        self.totals = points[-1].counts if points else ()
        self.highest: dict[str, tuple[float, ...]] = {}
        """By gateway, its totals' high-water marks."""
        self.seen: dict[str, tuple[float, ...]] = {}
        """By gateway, its gauges."""
        self.appended = 0


class History:
    """The numbers of all gateways; a `MetricSource`."""

    def __init__(self, keep_s: Mapping[str, float]) -> None:
        """Keep for each rule its numbers for so many seconds. Rules that are not named are not kept."""
        self._keep_s = dict(keep_s)
        self._tracks: dict[str, dict[Group, _Track]] = {name: {} for name in keep_s}
        self._bounds: dict[str, tuple[float, ...]] = {}
        self._known: set[tuple[str, str]] = set()
        self._now = self._before = 0.0

    def ingest(self, now: float, reports: Mapping[str, Mapping[str, Folded]]) -> None:
        """Take what every live gateway says, by gateway (of this life) and rule. `now` never falls."""
        self._before, self._now = self._now, max(now, self._now)
        for rule, tracks in self._tracks.items():
            added = False
            for gateway, folded in reports.items():
                if rule in folded:
                    added = folded[rule].added
                    self._report(rule, gateway, folded[rule])
            for track in tracks.values():
                for gone in track.seen.keys() - reports.keys():
                    del track.seen[gone]
                for gone in track.highest.keys() - reports.keys():
                    del track.highest[gone]
                gauges = _together(list(track.seen.values()), added=added)
                self._append(track, Point(self._now, track.totals, gauges), self._keep_s[rule])
            for group in [group for group, track in tracks.items() if self._idle(rule, track)]:
                del tracks[group]
        self._known = {(rule, gateway) for gateway, folded in reports.items() for rule in folded}

    def _report(self, rule: str, gateway: str, folded: Folded) -> None:
        tracks = self._tracks[rule]
        if folded.bounds:
            self._bounds[rule] = folded.bounds
        known = (rule, gateway) in self._known
        for group, cell in folded.groups.items():
            track = tracks.get(group)
            if track is None:
                if len(tracks) >= MOST_GROUPS:
                    continue
                zeros = (0.0,) * len(cell.counts)
                track = tracks[group] = _Track([])
                track.totals = zeros
                if known:
                    # The gateway had nothing of it a turn ago: all of it is new.
                    track.points.append(Point(self._before, zeros, cell.gauges))
                    track.highest[gateway] = zeros
            self._count(track, gateway, cell, known=known)
        for group, track in tracks.items():
            if group not in folded.groups:
                track.seen.pop(gateway, None)
                if not track.totals:
                    track.highest.pop(gateway, None)

    def _count(self, track: _Track, gateway: str, cell: Cell, *, known: bool) -> None:
        highest = track.highest.get(gateway)
        if len(track.totals) != len(cell.counts):
            # The rule has changed its meaning (another histogram): begin anew.
            track.totals, track.points, track.highest, track.seen = cell.counts, [], {}, {}
            highest = cell.counts
        if highest is None and known:
            highest = (0.0,) * len(cell.counts)
        if highest is not None and len(highest) == len(cell.counts):
            more = tuple(max(0.0, new - old) for new, old in zip(cell.counts, highest, strict=True))
            track.totals = tuple(
                round(total + part, _PLACES) for total, part in zip(track.totals, more, strict=True)
            )
            track.highest[gateway] = tuple(map(max, cell.counts, highest))
        else:
            track.highest[gateway] = cell.counts
        track.seen[gateway] = cell.gauges

    def _append(self, track: _Track, point: Point, keep_s: float) -> None:
        if track.points and track.points[-1].at >= point.at:
            track.points.pop()
        track.points.append(point)
        track.appended += 1
        if track.appended % _THIN_EVERY == 0:
            track.points = thinned(track.points, self._now, keep_s)

    def _idle(self, rule: str, track: _Track) -> bool:
        """Whether nobody has it any more, and it says nothing within the rule's windows."""
        if track.highest or track.seen or not track.points:
            return False
        return track.points[0].at < self._now - self._keep_s[rule] or _flat(track.points)

    # --- reading ----------------------------------------------------------------------------

    def groups(self, rule: str) -> list[Group]:
        """Every group of a rule, sorted."""
        return sorted(self._tracks.get(rule, ()))

    def bounds(self, rule: str) -> tuple[float, ...]:
        """Of the rule's histogram; empty when it has none."""
        return self._bounds.get(rule, ())

    def increase(self, rule: str, group: Group, window_s: float, *, ago_s: float = 0.0) -> tuple[float, ...]:
        """How much each total grew in the window; what is known where that is less."""
        track = self._tracks.get(rule, {}).get(group)
        if track is None or not track.points:
            return ()
        end = _at(track.points, self._now - ago_s)
        start = _at(track.points, self._now - ago_s - window_s)
        return tuple(max(0.0, late - early) for late, early in zip(end.counts, start.counts, strict=True))

    def gauges(self, rule: str, group: Group, *, ago_s: float = 0.0) -> tuple[float, ...]:
        """The gauges as they were."""
        track = self._tracks.get(rule, {}).get(group)
        return _at(track.points, self._now - ago_s).gauges if track is not None and track.points else ()

    # --- over restarts ----------------------------------------------------------------------

    def saved(self, rule: str) -> dict[Group, list[Point]]:
        """A rule's points, to be kept; their times count back from now."""
        return {
            group: [
                msgspec.structs.replace(point, at=self._now - point.at)
                for point in thinned(track.points, self._now, self._keep_s[rule])
            ]
            for group, track in self._tracks.get(rule, {}).items()
        }

    def restore(self, rule: str, saved: Mapping[Group, Iterable[Point]], age_s: float) -> None:
        """Take points that were saved `age_s` ago, in place of what is there."""
        if rule not in self._tracks:
            return
        for group, points in list(saved.items())[:MOST_GROUPS]:
            kept = [
                msgspec.structs.replace(point, at=self._now - max(age_s, 0.0) - point.at) for point in points
            ]
            if kept:
                before = self._tracks[rule].get(group)
                track = self._tracks[rule][group] = _Track(sorted(kept, key=lambda point: point.at))
                if before is not None:
                    track.highest, track.seen = before.highest, before.seen


def thinned(points: list[Point], now: float, keep_s: float) -> list[Point]:
    """The points, the older the fewer; one that is older than `keep_s` is left as the window's edge.

    The first of each cell of a grid stays. Grids of powers of two lie in each
    other, so that thinning again and again takes no more than once would.
    """
    edge = max((index for index, point in enumerate(points) if now - point.at > keep_s), default=0)
    kept: list[Point] = []
    for point in points[edge:]:
        width = 2.0 ** math.floor(math.log2(max((now - point.at) / _FINENESS, 2.0**-20)))
        if not kept or point.at // width != kept[-1].at // width or point is points[-1]:
            kept.append(point)
    return kept


def _at(points: list[Point], at: float) -> Point:
    """The newest point not after `at`, else the oldest."""
    index = bisect_right(points, at + 1e-6, key=lambda point: point.at)
    return points[max(index - 1, 0)]


def _flat(points: list[Point]) -> bool:
    return points[0].counts == points[-1].counts


def _together(gauges: list[tuple[float, ...]], *, added: bool) -> tuple[float, ...]:
    """Gauges of several gateways as one."""
    same = [one for one in gauges if len(one) == len(gauges[0])]
    if not same:
        return ()
    return tuple(sum(values) if added else max(values) for values in zip(*same, strict=True))
