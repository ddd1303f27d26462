"""What semantic metrics have counted and found, as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from fairlead.signals.board import Outcome
from fairlead.signals.tally import Tally
from fairlead.telemetry.labels import OTHER, clean
from fairlead.telemetry.metrics.readings import Reading

MOST: Final = 1000
"""Series of one metric, the last one apart."""


def signal_readings(tally: Tally, skipped: Mapping[tuple[str, ...], int]) -> Iterator[Reading]:
    """The counters of this process since its start. `skipped` are requests that were not looked at."""
    sampled = dict(tally.sampled)
    for key, count in skipped.items():
        sampled[key] = sampled.get(key, 0) + count
    yield from _counter("fairlead_signals_sampled_total", sampled, (1, 0))
    yield from _counter("fairlead_refusals_total", tally.refusals, (1, 0))
    yield from _counter("fairlead_answers_truncated_total", tally.truncated, (0,))
    yield from _counter("fairlead_answers_degenerate_total", tally.degenerate, (0,))
    yield from _counter("fairlead_answers_validity_total", tally.validity, (1, 2, 0))
    yield from _counter("fairlead_answers_language_total", tally.languages, (1, 0))
    yield from _counter("fairlead_grounding_answers_total", tally.grounded, (0,))
    yield from _counter("fairlead_grounding_score_total", tally.grounding, (0,), 1000)
    yield from _counter("fairlead_consistency_questions_total", tally.asked_again, (1, 0))
    yield from _counter("fairlead_consistency_score_total", tally.agreement, (0,), 1000)
    yield from _counter("fairlead_consistency_usd_total", tally.reask_microusd, (0,), 1_000_000)
    yield from _counter("fairlead_signals_items_total", tally.stored, (0,))


def drift_readings(last: Iterable[Outcome]) -> Iterator[Reading]:
    """The last comparison of each series."""
    for outcome in list(last)[:MOST]:
        labels = (outcome.signal, clean(outcome.model))
        yield Reading(name="fairlead_drift_p_value", value=outcome.result.p_value, labels=labels)
        yield Reading(name="fairlead_drift_score", value=outcome.score, labels=labels)
        yield Reading(name="fairlead_drift_compared_at_seconds", value=outcome.compared_at, labels=labels)


def _counter(
    name: str, counts: Mapping[tuple[str, ...], int], order: tuple[int, ...], per: int = 1
) -> Iterator[Reading]:
    """One series for each key, whose parts are put in the order of the labels."""
    sums: dict[tuple[str, ...], int] = {}
    for key, count in counts.items():
        labels = tuple(clean(key[place]) for place in order)
        if labels not in sums and len(sums) >= MOST:
            labels = (OTHER,) * len(order)
        sums[labels] = sums.get(labels, 0) + count
    for labels, total in sums.items():
        yield Reading(name=name, value=total / per if per > 1 else total, labels=labels)
