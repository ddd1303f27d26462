"""Windows against references: the whole test, and what it says of a difference."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fairlead.signals.compare import Item, Job, compare, packed, unpacked
from fairlead.signals.features import MARKS
from fairlead.signals.hashed import vectors

TOPICS = (
    "parcel late {n}",
    "refund for order {n}",
    "recipe with {n} eggs",
    "train to city {n}",
    "error {n} in code",
)
NEW = "my knee hurts after {n} km"


def _items(prefix: str, topics: list[str], roll: random.Random) -> tuple[Item, ...]:
    texts = [topic.format(n=roll.randrange(1000)) for topic in topics]
    rows = vectors(texts)
    return tuple(
        Item(id=f"{prefix}{at}", at=at, block=f"{prefix}{at // 2}", stratum=at % 3, vector=packed(row))
        for at, row in enumerate(rows)
    )


def _job(seed: int, new: int, size: int = 120) -> Job:
    roll = random.Random(seed)
    reference = [roll.choice(TOPICS) for _ in range(3 * size)]
    window = [roll.choice(TOPICS) for _ in range(size - new)] + [NEW] * new
    return Job(
        window=_items("w", window, roll),
        reference=_items("r", reference, roll),
        seed=seed,
        kind="vectors",
        most=999,
    )


def test_a_new_topic_is_found_and_shown() -> None:
    job = _job(1, new=24)

    found = compare(job)

    assert found.p_value < 0.02
    names = {"mmd", "novelty", "clusters"}
    assert set(found.tests) == names | {f"{name}, newest half" for name in names}
    assert found.topic is not None
    assert (found.topic.name, found.topic.before) == ("", 0.0)
    assert found.topic.share == pytest.approx(0.4)  # of the newest half, where all of it is
    assert set(found.topic.examples) <= {f"w{at}" for at in range(96, 120)}
    assert len(found.topic.examples) == 5


def test_unchanged_windows_are_rarely_alarms() -> None:
    found = [compare(_job(seed, new=0, size=60)).p_value for seed in range(40)]

    assert sum(p <= 0.05 for p in found) <= 6  # 40 trials at 0.05: more than that has a chance of 0.4 %


def test_the_same_job_gives_the_same_answer() -> None:
    assert compare(_job(5, new=6)) == compare(_job(5, new=6))


def _marked(prefix: str, count: int, refused: int) -> tuple[Item, ...]:
    return tuple(
        Item(id=f"{prefix}{at}", at=at, block=f"{prefix}{at}", stratum=0, marks=1 if at < refused else 0)
        for at in range(count)
    )


def test_more_refusals_are_found_and_named() -> None:
    job = Job(window=_marked("w", 100, 12), reference=_marked("r", 400, 8), seed=1, kind="marks")

    found = compare(job)

    assert found.p_value < 0.02
    assert found.topic is not None
    assert (found.topic.name, found.topic.share, found.topic.before) == (
        MARKS[0],
        pytest.approx(0.12),
        pytest.approx(0.02),
    )
    assert found.topic.examples == ("w0", "w1", "w2", "w3", "w4")


def test_as_many_refusals_as_before_are_none() -> None:
    job = Job(window=_marked("w", 100, 2), reference=_marked("r", 400, 8), seed=1, kind="marks")

    assert compare(job).p_value > 0.5


def test_vectors_survive_packing() -> None:
    rows = vectors(["one text", "another text"])

    again = unpacked([packed(row) for row in rows])

    assert (again * rows).sum(axis=1) == pytest.approx(1.0, abs=1e-3)
    assert np.linalg.norm(again, axis=1) == pytest.approx(1.0, abs=1e-5)
