"""Which traces stand for which buckets of the histograms: one each, the latest.

Only sampled traces are taken: an exemplar that leads nowhere is worse than
none. The number of buckets that have one is bounded; the traces of requests
beyond it are left out, their counts are not.
"""

from __future__ import annotations

from typing import Final

from fairlead.telemetry.metrics.samples import Exemplar

_Key = tuple[str, tuple[str, ...], int]
_MOST: Final = 4000


def sampled_trace(parent: str) -> str:
    """The trace id of a valid W3C `traceparent` that is sampled; else ""."""
    # version 2, trace 32, parent 16, flags 2, with a dash between
    return parent[3:35] if len(parent) == 55 and parent[54] in "13579bdf" else ""


class Exemplars:
    """The latest trace of each bucket."""

    def __init__(self, most: int = _MOST) -> None:
        """Keep at most `most`."""
        self._most = most
        self._found: dict[_Key, Exemplar] = {}

    def note(self, family: str, labels: tuple[str, ...], seen: Exemplar) -> None:
        """A request of this trace was counted in a bucket of the series `labels` of `family`."""
        key = (family, labels, seen.bucket)
        if key in self._found or len(self._found) < self._most:
            self._found[key] = seen

    def of(self, family: str) -> dict[tuple[str, ...], tuple[Exemplar, ...]]:
        """The exemplars of a family by its series' labels, each in the order of their buckets."""
        by_labels: dict[tuple[str, ...], list[Exemplar]] = {}
        for (name, labels, _), seen in self._found.items():
            if name == family:
                by_labels.setdefault(labels, []).append(seen)
        return {labels: tuple(sorted(found, key=_bucket)) for labels, found in by_labels.items()}


def _bucket(seen: Exemplar) -> int:
    return seen.bucket
