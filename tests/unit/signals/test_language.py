"""Whether an answer is in its question's language."""

from __future__ import annotations

import pytest
from tests.unit.signals.languages import SENTENCES

from fairlead.signals.language import Language


@pytest.fixture(scope="module")
def language() -> Language:
    return Language()


@pytest.mark.parametrize("code", SENTENCES)
def test_languages_are_told(language: Language, code: str) -> None:
    told = [language.of(sentence) for sentence in SENTENCES[code]]

    # Not to be sure is allowed; to be wrong is not.
    assert set(told) <= {code, ""}
    assert code in told


@pytest.mark.parametrize(("asked", "answered"), [("en", "nl"), ("de", "en"), ("zh", "ko"), ("ru", "en")])
def test_an_answer_in_another_language_is_a_mismatch(language: Language, asked: str, answered: str) -> None:
    found = language.compare(SENTENCES[asked][0], SENTENCES[answered][0])

    assert found.mismatch is True


def test_the_same_language_is_none(language: Language) -> None:
    assert language.compare(*SENTENCES["fr"]).mismatch is False


def test_who_asks_for_another_language_wants_it(language: Language) -> None:
    question = "Please translate into German: your order has been shipped and should arrive."

    assert language.compare(question, SENTENCES["de"][0]).mismatch is None


def test_short_texts_and_code_say_nothing(language: Language) -> None:
    assert language.of("ok") == ""
    assert language.of("```python\nprint('this is a long line of code in English')\n```") == ""
    assert language.compare("ok?", SENTENCES["de"][0]).mismatch is None


def test_relatives_are_not_told_apart(language: Language) -> None:
    norwegian = "Bestillingen din er sendt og bør komme fram til deg på fredag morgen."
    danish = "Din ordre er afsendt og burde komme frem til dig på fredag morgen."

    assert language.compare(norwegian, danish).mismatch is not True


def test_text_that_no_utf8_can_carry_is_read_all_the_same(language: Language) -> None:
    assert language.of("\ud800 " + SENTENCES["de"][0]) in ("de", "")
