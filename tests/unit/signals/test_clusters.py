"""Groups of directions."""

from __future__ import annotations

import numpy as np

from fairlead.signals.clusters import assigned, centroids
from fairlead.signals.hashed import unit


def test_separate_groups_are_found() -> None:
    rng = np.random.default_rng(1)
    middles = np.eye(4, 16, dtype="float32")
    rows = unit(np.repeat(middles, 25, axis=0) + rng.normal(scale=0.1, size=(100, 16)).astype("float32"))

    labels = assigned(rows, centroids(rows, 4, seed=2))

    groups = [set(labels[start : start + 25].tolist()) for start in range(0, 100, 25)]
    assert all(len(group) == 1 for group in groups)
    assert len(set.union(*groups)) == 4


def test_equal_rows_are_one_group() -> None:
    rows = np.tile(np.eye(1, 8, dtype="float32"), (30, 1))

    assert len(centroids(rows, 5, seed=1)) == 1


def test_the_same_seed_gives_the_same_groups() -> None:
    rows = unit(np.random.default_rng(3).normal(size=(50, 8)).astype("float32"))

    assert (centroids(rows, 6, 9) == centroids(rows, 6, 9)).all()
