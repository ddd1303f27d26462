"""Everything that is computed of one answer.

What a feature cannot be told of (no context, too short a text) is absent, not
false. Pure, apart from the two models in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from fairlead.signals.grounding import grounding
from fairlead.signals.language import Language
from fairlead.signals.refusal import refusal
from fairlead.signals.repetition import Repetition, repetition
from fairlead.signals.turn import Turn
from fairlead.signals.validity import INVALID, UNKNOWN_TOOL, UNPARSABLE, Validity

MARKS: Final = ("refused", "truncated", "degenerate", "invalid", "mismatched")
"""What may be true of an answer, in the order of the bits of `Features.marks`."""
_BAD: Final = (INVALID, UNPARSABLE, UNKNOWN_TOOL)
_LENGTH: Final = "length"


class Features(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer, measured."""

    refusal: str | None = None
    """What kind of refusal it is, "" for none; None when this was not computed, as for all below."""
    truncated: bool = False
    """It ended at the limit of its length."""
    repetition: Repetition | None = None
    format: str | None = None
    """Whether it is the JSON that was demanded, one of `validity.VERDICTS`."""
    calls: tuple[str, ...] = ()
    """The same for the arguments of each tool call."""
    languages: tuple[str, str] | None = None
    """Of the question and of the answer."""
    mismatch: bool | None = None
    grounding: float | None = None
    """Share of its content words that its context has."""

    @property
    def marks(self) -> int:
        """Which of `MARKS` are true, as bits."""
        true = (
            bool(self.refusal),
            self.truncated,
            self.repetition is not None and self.repetition.degenerate,
            self.format in _BAD or any(call in _BAD for call in self.calls),
            self.mismatch is True,
        )
        return sum(1 << bit for bit, is_true in enumerate(true) if is_true)


class Measure:
    """Computes what is wanted."""

    def __init__(self, wanted: Iterable[str]) -> None:
        """Load what the `wanted` features need, of those that the option `signals.features` names.

        Raises:
            UsageError: the extra is not installed.
        """
        self._wanted = frozenset(wanted)
        self._validity = Validity() if "validity" in self._wanted else None
        self._language = Language() if "language" in self._wanted else None

    def __call__(self, turn: Turn) -> Features:
        """Measure one answer."""
        wanted = self._wanted
        truncated = turn.finish == _LENGTH
        languages = self._language.compare(turn.prompt, turn.answer) if self._language is not None else None
        return Features(
            refusal=refusal(turn.answer, field=turn.refusal, finish=turn.finish)
            if "refusal" in wanted
            else None,
            truncated=truncated,
            repetition=repetition(turn.answer) if "repetition" in wanted and turn.answer else None,
            format=self._format(turn),
            calls=self._calls(turn),
            languages=(languages.prompt, languages.answer) if languages is not None else None,
            mismatch=languages.mismatch if languages is not None else None,
            grounding=grounding(turn.answer, turn.context) if "grounding" in wanted else None,
        )

    def _format(self, turn: Turn) -> str | None:
        # A refusal, or a call of a tool, stands in place of the answer that the format is for.
        if self._validity is None or not turn.wants_json or turn.refusal or not turn.answer:
            return None
        return self._validity.check(turn.answer, turn.schema)

    def _calls(self, turn: Turn) -> tuple[str, ...]:
        validity = self._validity
        if validity is None:
            return ()
        return tuple(
            validity.check(call.arguments, call.schema) if call.known else UNKNOWN_TOOL for call in turn.calls
        )
