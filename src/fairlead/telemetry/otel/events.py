"""Evaluations of answers as OpenTelemetry's events `gen_ai.evaluation.result`.

Whoever evaluates answers calls an `Emit`; with a collector it is
`EvaluationEvents.emit`, without one nobody is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from fairlead.telemetry.labels import clean
from fairlead.telemetry.otel.lane import Lane
from fairlead.telemetry.redact import redact
from fairlead.types import EvaluationResult

__all__ = ["Emit", "EvaluationEvents", "EvaluationResult"]

Emit = Callable[[EvaluationResult], None]
"""Takes a result. Never waits, never fails."""

_LONGEST: Final = 1000
"""Characters of an explanation."""


class EvaluationEvents:
    """Puts results on their way to the collector."""

    def __init__(
        self,
        lane: Lane,
        encode: Callable[[EvaluationResult, float], bytes],
        *,
        explain: Callable[[str], str] | None,
        now: Callable[[], float],
    ) -> None:
        """Join the parts.

        Args:
            lane: where events wait.
            encode: makes an event of a result and of the time it was seen.
            explain: makes an explanation fit to be exported; None to leave it out.
            now: Unix seconds.
        """
        self._lane = lane
        self._encode = encode
        self._explain = explain
        self._now = now

    def emit(self, result: EvaluationResult) -> None:
        """Export one result."""
        explanation = result.explanation
        if explanation:
            explanation = "" if self._explain is None else self._explain(explanation)[:_LONGEST]
        safe = msgspec.structs.replace(
            result,
            explanation=explanation,
            model=clean(result.model),
            tenant=clean(result.tenant),
            response_id=redact(clean(result.response_id)),
        )
        self._lane.put(self._encode(safe, self._now()))
