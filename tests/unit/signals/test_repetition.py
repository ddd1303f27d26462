"""Which texts repeat themselves."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fairlead.signals.repetition import repetition

PROSE = (
    "The parcel left the warehouse in Hamburg on Tuesday and reached the depot near Lyon a day later. "
    "Customs kept it for some hours because a form was missing, which the sender has sent since. It "
    "should be with you before the weekend; if nobody is at home, the driver leaves a card and tries "
    "again. Should the box be damaged, take two pictures before you open it, and write to us with the "
    "number on the label. We replace what is broken without asking for it back, unless it is worth more "
    "than two hundred euros."
)


def test_prose_does_not() -> None:
    found = repetition(PROSE)

    assert not found.degenerate
    assert (found.run_share, found.tail_period) == (0.0, 0)
    assert found.zlib_ratio > 0.4


def test_a_loop_at_the_end_is_found_with_its_period() -> None:
    found = repetition(PROSE + " and then we wait, and wait some more" * 12)

    assert found.tail_period == 9
    assert found.degenerate


def test_one_token_for_ever_has_period_one() -> None:
    assert repetition("yes " * 60).tail_period == 1


def test_a_short_refrain_is_none() -> None:
    assert not repetition("Row, row, row your boat. Row, row, row your boat.").degenerate


def test_a_phrase_again_and_again_is_found_by_its_share() -> None:
    roll = random.Random(3)
    words = [f"w{roll.randrange(10_000)}" for _ in range(60)]
    text = " ".join(f"in order to make {word}" for word in words)

    found = repetition(text)

    assert found.tail_period == 0
    assert found.run_share > 0.35
    assert found.degenerate


def test_long_repeated_text_is_found_by_its_size() -> None:
    assert repetition((PROSE + "\n") * 30).zlib_ratio < 0.12


@given(st.text(max_size=400))
def test_any_text_can_be_measured(text: str) -> None:
    found = repetition(text)

    assert found.zlib_ratio > 0
    assert 0 <= found.run_share <= 1
    assert found.tail_period >= 0
