"""`/admin/v1/signals`: what semantic metrics have counted and compared, in the control API's shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.errors import NotFound
from fairlead.gateway.signals_opened import Signals
from fairlead.signals.board import Outcome

_Name = Annotated[str, Meta(min_length=1, max_length=500)]


class WindowsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which comparisons."""

    model: _Name | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class CountView(msgspec.Struct, frozen=True, kw_only=True):
    """How often something was true of sampled answers."""

    model: str
    what: str
    """`sampled`, `refusal`, `truncated`, `degenerate`, `format`, `tool_call`, `language` or `asked_again`."""
    kind: str
    count: int


class ScoreView(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over sampled answers."""

    model: str
    what: str
    """`grounding` or `consistency`."""
    answers: int
    mean: float


class ExampleView(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is behind a difference."""

    id: str
    text: str
    """How its text begins, redacted; "" without `signals.drift.keep_examples`."""


class WindowView(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison."""

    model: str
    signal: str
    """`prompt`, `answer` or `behaviour`."""
    number: int
    alarm: bool
    score: float
    """An alarm from 1.0."""
    p_value: float
    alpha: float
    """The level that the budget of false alarms allowed."""
    tests: dict[str, float]
    """P-values of the tests, before they were corrected for their number."""
    began_at: float
    ended_at: float
    compared_at: float
    requests: int
    reference: int
    """Requests that it was compared with."""
    matched: str
    """How finely these were chosen: `hour of week`, `hour of day`, `part of day`."""
    topic: str
    """What changed most: a mark such as `refused`; "" of a group of similar requests."""
    share: float | None
    """Of the window; None where nothing has grown."""
    before: float | None
    """Of the reference."""
    examples: tuple[ExampleView, ...]


class LearningView(msgspec.Struct, frozen=True, kw_only=True):
    """A series without enough comparable requests yet."""

    model: str
    signal: str
    requests: int
    """Since its last comparison."""


class SignalsView(msgspec.Struct, frozen=True, kw_only=True):
    """Counts are those of the worker that answers, since its start."""

    enabled: bool
    waiting: int
    counts: tuple[CountView, ...]
    scores: tuple[ScoreView, ...]
    last: tuple[WindowView, ...]
    """The last comparison of each series, by any worker."""
    learning: tuple[LearningView, ...]
    """As the worker knows that compares; empty on others."""


class WindowList(msgspec.Struct, frozen=True, kw_only=True):
    """Comparisons, the latest first."""

    data: tuple[WindowView, ...]


async def signals_view(signals: Signals | None) -> SignalsView:
    """Everything at a glance. Raises StorageError."""
    if signals is None:
        return SignalsView(enabled=False, waiting=0, counts=(), scores=(), last=(), learning=())
    last = await signals.store.last() if signals.policy is not None else {}
    drift = signals.drift
    learning = {} if drift is None else drift.learning
    return SignalsView(
        enabled=True,
        waiting=signals.work.waiting,
        counts=tuple(_counts(signals)),
        scores=tuple(_scores(signals)),
        last=tuple([await _window(signals, outcome) for _, outcome in sorted(last.items())]),
        learning=tuple(
            LearningView(model=model, signal=signal, requests=requests)
            for (model, signal), requests in sorted(learning.items())
        ),
    )


async def windows(signals: Signals | None, query: WindowsQuery) -> WindowList:
    """Comparisons. Raises NotFound and StorageError."""
    if signals is None:
        raise NotFound(
            "semantic metrics are turned off", hint="`signals: {}` in the configuration turns them on"
        )
    found = await signals.store.windows(model=query.model, limit=query.limit)
    return WindowList(data=tuple([await _window(signals, outcome) for outcome in found]))


async def _window(signals: Signals, outcome: Outcome) -> WindowView:
    topic = outcome.result.topic
    ids = () if topic is None else topic.examples
    texts = await signals.store.examples(outcome.model, outcome.signal, ids)
    return WindowView(
        model=outcome.model,
        signal=outcome.signal,
        number=outcome.number,
        alarm=outcome.alarm,
        score=round(outcome.score, 4),
        p_value=outcome.result.p_value,
        alpha=outcome.alpha,
        tests=outcome.result.tests,
        began_at=outcome.began_at,
        ended_at=outcome.ended_at,
        compared_at=outcome.compared_at,
        requests=outcome.requests,
        reference=outcome.reference,
        matched=outcome.level,
        topic="" if topic is None else topic.name,
        share=None if topic is None else topic.share,
        before=None if topic is None else topic.before,
        examples=tuple(ExampleView(id=name, text=texts.get(name, "")) for name in ids),
    )


def _counts(signals: Signals) -> list[CountView]:
    tally = signals.work.tally
    sampled = tally.sampled + signals.sampling.skipped
    tables: tuple[tuple[str, Mapping[tuple[str, ...], int]], ...] = (
        ("sampled", sampled),
        ("refusal", tally.refusals),
        ("truncated", tally.truncated),
        ("degenerate", tally.degenerate),
        ("", tally.validity),
        ("language", tally.languages),
        ("asked_again", tally.asked_again),
    )
    return [
        CountView(model=key[0], what=what or key[1], kind=key[-1] if len(key) > 1 else "", count=count)
        for what, table in tables
        for key, count in sorted(table.items())
    ]


def _scores(signals: Signals) -> list[ScoreView]:
    tally = signals.work.tally
    measured: dict[tuple[str, ...], int] = {
        (model,): count for (model, what), count in tally.asked_again.items() if what == "measured"
    }
    return [
        ScoreView(model=key[0], what=what, answers=counts[key], mean=round(sums[key] / 1000 / counts[key], 4))
        for what, counts, sums in (
            ("grounding", tally.grounded, tally.grounding),
            ("consistency", measured, tally.agreement),
        )
        for key in sorted(counts)
        if counts[key]
    ]
