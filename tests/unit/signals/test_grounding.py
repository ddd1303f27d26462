"""How much of an answer its context has."""

from __future__ import annotations

from fairlead.signals.grounding import content_words, grounding

CONTEXT = "The warranty of the coffee grinder covers the motor for 24 months, and the blades for six months."


def test_an_answer_from_its_context_scores_high_and_one_from_elsewhere_low() -> None:
    faithful = grounding("The motor of the coffee grinder is covered for 24 months.", CONTEXT)
    invented = grounding("Shipping to Norway takes nine days and costs seventeen euros.", CONTEXT)

    assert faithful is not None
    assert invented is not None
    assert faithful >= 0.8
    assert invented <= 0.2


def test_without_context_or_content_nothing_is_said() -> None:
    assert grounding("The motor of the coffee grinder is covered.", "") is None
    assert grounding("Yes, it is.", CONTEXT) is None


def test_words_without_content_do_not_count() -> None:
    assert content_words("This is what you should have: 42 Boxes, 7.") == {"42", "boxes", "7"}


def test_scripts_without_spaces_are_compared_by_pairs_of_signs() -> None:
    score = grounding("保修期为二十四个月", "这台咖啡机的保修期为二十四个月。")

    assert score == 1.0
