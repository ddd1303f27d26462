"""What is learned of output lengths."""

from __future__ import annotations

import pytest

from fairlead.limits.learned import LearnedOutput


def learned(lengths: list[int], **options: int) -> LearnedOutput:
    table = LearnedOutput(**options)
    for length in lengths:
        table.observe("k", "m", length)
    return table


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([], None),
        ([100] * 7, None),
        ([100] * 8, 100),
        ([10] * 60 + [900] * 4, 900),
        ([10] * 61 + [900] * 3, 10),
        ([5000] * 64 + [10] * 64, 10),
    ],
)
def test_the_95th_percentile_of_the_last_64(lengths: list[int], expected: int | None) -> None:
    assert learned(lengths).expected("k", "m") == expected


def test_keys_and_models_are_apart() -> None:
    table = learned([100] * 8)

    assert table.expected("k", "other") is None
    assert table.expected("other", "m") is None


def test_the_pair_unused_for_longest_is_forgotten() -> None:
    table = learned([100] * 8, most_pairs=2)
    table.observe("k2", "m", 1)
    table.observe("k", "m", 100)
    table.observe("k3", "m", 1)

    assert len(table) == 2
    assert table.expected("k", "m") == 100


def test_a_name_that_was_invented_to_fill_the_memory_is_not_kept() -> None:
    table = LearnedOutput()
    table.observe("k", "m" * 257, 1)

    assert len(table) == 0
