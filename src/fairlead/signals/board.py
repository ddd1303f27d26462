"""When a window is compared, with what, and at which level. Pure; `gateway.signal_drift` acts on it.

A series is one signal of one model: its prompts, its answers, or what was
measured of its answers. Whenever enough requests have come since the last
comparison, the latest ones are compared, twice as many, and the newest half of
these by itself: that is wholly changed at the next comparison but one, wherever
a change begins. Windows overlap, which their levels allow
for, since these add up whatever the windows are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from fairlead.signals import spending
from fairlead.signals.compare import Comparison, Item, Job
from fairlead.signals.reference import Candidate, Level, choose

Signal = Literal["prompt", "answer", "behaviour"]
SIGNALS: Final[tuple[Signal, ...]] = ("prompt", "answer", "behaviour")
"""What users ask, what models say, and how often answers are refused, cut, repetitive, invalid or in
another language."""

_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How series are compared."""

    window: int = 250
    """Requests after which a comparison is made, if its level has been earned."""
    per_user: int = 2
    """Of an hour."""
    least_reference: int = 300
    most_reference: int = 1500
    reference_days: int = 28
    gap_hours: float = 24.0
    """How much older than the window its reference is at least."""
    false_alarms_per_month: float = 2.0

    @property
    def most_window(self) -> int:
        """Requests that are compared, at most."""
        return 2 * self.window

    def reference_span(self, window_began: float) -> tuple[float, float]:
        """Between which times the reference lies."""
        until = window_began - self.gap_hours * _HOUR_S
        return until - self.reference_days * _DAY_S, until

    def level(self, series: int, since_s: float) -> float | None:
        """The level for a comparison now; None while too little has been earned."""
        alpha = spending.level(self.false_alarms_per_month, series, since_s)
        return alpha if alpha >= spending.LEAST else None


class Stored(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request's part in a series, as it is kept."""

    id: str
    at: float
    user: str
    session: str
    digest: bytes
    vector: bytes = b""
    marks: int = 0

    def candidate(self) -> Candidate:
        """As the choice of a reference sees it."""
        return Candidate(id=self.id, at=self.at, user=self.user, session=self.session, digest=self.digest)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison to make."""

    level: Level
    job: Job


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A window that was compared."""

    model: str
    signal: Signal
    number: int
    """Counts the windows of a series from 1."""
    began_at: float
    ended_at: float
    compared_at: float
    requests: int
    reference: int
    level: Level
    alpha: float
    result: Comparison

    @property
    def alarm(self) -> bool:
        """The window differs, at its level."""
        return self.result.p_value <= self.alpha

    @property
    def score(self) -> float:
        """1.0 and more is an alarm."""
        return spending.score(self.result.p_value, self.alpha)


def plan(
    policy: Policy,
    signal: Signal,
    window: Sequence[Stored],
    reference: Sequence[Stored],
    *,
    alpha: float,
    seed: int,
) -> Plan | None:
    """What to compare a window with; None while too little is known of its hours.

    Args:
        policy: how.
        signal: which.
        window: its items, in order of time.
        reference: all earlier ones of `Policy.reference_span`, likewise.
        alpha: at which level.
        seed: of everything random.
    """
    if signal == "behaviour":
        # Its items carry no text: users who repeat themselves are bounded by their number alone.
        window = [msgspec.structs.replace(item, digest=b"") for item in window]
        reference = [msgspec.structs.replace(item, digest=b"") for item in reference]
    chosen = choose(
        [item.candidate() for item in window],
        [item.candidate() for item in reference],
        per_user=policy.per_user,
        least_reference=policy.least_reference,
        most_reference=policy.most_reference,
        most_window=policy.most_window,
    )
    if chosen is None:
        return None
    job = Job(
        window=tuple(_item(window[place], chosen.strata) for place in chosen.window),
        reference=tuple(_item(reference[place], chosen.strata) for place in chosen.reference),
        seed=seed,
        kind="marks" if signal == "behaviour" else "vectors",
        most=spending.permutations(alpha),
    )
    return Plan(level=chosen.level, job=job)


def hours_of(window: Sequence[Stored]) -> set[int]:
    """The hours of the day (UTC) that some level counts among those of the window."""
    parts = {int(item.at // _HOUR_S) % 24 // 4 for item in window}
    return {part * 4 + hour for part in parts for hour in range(4)}


def filled(job: Job, vectors: Mapping[str, bytes]) -> Job:
    """With the vectors of its reference; an item that has none (any more) is left out."""
    reference = tuple(
        msgspec.structs.replace(item, vector=vectors[item.id]) for item in job.reference if item.id in vectors
    )
    return msgspec.structs.replace(job, reference=reference)


def _item(stored: Stored, strata: dict[str, int]) -> Item:
    return Item(
        id=stored.id,
        at=stored.at,
        block=stored.candidate().block,
        stratum=strata[stored.id],
        vector=stored.vector,
        marks=stored.marks,
    )
