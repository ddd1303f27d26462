"""Which beginnings decline."""

from __future__ import annotations

import pytest

from fairlead.signals.refusal import KINDS, refusal


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("I'm sorry, but I can't help with that.", "inability"),
        ("I\u2019m really sorry, but I\u2019m unable to open links.", "inability"),
        ("Sorry, I cannot do that", "inability"),
        ("As an AI language model, I don't have access to your files.", "inability"),
        ("**I can not** assist here", "inability"),
        ("  \n> I cannot\n\n", "inability"),
        ("I won't write that.", "unwillingness"),
        ("I'd rather not say.", "unwillingness"),
        ("Unfortunately, I must decline.", "unwillingness"),
        ("That violates my guidelines.", "policy"),
        ("It would be unethical to do so.", "policy"),
        ("Es tut mir leid, aber dabei kann ich leider nicht helfen.", "inability"),
        ("Lo siento, pero no puedo ayudarte.", "inability"),
        ("Je suis désolé, mais je ne peux pas répondre.", "inability"),
    ],
)
def test_answers_that_decline(answer: str, kind: str) -> None:
    assert refusal(answer) == kind
    assert kind in KINDS


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I'm sorry to hear that you are ill. Here is what helps:",
        "Unfortunately, the shop is closed on Sundays.",
        "Sorry for the delay, here it is.",
        "Das kann ich gerne erklären.",
        "Sure! I can't wait to show you.",
        "You said: I cannot.",
        "No problem, here it is.",
        "The policy says: I will not be moved.",
    ],
)
def test_answers_that_only_sound_like_it(answer: str) -> None:
    assert refusal(answer) == ""


def test_a_provider_that_says_so_is_believed() -> None:
    assert refusal("", field="I can't") == "field"
    assert refusal("Here you are", finish="content_filter") == "field"
    assert refusal("Here you are", finish="stop") == ""


def test_only_the_beginning_counts() -> None:
    assert refusal("x" * 400 + " I cannot") == ""
