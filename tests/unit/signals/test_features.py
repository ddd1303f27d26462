"""What is computed of one answer, and which marks follow."""

from __future__ import annotations

import pytest

from fairlead.config.signal_options import FEATURES
from fairlead.signals.features import MARKS, Features, Measure
from fairlead.signals.repetition import Repetition
from fairlead.signals.turn import Call, Turn

SCHEMA = b'{"type": "object", "required": ["a"]}'


@pytest.fixture(scope="module")
def measure() -> Measure:
    return Measure(FEATURES)


def test_everything_of_an_ordinary_answer(measure: Measure) -> None:
    found = measure(
        Turn(
            prompt="How long does the warranty of the coffee grinder last?",
            context="The warranty of the coffee grinder lasts 24 months.",
            answer="The warranty of the coffee grinder lasts 24 months in total.",
            finish="stop",
        )
    )

    assert (found.refusal, found.truncated, found.format, found.calls, found.mismatch) == (
        "",
        False,
        None,
        (),
        False,
    )
    assert found.languages == ("en", "en")
    assert found.grounding == pytest.approx(6 / 7)  # `total` is not in the context
    assert found.marks == 0


def test_a_format_that_was_demanded_is_checked(measure: Measure) -> None:
    good = measure(Turn(prompt="", answer='{"a": 1}', wants_json=True, schema=SCHEMA))
    bad = measure(Turn(prompt="", answer="{}", wants_json=True, schema=SCHEMA))
    refused = measure(Turn(prompt="", answer="", refusal="No.", wants_json=True, schema=SCHEMA))

    assert (good.format, bad.format, refused.format) == ("valid", "invalid", None)
    assert (bad.marks, refused.marks) == (1 << MARKS.index("invalid"), 1 << MARKS.index("refused"))


def test_calls_of_tools_are_checked(measure: Measure) -> None:
    calls = (
        Call(name="f", arguments='{"a": 1}', schema=SCHEMA),
        Call(name="f", arguments="{}", schema=SCHEMA),
        Call(name="g", arguments="{}", known=False),
        Call(name="h", arguments="{", schema=None),
    )

    found = measure(Turn(prompt="", answer="", calls=calls))

    assert found.calls == ("valid", "invalid", "unknown_tool", "unparsable")
    assert found.marks == 1 << MARKS.index("invalid")


def test_what_is_not_wanted_is_not_computed() -> None:
    found = Measure(())(
        Turn(prompt="Why?", answer="I cannot", finish="length", context="I cannot", wants_json=True)
    )

    assert found == Features(truncated=True)
    assert found.marks == 1 << MARKS.index("truncated")


def test_all_marks_at_once() -> None:
    loop = Repetition(zlib_ratio=0.01, run_share=0.9, tail_period=1)
    found = Features(refusal="policy", truncated=True, repetition=loop, calls=("invalid",), mismatch=True)

    assert found.marks == (1 << len(MARKS)) - 1
