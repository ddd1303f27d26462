"""What the process that computes answers, without a process."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import msgspec
from tests.unit.gateway.test_signal_turn import CHAT_ANSWER, USER, chat, sampled

from fairlead.gateway.signal_lab import Laboratory, serve
from fairlead.signals.compare import Item, Job
from fairlead.signals.questions import (
    Compare,
    Compared,
    Disperse,
    Dispersed,
    Look,
    Looked,
    Refused,
    Reply,
    Sampled,
    Setup,
)

SETUP = Setup(features=("refusal",), context=(), secret=b"k" * 32, embedder="hashed", drift=True)
HEAD = struct.Struct(">I")


def look(one: Sampled, setup: Setup = SETUP) -> Looked:
    answer = Laboratory().answer(Look(setup=setup, sampled=one))
    assert isinstance(answer, Looked)
    return answer


def test_an_answer_is_measured_and_prepared_for_comparison() -> None:
    found = look(sampled(chat(USER, user="someone@example.com")))

    assert (found.readable, found.features.refusal, found.features.truncated) == (True, "", True)
    assert found.prompt is not None
    assert found.answer is not None
    assert (len(found.prompt.vector), found.embedder) == (256, "hashed-2/256")
    # Neither texts nor names leave the process.
    assert b"Where" not in msgspec.msgpack.encode(found)
    assert b"someone" not in msgspec.msgpack.encode(found)


def test_marks_depend_on_the_secret_and_the_tenant() -> None:
    one = sampled(chat(USER, user="u"))
    marks = {
        look(one).user,
        look(one, msgspec.structs.replace(SETUP, secret=b"x" * 32)).user,
        look(msgspec.structs.replace(one, tenant="other")).user,
    }

    assert len(marks) == 3
    assert look(one).user == look(one).user


def test_beginnings_of_texts_are_kept_only_when_asked_for_and_redacted() -> None:
    one = sampled(chat({"role": "user", "content": "Write to bob@example.com " + "now " * 100}))

    found = look(one, msgspec.structs.replace(SETUP, examples=True))

    assert found.prompt is not None
    assert found.prompt.example.startswith("Write to [redacted] now")
    assert len(found.prompt.example) == 200
    quiet = look(one)
    assert quiet.prompt is not None
    assert quiet.prompt.example == ""


def test_for_an_embedder_of_the_gateway_the_text_is_given_back() -> None:
    found = look(sampled(chat(USER)), msgspec.structs.replace(SETUP, embedder=""))

    assert found.prompt is not None
    assert (found.prompt.text, found.prompt.vector, found.embedder) == ("Where is it?", b"", "")


def test_without_drift_nothing_is_prepared() -> None:
    found = look(sampled(chat(USER)), msgspec.structs.replace(SETUP, drift=False))

    assert (found.prompt, found.answer, found.user) == (None, None, "")


def test_answers_lie_apart_by_text_or_by_value() -> None:
    def reply(content: str) -> bytes:
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
        return json.dumps(CHAT_ANSWER | {"choices": [choice]}).encode()

    question = Disperse(
        setup=SETUP, sampled=sampled(chat(USER)), replies=(reply("hello."), reply("Bye"), b"broken")
    )
    answer = Laboratory().answer(question)

    assert isinstance(answer, Dispersed)
    assert answer.dispersion is not None
    assert (answer.dispersion.answers, answer.dispersion.groups) == (3, 2)

    alone = Laboratory().answer(Disperse(setup=SETUP, sampled=sampled(chat(USER)), replies=(b"broken",)))
    assert alone == Dispersed(dispersion=None)


def test_a_comparison_is_made() -> None:
    def items(prefix: str, count: int) -> tuple[Item, ...]:
        return tuple(
            Item(id=f"{prefix}{n}", at=n, block=f"{prefix}{n}", stratum=0, marks=n % 2) for n in range(count)
        )

    job = Job(window=items("w", 50), reference=items("r", 150), seed=1, kind="marks", most=99)
    answer = Laboratory().answer(Compare(job=job))

    assert isinstance(answer, Compared)
    assert answer.comparison.p_value > 0.05


def test_a_model_that_is_not_installed_is_told() -> None:
    class Without(Laboratory):
        def _look(self, look: Look) -> Any:
            from fairlead.errors import UsageError

            raise UsageError("missing", hint="install it")

    assert Without().answer(Look(setup=SETUP, sampled=sampled(chat(USER)))) == Refused(
        message="missing", hint="install it"
    )


def test_questions_are_answered_until_they_end_whatever_they_are() -> None:
    good = msgspec.msgpack.encode(Look(setup=SETUP, sampled=sampled(chat(USER))))
    questions = io.BytesIO(
        b"".join(HEAD.pack(len(data)) + data for data in (good, b"\xc1 nonsense", good)) + b"\0"
    )
    answers = io.BytesIO()

    serve(questions, answers)

    found, data = [], answers.getvalue()
    while data:
        (size,) = HEAD.unpack(data[:4])
        found.append(msgspec.msgpack.decode(data[4 : 4 + size], type=Reply))
        data = data[4 + size :]
    assert [answer.readable for answer in found] == [True, False, True]


def test_a_question_that_is_too_long_ends_it() -> None:
    answers = io.BytesIO()

    serve(io.BytesIO(HEAD.pack(2**31)), answers)

    assert answers.getvalue() == b""
