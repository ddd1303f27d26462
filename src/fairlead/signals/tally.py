"""Counts of what was measured, by model, since the process began."""

from __future__ import annotations

from collections import Counter

from fairlead.signals.dispersion import Dispersion
from fairlead.signals.features import Features

Key = tuple[str, ...]


class Tally:
    """One process's counts. Mutable. Keys are tuples that begin with the model."""

    def __init__(self) -> None:
        self.sampled: Counter[Key] = Counter()
        """By outcome: `measured`, `rate`, `large`, `dropped`, `unreadable`, `failed`."""
        self.refusals: Counter[Key] = Counter()
        """By kind."""
        self.truncated: Counter[Key] = Counter()
        self.degenerate: Counter[Key] = Counter()
        self.validity: Counter[Key] = Counter()
        """By what was checked, `format` or `tool_call`, and the verdict."""
        self.languages: Counter[Key] = Counter()
        """By verdict: `match`, `mismatch`, `undecided`."""
        self.grounded: Counter[Key] = Counter()
        """Answers with a context."""
        self.grounding: Counter[Key] = Counter()
        """The sum of their scores, in thousandths."""
        self.asked_again: Counter[Key] = Counter()
        """Questions by outcome: `measured`, `unpriced`, `spent`, `stateful`, `busy`, `failed`."""
        self.agreement: Counter[Key] = Counter()
        """The sum of the agreements, in thousandths."""
        self.reask_microusd: Counter[Key] = Counter()
        self.stored: Counter[Key] = Counter()
        """Items for later comparison, by `kept` or `lost`."""

    def measured(self, model: str, features: Features) -> None:
        """Count one answer."""
        self.sampled[model, "measured"] += 1
        if features.refusal:
            self.refusals[model, features.refusal] += 1
        if features.truncated:
            self.truncated[(model,)] += 1
        if features.repetition is not None and features.repetition.degenerate:
            self.degenerate[(model,)] += 1
        if features.format is not None:
            self.validity[model, "format", features.format] += 1
        for verdict in features.calls:
            self.validity[model, "tool_call", verdict] += 1
        if features.languages is not None:
            verdicts = {True: "mismatch", False: "match", None: "undecided"}
            self.languages[model, verdicts[features.mismatch]] += 1
        if features.grounding is not None:
            self.grounded[(model,)] += 1
            self.grounding[(model,)] += round(features.grounding * 1000)

    def dispersed(self, model: str, found: Dispersion) -> None:
        """Count one question that was asked again."""
        self.asked_again[model, "measured"] += 1
        self.agreement[(model,)] += round(found.agreement * 1000)
