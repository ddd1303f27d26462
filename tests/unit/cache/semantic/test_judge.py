"""The ladder: cheap steps decide what they can, undecided is different, and errors are handed on."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.judge import Answers, Ladder, Misses, Step, Verdict, compared


def climb(ladder: Ladder, cached: str, fresh: str) -> Verdict:
    return asyncio.run(ladder.compare(Answers(question="q", cached=cached, fresh=fresh)))


@pytest.mark.parametrize(
    ("cached", "fresh", "expected"),
    [
        ("Paris.", " paris", (True, Step.EXACT)),
        ("Yes,  it is!", "yes, it is", (True, Step.EXACT)),
        ("42", "42.0", (True, Step.STRUCTURED)),
        ("1,000", "1000", None),
        ("1,000.5", "1000.5", (True, Step.STRUCTURED)),
        ("42", "43", (False, Step.STRUCTURED)),
        ('{"a": 1, "b": [2]}', '{"b": [2.0], "a": 1}', (True, Step.STRUCTURED)),
        ('```json\n{"a": 1}\n```', '{"a": 1}', (True, Step.STRUCTURED)),
        ('{"a": true}', '{"a": 1}', (False, Step.STRUCTURED)),
        ("[]", "[1]", (False, Step.STRUCTURED)),
        ('{"a": 1}', "a is 1", None),
        ("It is Paris", "The capital is Paris", None),
        ("[" * 100_000, "[1]", None),
        ("NaN", "nan?", (True, Step.EXACT)),
    ],
)
def test_what_needs_no_model(cached: str, fresh: str, expected: tuple[bool, Step] | None) -> None:
    assert compared(cached, fresh) == expected
    assert compared(fresh, cached) == expected


@given(st.text(max_size=80))
def test_an_answer_is_the_same_as_itself(text: str) -> None:
    assert compared(text, text) == (True, Step.EXACT)


def test_what_nobody_decides_is_different() -> None:
    assert climb(Ladder(), "one", "other") == Verdict(same=False, step=Step.NONE, missed=0.0)


@pytest.mark.parametrize(
    ("near", "expected"),
    [(0.99, (True, Step.EMBEDDING)), (0.2, (False, Step.EMBEDDING)), (0.8, (False, Step.NONE)),
     (float("nan"), (False, Step.NONE))],
)  # fmt: skip
def test_vectors_decide_at_the_ends(near: float, expected: tuple[bool, Step]) -> None:
    async def similarity(cached: str, fresh: str) -> float:
        return near

    verdict = climb(Ladder(similarity=similarity), "one", "other")
    assert (verdict.same, verdict.step) == expected


@pytest.mark.parametrize(
    ("says", "expected"),
    [(True, (True, Step.MODEL)), (False, (False, Step.MODEL)), (None, (False, Step.NONE))],
)
def test_a_model_has_the_last_word(says: bool | None, expected: tuple[bool, Step]) -> None:
    asked: list[Answers] = []

    async def judge(answers: Answers) -> bool | None:
        asked.append(answers)
        return says

    verdict = climb(Ladder(judge=judge), "one", "other")
    assert (verdict.same, verdict.step) == expected
    assert asked == [Answers(question="q", cached="one", fresh="other")]
    assert climb(Ladder(judge=judge), "one", "one").step is Step.EXACT
    assert len(asked) == 1


def test_the_judges_error_is_what_was_measured_or_what_is_assumed() -> None:
    async def judge(answers: Answers) -> bool | None:
        return True

    measured = Misses(missed=2, different=200)
    assert climb(Ladder(judge=judge), "one", "other").missed == 0.1
    assert (
        climb(Ladder(judge=judge, misses={Step.MODEL: measured}), "one", "other").missed == measured.upper()
    )
    assert 0.01 < measured.upper() < 0.04
    assert climb(Ladder(judge=judge), "one", "one").missed == 0.0
