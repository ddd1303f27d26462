"""Statistics that grow when a window is another traffic than its reference.

Each is a function of rows of labels (see `permute`), so that one set of
permutations serves all of them. They see different things: MMD a new intent
that many share, novelty a few requests unlike any before, clusters another
mix of known topics, and shares how often something is true of an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from fairlead.signals.clusters import assigned, centroids
from fairlead.signals.hashed import numpy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]
    Statistic = Callable[[Matrix], Matrix]

NEIGHBOURS: Final = 5
_PER_CLUSTER: Final = 25
_MOST_CLUSTERS: Final = 24


def mmd(rows: Matrix, blocks: NDArray[np.int64]) -> Statistic:
    """The unbiased squared mean discrepancy, with a Gaussian kernel as wide as the median distance.

    Pairs of one session say nothing of the traffic and are left out.
    """
    np = numpy()
    squared = np.maximum(2.0 - 2.0 * (rows @ rows.T), 0.0)
    width = float(np.median(squared[np.triu_indices(len(rows), 1)])) or 1.0
    kernel = np.exp(-squared / width).astype("float32")
    kernel[blocks[:, None] == blocks[None, :]] = 0.0
    sums = kernel.sum(axis=1)
    total = float(sums.sum())

    def statistic(labels: Matrix) -> Matrix:
        inside = labels.sum(axis=1)
        outside = len(rows) - inside
        both = ((labels @ kernel) * labels).sum(axis=1)
        touching = labels @ sums
        found: Matrix = (
            both / np.maximum(inside * (inside - 1), 1)
            + (total - 2 * touching + both) / np.maximum(outside * (outside - 1), 1)
            - 2 * (touching - both) / np.maximum(inside * outside, 1)
        )
        return found

    return statistic


def distances(rows: Matrix, fit: Matrix) -> Matrix:
    """How far each row is from its fifth neighbour in `fit`: the cosine distance."""
    np = numpy()
    nth = min(NEIGHBOURS, len(fit))
    found: Matrix = 1.0 - np.partition(rows @ fit.T, len(fit) - nth, axis=1)[:, len(fit) - nth]
    return found


def novelty(far: Matrix) -> Statistic:
    """The Mann-Whitney statistic of distances: how much farther the window's are than the reference's."""
    np = numpy()
    ranks = _ranks(far)
    total = float(ranks.sum())

    def statistic(labels: Matrix) -> Matrix:
        inside = labels.sum(axis=1)
        window = labels @ ranks
        found: Matrix = window / np.maximum(inside, 1) - (total - window) / np.maximum(len(ranks) - inside, 1)
        return found

    return statistic


def mixture(rows: Matrix, fit: Matrix, seed: int) -> Statistic:
    """The chi-square statistic of how rows fall to the clusters of `fit`."""
    np = numpy()
    around = centroids(fit, min(_MOST_CLUSTERS, max(len(fit) // _PER_CLUSTER, 2)), seed)
    member = np.eye(len(around), dtype="float32")[assigned(rows, around)]
    return _chi_square(member[:, member.sum(axis=0) > 0])


def shares(marks: Matrix) -> Statistic:
    """The largest standardised difference of the shares of any mark; one column a mark."""
    np = numpy()
    totals = marks.sum(axis=0)
    overall = np.clip(totals / max(len(marks), 1), 1e-6, 1 - 1e-6)

    def statistic(labels: Matrix) -> Matrix:
        inside = np.maximum(labels.sum(axis=1, keepdims=True), 1)
        outside = np.maximum(len(marks) - inside, 1)
        window = labels @ marks
        gap = window / inside - (totals - window) / outside
        found: Matrix = (np.abs(gap) / np.sqrt(overall * (1 - overall) * (1 / inside + 1 / outside))).max(
            axis=1
        )
        return found

    return statistic


def _chi_square(member: Matrix) -> Statistic:
    np = numpy()
    totals = member.sum(axis=0)
    overall = totals / len(member)

    def statistic(labels: Matrix) -> Matrix:
        inside = labels.sum(axis=1, keepdims=True)
        window = labels @ member
        gap = (window - inside * overall) ** 2
        outside = len(member) - inside
        found: Matrix = (
            gap / np.maximum(inside * overall, 1e-6) + gap / np.maximum(outside * overall, 1e-6)
        ).sum(axis=1)
        return found

    return statistic


def _ranks(values: Matrix) -> Matrix:
    """Ranks from 1, equal values sharing their mean."""
    np = numpy()
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    found: Matrix = (ends - (counts - 1) / 2.0).astype("float32")[place]
    return found
