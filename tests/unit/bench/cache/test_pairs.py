"""The generator of adversarial pairs."""

from __future__ import annotations

from collections import Counter

from bench.cache.pairs import COUNT, KINDS, pairs


def test_the_committed_seed_gives_the_same_pairs_every_time() -> None:
    assert list(pairs(200)) == list(pairs(200))
    assert list(pairs(200)) != list(pairs(200, seed=1))


def test_they_are_distinct_and_of_all_kinds() -> None:
    made = list(pairs())

    assert len(made) == len({(pair.a, pair.b) for pair in made}) == COUNT >= 1000
    assert all(pair.a != pair.b for pair in made)
    assert all("{" not in pair.a + pair.b for pair in made)
    kinds = Counter(pair.kind for pair in made)
    assert kinds["paraphrase"] > 0.45 * COUNT
    assert all(kinds[kind] > 0.05 * COUNT for kind in KINDS)
    assert all(pair.same == (pair.kind == "paraphrase") for pair in made)


def test_no_pair_is_both() -> None:
    """A text that is the same as another by one pair is not different from it by a second."""
    made = list(pairs())
    same = {frozenset((pair.a, pair.b)) for pair in made if pair.same}

    assert not same & {frozenset((pair.a, pair.b)) for pair in made if not pair.same}
