"""Texts as vectors without a model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.signals.hashed import DIMENSIONS, unit, vectors


def test_texts_that_share_words_are_near() -> None:
    one, near, far = vectors(
        [
            "Where is my parcel with the lamp?",
            "Where is the parcel with my jacket?",
            "Explain compound interest",
        ]
    )

    assert one @ near > 0.5 > one @ far + 0.2


def test_the_same_text_has_the_same_vector_in_every_version() -> None:
    (row,) = vectors(["fairlead"])

    assert int(np.abs(row).argmax()) == 186
    assert float(row.sum()) == pytest.approx(1.6967, abs=1e-3)


@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_every_text_has_a_direction(texts: list[str]) -> None:
    rows = vectors(texts)

    assert rows.shape == (len(texts), DIMENSIONS)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_rows_without_direction_get_one() -> None:
    rows = unit(np.array([[0.0, 0.0], [np.nan, 1.0], [3.0, 4.0]], dtype="float32"))

    assert rows.tolist() == [[1.0, 0.0], [0.0, 1.0], [pytest.approx(0.6), pytest.approx(0.8)]]
