"""Texts taken apart and aligned."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cache.semantic.text import MAX_CHARS, MAX_TOKENS, difference, taken_apart

texts = st.text(max_size=200)
sentences = st.lists(
    st.sampled_from(["how", "do", "i", "turn", "on", "off", "the", "light", "Lamp", "5"]), max_size=12
).map(" ".join)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("How do I do it?", ("How", "do", "I", "do", "it")),
        ("Don\u2019t use C++, use C# (2.0)!", ("Don't", "use", "C++", "use", "C#", "2", "0")),
        ("\u5982\u4f55\u542f\u7528wifi", ("\u5982", "\u4f55", "\u542f", "\u7528", "wifi")),
        ("a <= b", ("a", "<=", "b")),
        ("\uff21\uff22\uff11", ("AB1",)),
    ],
)
def test_tokens(text: str, tokens: tuple[str, ...]) -> None:
    assert taken_apart(text).tokens == tokens


@given(texts)
def test_any_text_can_be_taken_apart(text: str) -> None:
    apart = taken_apart(text)

    assert len(apart.tokens) == len(apart.folded) <= MAX_TOKENS
    assert not apart.too_long


@pytest.mark.parametrize(
    "text", ["a " * (MAX_TOKENS + 1), "a" * (MAX_CHARS + 1), "\ufdfa" * (MAX_CHARS // 10)]
)
def test_a_long_text_is_not_compared(text: str) -> None:
    assert taken_apart(text).too_long
    assert taken_apart(text).tokens == ()


@given(sentences, sentences)
def test_a_difference_accounts_for_every_word(one: str, other: str) -> None:
    ours, theirs = taken_apart(one), taken_apart(other)
    found = difference(ours, theirs)

    assert Counter(ours.folded) - Counter(theirs.folded) == Counter(found.only_ours)
    assert Counter(theirs.folded) - Counter(ours.folded) == Counter(found.only_theirs)
    assert (not found.edits) == (ours.folded == theirs.folded)


@given(sentences)
def test_a_text_does_not_differ_from_itself(text: str) -> None:
    found = difference(taken_apart(text), taken_apart(text))

    assert (found.edits, found.moved, found.recased) == ((), (), ())


def test_what_moved_is_neither_added_nor_gone() -> None:
    found = difference(taken_apart("in rust sort a list"), taken_apart("sort a list in rust"))

    assert (found.only_ours, found.only_theirs) == ((), ())
    assert sorted(found.moved) == ["in", "rust"]


def test_a_word_in_another_case_is_told_but_not_the_first() -> None:
    found = difference(taken_apart("Visit us in Turkey"), taken_apart("visit US in turkey"))

    assert found.recased == ("us", "turkey")
