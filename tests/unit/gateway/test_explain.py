"""Explanations are made of any record; `tests/golden/explain` has their words."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.telemetry.records import full_record, record, records

from fairlead.gateway.explain import Explanation, explain
from fairlead.types import Attempt, LimitFact, Outcome, RequestRecord

facts = st.builds(
    LimitFact,
    limit=st.text(max_size=20),
    verdict=st.sampled_from(["admitted", "refused", "shadowed"]),
    amount=st.integers(0, 10**15),
    used=st.integers(0, 10**15),
)


@given(records, st.lists(facts, max_size=3), st.sampled_from(["", "queue_full", "limits_unavailable", "odd"]))
def test_any_record_is_explained(made: RequestRecord, limits: list[LimitFact], error: str) -> None:
    made = msgspec.structs.replace(made, limits=tuple(limits), error=error)

    explanation = explain(made)

    assert explanation == explain(made)
    assert msgspec.json.decode(msgspec.json.encode(explanation), type=Explanation) == explanation
    assert explanation.summary
    assert [step.part for step in explanation.steps].count("answer") == 1
    assert sum(step.part == "attempt" for step in explanation.steps) == len(made.attempts)


def test_steps_carry_what_they_speak_of() -> None:
    steps = explain(full_record()).steps

    assert [(step.part, step.verdict) for step in steps] == [
        ("request", "asked"),
        ("cache", "miss"),
        *(("limits", fact.verdict) for fact in full_record().limits),
        ("queue", "waited"),
        ("attempt", "failed"),
        ("attempt", "failed"),
        ("fallback", "fell_back"),
        ("cache", "stale"),
        ("answer", "cut"),
        ("cost", "priced"),
    ]
    assert [step.limit for step in steps if step.part == "limits"] == list(full_record().limits)
    assert [step.target for step in steps if step.part == "attempt"] == ["lab/large-1", "lab/large-2"]


def test_attempts_are_told_in_the_order_in_which_they_began() -> None:
    late, early = Attempt(target="b", started_s=0.5), Attempt(target="a", started_s=0.1)

    steps = explain(record(attempts=(late, early), outcome=Outcome.OK)).steps

    assert [step.target for step in steps if step.part == "attempt"] == ["a", "b"]
