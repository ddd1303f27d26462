"""What semantic metrics say, as evaluation results (`gen_ai.evaluation.result`)."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.signals.board import Outcome
from fairlead.signals.dispersion import Dispersion
from fairlead.signals.features import Features
from fairlead.signals.questions import Sampled
from fairlead.signals.validity import VALID
from fairlead.types import EvaluationResult


def of_answer(sampled: Sampled, features: Features, response_id: str) -> Iterator[EvaluationResult]:
    """One result for each feature that could be computed. A score of 1.0 says that the name holds."""

    def result(name: str, score: float, label: str) -> EvaluationResult:
        return EvaluationResult(
            name=name,
            at=sampled.at,
            score=score,
            label=label,
            request_id=sampled.id,
            response_id=response_id,
            trace=sampled.trace,
            operation="text_completion" if sampled.api == "completions" else "chat",
            model=sampled.model,
            tenant=sampled.tenant,
        )

    if features.refusal is not None:
        yield result("refusal", float(bool(features.refusal)), features.refusal or "answered")
    yield result("truncation", float(features.truncated), "truncated" if features.truncated else "whole")
    if features.repetition is not None:
        degenerate = features.repetition.degenerate
        yield result("repetition", features.repetition.run_share, "degenerate" if degenerate else "ordinary")
    if features.format is not None:
        yield result("format_validity", float(features.format == VALID), features.format)
    for verdict in features.calls:
        yield result("tool_call_validity", float(verdict == VALID), verdict)
    if features.mismatch is not None:
        label = "->".join(features.languages or ())
        yield result("language_mismatch", float(features.mismatch), label)
    if features.grounding is not None:
        yield result("grounding", features.grounding, "")


def of_dispersion(sampled: Sampled, found: Dispersion, *, at: float) -> EvaluationResult:
    """How far several answers to one question agree; not semantic entropy, see `signals.dispersion`."""
    return EvaluationResult(
        name="consistency",
        at=at,
        score=found.agreement,
        label=f"{found.groups} of {found.answers} by {found.by}",
        request_id=sampled.id,
        trace=sampled.trace,
        operation="chat",
        model=sampled.model,
        tenant=sampled.tenant,
    )


def of_window(outcome: Outcome) -> EvaluationResult:
    """A comparison; from 1.0 it is an alarm."""
    return EvaluationResult(
        name=f"{outcome.signal}_drift",
        at=outcome.compared_at,
        score=outcome.score,
        label="drift" if outcome.alarm else "stable",
        model=outcome.model,
    )
