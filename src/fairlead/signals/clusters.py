"""Topics: vectors of length one in a few groups, by k-means on the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fairlead.signals.hashed import numpy, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]
    Labels = NDArray[np.int64]

_ROUNDS: Final = 12


def centroids(rows: Matrix, count: int, seed: int) -> Matrix:
    """At most `count` directions that the rows gather around; at least one row."""
    np = numpy()
    rng = np.random.default_rng(seed)
    found: Matrix = rows[_spread(rows, min(count, len(rows)), rng)]
    for _ in range(_ROUNDS):
        nearest = assigned(rows, found)
        sums = np.zeros_like(found)
        np.add.at(sums, nearest, rows)
        empty = ~np.isin(np.arange(len(found)), nearest)
        sums[empty] = found[empty]
        found = unit(sums)
    return found


def assigned(rows: Matrix, around: Matrix) -> Labels:
    """The nearest centroid of each row."""
    labels: Labels = (rows @ around.T).argmax(axis=1)
    return labels


def _spread(rows: Matrix, count: int, rng: np.random.Generator) -> list[int]:
    """Places of rows that lie apart (k-means++)."""
    np = numpy()
    chosen = [int(rng.integers(len(rows)))]
    far = np.maximum(1.0 - rows @ rows[chosen[0]], 0.0)
    while len(chosen) < count:
        total = float(far.sum())
        if total <= 1e-9:
            break  # all others are the same as one that is chosen
        chosen.append(int(rng.choice(len(rows), p=far / total)))
        far = np.minimum(far, np.maximum(1.0 - rows @ rows[chosen[-1]], 0.0))
    return chosen
