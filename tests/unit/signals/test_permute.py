"""Labels change places by blocks within their stratum, and p-values keep their level."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.signals.permute import Units, labellings, p_value


def test_labels_stay_in_their_stratum_and_blocks_stay_together() -> None:
    units = Units(
        blocks=["a", "a", "b", "c", "d", "d", "e"],
        strata=[1, 1, 1, 2, 1, 1, 2],
        in_window=[False, False, False, False, True, True, True],
    )

    rows = next(labellings(units, seed=5))

    assert (rows[:, 0] == rows[:, 1]).all()  # block a
    assert (rows[:, 4] == rows[:, 5]).all()  # block d
    # One of the three blocks of stratum 1 is the window's, and one of the two of stratum 2.
    assert (rows[:, 0] + rows[:, 2] + rows[:, 4] == 1).all()
    assert (rows[:, 3] + rows[:, 6] == 1).all()
    assert {tuple(row) for row in rows.tolist()} >= {(1, 1, 0, 1, 0, 0, 0), (0, 0, 0, 0, 1, 1, 1)}


def test_a_block_on_both_sides_is_two() -> None:
    units = Units(blocks=["a", "a"], strata=[0, 0], in_window=[False, True])

    rows = next(labellings(units, seed=1))

    assert (rows.sum(axis=1) == 1).all()
    assert 0 < rows[:, 0].mean() < 1


def _p_of(values: np.ndarray, in_window: list[bool], seed: int, **more: int) -> float:
    units = Units(
        blocks=[str(at) for at in range(len(values))], strata=[0] * len(values), in_window=in_window
    )
    observed = np.array([in_window], dtype="float32")
    return p_value(lambda labels: labels @ values, observed, labellings(units, seed), **more)


def test_p_values_of_unchanged_samples_keep_their_level() -> None:
    rng = np.random.default_rng(11)
    in_window = [False] * 40 + [True] * 15
    found = [_p_of(rng.normal(size=55).astype("float32"), in_window, seed, most=999) for seed in range(400)]

    for level in (0.05, 0.2, 0.5):
        rate = np.mean([p <= level for p in found])
        assert rate <= level + 3 * np.sqrt(level * (1 - level) / 400)
        assert rate >= level - 4 * np.sqrt(level * (1 - level) / 400)


def test_a_clear_difference_takes_every_permutation_and_gets_the_smallest_p() -> None:
    values = np.arange(60, dtype="float32")

    assert _p_of(values, [False] * 45 + [True] * 15, 3, most=1999) == 1 / 2000


def test_no_difference_is_settled_early() -> None:
    batches = 0
    units = Units(blocks=[str(at) for at in range(20)], strata=[0] * 20, in_window=[False] * 10 + [True] * 10)

    def counted() -> object:
        nonlocal batches
        for labels in labellings(units, 1):
            batches += 1
            yield labels

    observed = np.array([units.in_window], dtype="float32")
    p = p_value(lambda labels: labels.sum(axis=1), observed, counted())  # type: ignore[arg-type]

    assert (p, batches) == (1.0, 1)


def test_what_is_no_number_is_no_evidence() -> None:
    values = np.full(20, np.nan, dtype="float32")

    assert _p_of(values, [False] * 10 + [True] * 10, 1) == pytest.approx(1.0)
