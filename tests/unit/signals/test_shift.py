"""Each statistic grows with the change it is made for."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.signals import shift
from fairlead.signals.hashed import unit

RNG = np.random.default_rng
LABELS = np.array([[0.0] * 60 + [1.0] * 20, [0.0] * 60 + [1.0] * 20], dtype="float32")


def _rows(seed: int, count: int, middle: int) -> np.ndarray:
    noise = RNG(seed).normal(scale=0.3, size=(count, 12))
    return unit((np.eye(1, 12, middle) + noise).astype("float32"))


def test_mmd_agrees_with_its_definition() -> None:
    rows = _rows(1, 80, 0)
    squared = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(80, 1)]))
    np.fill_diagonal(kernel, 0)
    x, y = slice(0, 60), slice(60, 80)
    expected = (
        kernel[y, y].sum() / (20 * 19) + kernel[x, x].sum() / (60 * 59) - 2 * kernel[x, y].sum() / (60 * 20)
    )

    found = shift.mmd(rows, np.arange(80))(LABELS)

    assert found[0] == pytest.approx(expected, abs=1e-4)


def test_mmd_grows_when_a_window_is_elsewhere() -> None:
    same = shift.mmd(_rows(1, 80, 0), np.arange(80))(LABELS)[0]
    moved = shift.mmd(np.concatenate([_rows(1, 60, 0), _rows(2, 20, 5)]), np.arange(80))(LABELS)[0]

    assert moved > 10 * abs(same)


def test_novelty_is_the_difference_of_mean_ranks() -> None:
    far = np.array([*range(60), *range(100, 120)], dtype="float32")

    assert shift.novelty(far)(LABELS)[0] == pytest.approx(70.5 - 30.5)


def test_equal_distances_share_their_rank() -> None:
    assert shift.novelty(np.ones(80, dtype="float32"))(LABELS)[0] == pytest.approx(0.0, abs=1e-4)


def test_distances_are_to_the_fifth_neighbour() -> None:
    fit = unit(np.array([[1, 0], [1, 0.1], [1, 0.2], [1, 0.3], [1, 0.4], [0, 1]], dtype="float32"))
    rows = np.array([[1, 0]], dtype="float32")

    assert shift.distances(rows, fit)[0] == pytest.approx(1 - fit[4, 0])


def test_the_mixture_of_topics_is_told() -> None:
    fit = np.concatenate([_rows(3, 60, 0), _rows(4, 60, 5)])
    same = np.concatenate([_rows(5, 30, 0), _rows(6, 30, 5), _rows(7, 10, 0), _rows(8, 10, 5)])
    other = np.concatenate([_rows(5, 30, 0), _rows(6, 30, 5), _rows(7, 20, 5)])

    assert shift.mixture(other, fit, 1)(LABELS)[0] > 3 * shift.mixture(same, fit, 1)(LABELS)[0] + 5


def test_shares_of_marks_are_standardised() -> None:
    marks = np.zeros((80, 2), dtype="float32")
    marks[60:70, 1] = 1

    found = shift.shares(marks)(LABELS)[0]

    overall = 10 / 80
    assert found == pytest.approx(0.5 / np.sqrt(overall * (1 - overall) * (1 / 20 + 1 / 60)))
    assert shift.shares(np.zeros((80, 2), dtype="float32"))(LABELS)[0] == 0
