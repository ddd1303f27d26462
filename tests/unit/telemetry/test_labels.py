"""Names from outside."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairlead.telemetry.labels import LONGEST, clean


def test_an_ordinary_name_stays_as_it_is() -> None:
    assert clean("meta-llama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"
    assert clean("modèle-日本") == "modèle-日本"


def test_what_does_not_print_becomes_a_question_mark() -> None:
    assert clean("a\nb\x00c\ud800d\u2028e\x9b") == "a?b?c?d?e?"


@given(st.text(st.characters(), max_size=400))
def test_a_clean_name_is_short_prints_and_is_utf8(name: str) -> None:
    result = clean(name)
    assert len(result) <= LONGEST
    assert result.isprintable()
    assert clean(result) == result
    result.encode()
