"""Whether two answers say the same, and how often that judgement is wrong.

A ladder, the cheap and certain steps first:

    exact        the same text, spaces, case and punctuation at the ends aside
    structured   the same JSON value, or the same number; two JSON values that differ are different
    embedding    vectors nearer than `same_above`, or farther than `different_below`; in between, undecided
    model        what a judge of the gateway's says, a language model for example

What no step decides counts as different, so that an answer nobody can compare
is never served. A step may take a different answer for the same: how often is
measured on labelled answers (`Misses`), and the tier's bound is widened by it.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Final

import msgspec

from fairlead.cache.semantic.bound import exact_upper

_MAX_CHARS: Final = 200_000
"""Longer answers are compared as text only."""
_ENDS: Final = " \t\r\n.!?;:,\"'\u201c\u201d\u3002"


class Step(StrEnum):
    """Steps of the ladder."""

    EXACT = "exact"
    STRUCTURED = "structured"
    EMBEDDING = "embedding"
    MODEL = "model"
    NONE = "none"


class Misses(msgspec.Struct, frozen=True, kw_only=True):
    """A step's record on labelled answers: how many of the different ones it took for the same."""

    missed: int
    different: int

    def upper(self, alpha: float = 0.05) -> float:
        """The part that it misses, at most."""
        return exact_upper(self.different, self.missed, alpha)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the ladder says."""

    same: bool
    step: Step
    missed: float
    """Of different answers, the part at most that this step takes for the same."""


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be compared."""

    question: str
    cached: str
    fresh: str


Similarity = Callable[[str, str], Awaitable[float]]
"""The cosine of two answers' vectors, of an embedder that understands."""
Judge = Callable[[Answers], Awaitable[bool | None]]
"""Whether two answers to a question say the same; None when it cannot tell."""


class Ladder(msgspec.Struct, frozen=True, kw_only=True):
    """The steps that a route uses."""

    similarity: Similarity | None = None
    same_above: float = 0.97
    different_below: float = 0.6
    judge: Judge | None = None
    misses: Mapping[Step, Misses] = {}
    assumed_missed: float = 0.1
    """For the embedding and the model, as long as nobody has measured them."""

    async def compare(self, answers: Answers) -> Verdict:
        """Go up the ladder until a step decides. What the callables raise is raised."""
        if (same := compared(answers.cached, answers.fresh)) is not None:
            return self._verdict(*same)
        if self.similarity is not None:
            near = await self.similarity(answers.cached, answers.fresh)
            if math.isfinite(near) and not self.different_below <= near < self.same_above:
                return self._verdict(near >= self.same_above, Step.EMBEDDING)
        if self.judge is not None:
            verdict = await self.judge(answers)
            if verdict is not None:
                return self._verdict(verdict, Step.MODEL)
        return self._verdict(False, Step.NONE)

    def _verdict(self, same: bool, step: Step) -> Verdict:
        missed = 0.0
        if same and step in (Step.EMBEDDING, Step.MODEL):
            known = self.misses.get(step)
            missed = self.assumed_missed if known is None else known.upper()
        return Verdict(same=same, step=step, missed=missed)


def compared(cached: str, fresh: str) -> tuple[bool, Step] | None:
    """The two steps that need nobody else; None when they cannot tell."""
    one, other = normalised(cached), normalised(fresh)
    if one == other:
        return True, Step.EXACT
    if max(len(cached), len(fresh)) > _MAX_CHARS:
        return None
    numbers = (_number(one), _number(other))
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1], Step.STRUCTURED
    values = (_structure(cached), _structure(fresh))
    if values[0] is not None and values[1] is not None:
        return values[0] == values[1], Step.STRUCTURED
    return None


def normalised(text: str) -> str:
    """An answer without forms of a character, case, runs of spaces, and punctuation at its ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(_ENDS)


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", "") if text.count(",") != 1 or "." in text else text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _structure(text: str) -> object | None:
    """A JSON object or array, also in a code fence; None of anything else."""
    bare = text.strip()
    if bare.startswith("```") and bare.endswith("```"):
        bare = bare.strip("`").removeprefix("json").strip()
    if not bare.startswith(("{", "[")):
        return None
    try:
        value: object = json.loads(bare, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError, InvalidOperation):
        return None
    # In a tuple: an empty list is a value, too.
    return (_canonical(value),)


def _canonical(value: object) -> object:
    """A value that is equal to another when the JSON is; true is not 1 there, as it is in Python."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value
