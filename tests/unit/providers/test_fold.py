"""Streams folded into answers, answers unfolded into streams: in the neutral model, without any dialect."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.providers.answers import answers, probabilities

from fairlead.providers.chat import (
    Answer,
    Begin,
    Choice,
    End,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    ReasoningPart,
    StreamError,
    TextDelta,
    TextPart,
    ToolCallBegin,
    ToolCallDelta,
    ToolCallPart,
    UsageReport,
)
from fairlead.providers.fold import Fold, fold, unfold
from fairlead.types import Failure, FailureKind, Usage

BEGIN = Begin(id="a", model="m", created=7)
STOP = Finish(reason=FinishReason.STOP)


@given(answers())
def test_folding_undoes_unfolding(answer: Answer) -> None:
    assert fold(unfold(answer)) == answer


@given(answers(), st.data())
def test_events_may_come_in_any_number_at_once(answer: Answer, data: st.DataObject) -> None:
    events = unfold(answer)
    folding = Fold()
    while events:
        count = data.draw(st.integers(1, len(events)))
        folding.add(events[:count])
        events = events[count:]

    assert folding.answer() == answer


@given(answers(), st.data())
def test_a_stream_that_lacks_its_end_is_no_answer(answer: Answer, data: st.DataObject) -> None:
    events = unfold(answer)
    cut = data.draw(st.integers(0, len(events) - 1))

    assert fold(events[:cut]) is None


@given(answers(), st.data())
def test_a_stream_that_failed_is_no_answer(answer: Answer, data: st.DataObject) -> None:
    events = unfold(answer)
    place = data.draw(st.integers(0, len(events) - 1))
    failure: Event = StreamError(failure=Failure(kind=FailureKind.CUT, message="cut"))

    assert fold([*events[:place], failure, *events[place:]]) is None


def test_every_choice_must_have_finished() -> None:
    assert fold([BEGIN, TextDelta(text="a"), TextDelta(text="b", choice=1), STOP, End()]) is None
    assert fold([BEGIN, End()]) is None


def test_calls_whose_arguments_come_in_turns_are_kept_apart() -> None:
    answer = fold(
        [
            BEGIN,
            ToolCallBegin(index=0, id="x", name="f"),
            ToolCallBegin(index=1, id="y", name="g"),
            ToolCallDelta(index=1, arguments="[1"),
            ToolCallDelta(index=0, arguments="{}"),
            ToolCallDelta(index=1, arguments="]"),
            Finish(reason=FinishReason.TOOL_CALLS),
            End(),
        ]
    )

    assert answer is not None
    assert answer.choices[0].parts == (
        ToolCallPart(id="x", name="f", arguments="{}"),
        ToolCallPart(id="y", name="g", arguments="[1]"),
    )


def test_arguments_of_a_call_that_never_began_spoil_the_answer() -> None:
    assert fold([BEGIN, ToolCallDelta(index=0, arguments="{}"), STOP, End()]) is None


def test_a_sealed_thought_is_not_gone_on_with() -> None:
    answer = fold(
        [
            BEGIN,
            ReasoningDelta(text="a"),
            ReasoningDelta(signature="s"),
            ReasoningDelta(text="b"),
            TextDelta(text="c"),
            STOP,
            End(),
        ]
    )

    assert answer is not None
    assert answer.choices[0].parts == (
        ReasoningPart(text="a", signature="s"),
        ReasoningPart(text="b"),
        TextPart(text="c"),
    )


def test_the_last_report_of_usage_counts() -> None:
    first, last = Usage(input_tokens=5), Usage(input_tokens=5, output_tokens=9)
    begin = msgspec.structs.replace(BEGIN, usage=first)

    answer = fold([begin, TextDelta(text="a"), STOP, UsageReport(usage=last), End()])
    unreported = fold([begin, TextDelta(text="a"), STOP, End()])

    assert answer is not None
    assert answer.usage == last
    assert unreported is not None
    assert unreported.usage == first


def test_log_probabilities_of_pieces_are_those_of_the_whole() -> None:
    pieces = [probabilities("a"), probabilities("b", "c")]
    events: list[Event] = [BEGIN, *(TextDelta(text="-", logprobs=piece) for piece in pieces), STOP, End()]

    answer = fold(events)

    assert answer is not None
    assert answer.choices[0].logprobs is not None
    assert msgspec.json.decode(answer.choices[0].logprobs) == msgspec.json.decode(
        probabilities("a", "b", "c")
    )


def test_a_long_text_comes_in_pieces() -> None:
    text = "word " * 5000
    answer = Answer(
        id="a",
        model="m",
        created=0,
        choices=(Choice(index=0, parts=(TextPart(text=text),), finish=FinishReason.STOP),),
        usage=None,
    )

    deltas = [event for event in unfold(answer) if isinstance(event, TextDelta)]

    assert len(deltas) > 3
    assert fold(unfold(answer)) == answer
