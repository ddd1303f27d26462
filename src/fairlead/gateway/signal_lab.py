"""The process that computes semantic metrics: `python -m fairlead.gateway.signal_lab`.

Reads questions from its standard input and writes answers to its standard
output until the input ends (see `signals.lab`). It keeps nothing but models.
A text that makes a computation fail costs its own answer only.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from fairlead.cache.semantic.embed import WrongVectors
from fairlead.errors import UsageError
from fairlead.gateway.signal_turn import Answered, Read, answered, read
from fairlead.signals import hashed
from fairlead.signals.compare import compare, packed
from fairlead.signals.dispersion import dispersion
from fairlead.signals.features import Measure
from fairlead.signals.lab import HEAD, MAX_BYTES
from fairlead.signals.questions import (
    Compare,
    Compared,
    Disperse,
    Dispersed,
    Look,
    Looked,
    Question,
    Refused,
    Reply,
    Said,
    Sampled,
    Setup,
)
from fairlead.telemetry.otel.redact_content import Redactor

_TEXT_CHARS: Final = 1500
"""Of a text that is made into a vector: what it is about is said by then."""
_EXAMPLE_CHARS: Final = 200
_MARK_BYTES: Final = 12
_NICE: Final = 10

_question: Final[Any] = msgspec.msgpack.Decoder(Question)
_encode: Final = msgspec.msgpack.Encoder().encode
Embed = Callable[[Sequence[str]], Any]


class Laboratory:
    """Answers questions; loads models at the first that needs them."""

    def __init__(self) -> None:
        self._measures: dict[tuple[str, ...], Measure] = {}
        self._embedders: dict[tuple[str, str], tuple[str, Embed]] = {}
        self._redact = Redactor()

    def answer(self, question: Question) -> Reply:
        """Answer one question."""
        try:
            if isinstance(question, Compare):
                return Compared(comparison=compare(question.job))
            if isinstance(question, Disperse):
                return Dispersed(dispersion=self._disperse(question))
            return self._look(question)
        except UsageError as error:
            return Refused(message=error.message, hint=error.hint or "")

    def _look(self, look: Look) -> Looked:
        setup, sampled = look.setup, look.sampled
        found = read(sampled, setup.context)
        if found is None:
            return Looked(readable=False)
        measure = self._measures.get(setup.features)
        if measure is None:
            measure = self._measures[setup.features] = Measure(setup.features)
        looked = Looked(readable=True, features=measure(found.turn), response_id=found.response_id)
        return self._prepared(looked, found, setup, sampled) if setup.drift else looked

    def _prepared(self, looked: Looked, found: Read, setup: Setup, sampled: Sampled) -> Looked:
        """With what is kept to be compared later on."""
        texts = [text[:_TEXT_CHARS] for text in (found.turn.prompt, found.turn.answer)]
        embedder, vectors = "", [b"", b""]
        if setup.embedder:
            embedder, embed = self._embedder(setup)
            vectors = [packed(row) for row in embed(texts)]
        prompt, answer = (
            Said(
                text="" if setup.embedder else text,
                digest=_mark(setup.secret, text),
                vector=vector,
                example=self._redact(text)[:_EXAMPLE_CHARS] if setup.examples else "",
            )
            if text.strip()
            else None
            for text, vector in zip(texts, vectors, strict=True)
        )
        whose = (sampled.tenant, sampled.key_id)
        return msgspec.structs.replace(
            looked,
            user=_mark(setup.secret, "user", *whose, found.user).hex() if found.user else "",
            session=_mark(setup.secret, "session", *whose, found.user, found.session or sampled.id).hex(),
            embedder=embedder,
            prompt=prompt,
            answer=answer,
        )

    def _disperse(self, question: Disperse) -> Any:
        sampled, setup = question.sampled, question.setup
        found = [answered(sampled.api, sampled.answer, stream=sampled.stream)]
        found += [answered(sampled.api, body, stream=False) for body in question.replies]
        texts = [text for text in (_comparable(one) for one in found if one is not None) if text]
        if len(texts) < 2:
            return None
        near = None
        if setup.embedder == "minilm":
            rows = self._embedder(setup)[1]([text[:_TEXT_CHARS] for text in texts])

            def near(one: int, other: int) -> float:
                return float(sum(a * b for a, b in zip(rows[one], rows[other], strict=True)))

        return dispersion(texts, near)

    def _embedder(self, setup: Setup) -> tuple[str, Embed]:
        key = (setup.embedder, setup.models)
        if key not in self._embedders:
            self._embedders[key] = _open(setup)
        return self._embedders[key]


def _comparable(answer: Answered) -> str:
    """An answer's text; with calls of tools, the JSON of both."""
    if not answer.calls:
        return answer.text or answer.refusal
    calls = [{"name": name, "arguments": _value(arguments)} for name, arguments in answer.calls]
    return msgspec.json.encode({"text": answer.text, "calls": calls}).decode()


def _value(arguments: str) -> Any:
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return arguments


def _open(setup: Setup) -> tuple[str, Embed]:
    if setup.embedder == "hashed":
        return hashed.ID, hashed.vectors
    from fairlead.cache.semantic.minilm import MiniLM

    model = MiniLM.open(Path(setup.models))
    return model.id, model.vectors


def _mark(secret: bytes, *parts: str) -> bytes:
    hasher = hashlib.blake2b(key=secret, digest_size=_MARK_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hasher.update(len(data).to_bytes(8))
        hasher.update(data)
    return hasher.digest()


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the questions end."""
    laboratory = Laboratory()
    while True:
        head = questions.read(HEAD.size)
        if len(head) < HEAD.size:
            return
        (size,) = HEAD.unpack(head)
        if size > MAX_BYTES:
            return
        data = _encode(_answered(laboratory, questions.read(size)))
        answers.write(HEAD.pack(len(data)))
        answers.write(data)
        answers.flush()


def _answered(laboratory: Laboratory, data: bytes) -> Reply:
    try:
        return laboratory.answer(_question.decode(data))
    except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, WrongVectors):
        # Some text found a defect. Its request goes unread; the others go on.
        return Looked(readable=False)


def main() -> None:
    """Serve the process that started this one."""
    os.nice(_NICE)
    # What a library prints must not come between answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
