"""Who watches the tier of one route: random audits, the bound they give, and what follows from it.

    learning    serves nothing; what it would serve is compared with the fresh answer, which is there anyway
    active      serves; a random part of the hits is audited: asked again later, and compared
    tightened   the bound has passed the limit: serves only what is much more certain, if that has a bound
                of its own within the limit; everything else is compared as in learning, and may lead back
    off         it did not get better, or the model is sure of nothing any more: serves nothing until
                somebody resets it

The rule in all states: a hit is served only while the anytime-valid upper
bound (`bound`) of the false rate of verified decisions is within the limit.
Whether the model, the embedder or the guards are any good is not assumed;
if they are not, the bound never comes down and nothing is served.

Pure: chance is `roll`, uniform in [0, 1), and time is `now`, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from fairlead.cache.semantic.bound import anytime_upper

_STRICT_SHARE: Final = 0.2
"""Of the error probability, kept for the bound of what is served when tightened."""
_STRICTER: Final = 0.25
"""Tightened, the model must be sure of this part of the limit."""
_ATTEMPTS: Final = (0.85, 0.1, 0.05)
"""Of the error probability, for the first evidence and for each that begins anew after a drift."""
_MORE_AUDITS: Final = 4.0
"""So many times the audits while the bound is above half the limit."""
_STALLED: Final = 20.0
"""Hits without any audit, in multiples of what is expected, after which none is served: audits are broken."""
_DRIFT_FACTOR: Final = 4.0
_DRIFT_ALARM: Final = math.log(1000.0)
"""Of an e-detector (Shin, Ramdas and Rinaldo, arXiv 2203.03532): while the rate is within the limit, an alarm
comes once in a thousand verified decisions at most."""
_PATIENCE: Final = 20.0
"""Verified decisions, over the limit, that a tightened route has to recover: 1,000 at 2 %."""


class State(StrEnum):
    """Where a route stands."""

    LEARNING = "learning"
    ACTIVE = "active"
    TIGHTENED = "tightened"
    OFF = "off"


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a route's configuration says."""

    max_false_hit_rate: float = 0.02
    alpha: float = 0.05
    """Of the published bound: 0.05 for one that holds with 95 %."""
    audit_rate: float = 0.05
    audits_per_hour: float = 600.0
    """Audits cost an answer and perhaps a judge's: no more than these."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with a decision."""

    serve: bool
    verify: bool
    """Compare with a fresh answer: in the background for a hit, by the way for a miss."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A route went from one state to another."""

    route: str
    before: State
    after: State
    bound: float
    limit: float
    verified: int
    errors: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What is published of a route."""

    state: State
    bound: float
    """With probability 1 - alpha never below the false rate of verified decisions; 1.0 without any."""
    verified: int
    errors: int
    hits: int
    audits: int
    audits_skipped: int
    """Chosen by chance, but over the budget."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """How many decisions were verified, and how many of them were wrong."""

    count: int = 0
    errors: int = 0

    def sound(self) -> bool:
        """Whether it can be one."""
        return 0 <= self.errors <= self.count


class SavedAudit(msgspec.Struct, frozen=True, kw_only=True):
    """All that a route's watch knows, as it is stored."""

    max_false_hit_rate: float
    state: State
    attempt: int
    main: Sample
    strict: Sample
    strict_served: bool
    missed: float
    drift: float
    tightened_for: int
    since_audit: int
    hits: int
    audits: int
    skipped: int
    credit: float


class _Evidence:
    """Verified decisions above one requirement, and their bound."""

    __slots__ = ("alpha", "bound", "count", "errors")

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.count = self.errors = 0
        self.bound = 1.0

    def add(self, right: bool, missed: float) -> None:
        self.count += 1
        self.errors += not right
        # A judge who takes a part of the false hits for right shows us the rest only.
        self.bound = min(anytime_upper(self.count, self.errors, self.alpha) / (1.0 - missed), 1.0)

    def restore(self, sample: Sample, missed: float) -> None:
        """Take the counts of before."""
        self.count, self.errors = sample.count, sample.errors
        self.bound = min(anytime_upper(sample.count, sample.errors, self.alpha) / (1.0 - missed), 1.0)


class RouteAudit:
    """The watch over one route. `alert` is called at every change of state, synchronously."""

    def __init__(self, route: str, rules: Rules, alert: Callable[[Change], None]) -> None:
        if not (
            0.0 < rules.max_false_hit_rate < 1.0 and 0.0 < rules.alpha < 1.0 and 0.0 < rules.audit_rate <= 1.0
        ):
            raise ValueError("rates must lie between 0 and 1")
        self.route = route
        self.rules = rules
        self.state = State.LEARNING
        self._alert = alert
        self._hits = self._audits = self._skipped = 0
        self._since_audit = 0
        self._tightened_for = 0
        self._idle = 0
        """Comparisons, while tightened, since one that the model was sure of."""
        self._missed = 0.0
        self._credit = rules.audits_per_hour
        self._credited_at: float | None = None
        self._drift = 0.0
        self._begin(0)

    def decide(self, lower: float, *, roll: float, now: float) -> Course:
        """What to do with a candidate that the model is so sure of, at least (`Prediction.lower`)."""
        limit = self.rules.max_false_hit_rate
        # Written so that a number that is none is not served either.
        if self.state is State.OFF or not lower >= 1.0 - limit:
            return Course(serve=False, verify=False)
        evidence = self._serving(lower)
        if evidence is None or self._since_audit >= _STALLED / self.rules.audit_rate:
            return Course(serve=False, verify=True)
        self._hits += 1
        self._since_audit += 1
        rate = self.rules.audit_rate
        if evidence.bound > limit / 2:
            rate = min(rate * _MORE_AUDITS, 1.0)
        return Course(serve=True, verify=roll < rate and self._afford(now))

    def verified(self, lower: float, *, right: bool, hit: bool, missed: float = 0.0) -> None:
        """A decision was compared with a fresh answer.

        `lower` is what it was decided on, `hit` whether it was served, `missed` the part of false hits that
        the judge takes for right, at most.
        """
        limit = self.rules.max_false_hit_rate
        if hit:
            self._audits += 1
        if self.state is State.OFF:
            return
        if not lower >= 1.0 - limit:
            self._unsure()
            return
        self._since_audit = self._idle = 0
        if right:
            self._missed = max(self._missed, min(missed, 0.99))
        self._main.add(right, self._missed)
        if lower >= 1.0 - limit * _STRICTER:
            self._strict.add(right, self._missed)
        self._drift = max(self._drift + self._drift_step(right), 0.0)
        self._move()

    def reset(self) -> None:
        """Begin anew, on an operator's word."""
        self._begin(0)
        self._go(State.LEARNING)

    def saved(self) -> SavedAudit:
        """What is known, to be stored."""
        return SavedAudit(
            max_false_hit_rate=self.rules.max_false_hit_rate,
            state=self.state,
            attempt=self._attempt,
            main=Sample(count=self._main.count, errors=self._main.errors),
            strict=Sample(count=self._strict.count, errors=self._strict.errors),
            strict_served=self._strict_served,
            missed=self._missed,
            drift=self._drift,
            tightened_for=self._tightened_for,
            since_audit=self._since_audit,
            hits=self._hits,
            audits=self._audits,
            skipped=self._skipped,
            credit=self._credit,
        )

    def restore(self, saved: SavedAudit) -> bool:
        """Go on from what was stored. False, and nothing changes, when that is of another limit or unsound.

        Bounds are computed anew, with these rules' `alpha`: they depend on the counts alone. A route that
        is no longer within its limit by them is tightened.
        """
        if (
            saved.max_false_hit_rate != self.rules.max_false_hit_rate
            or not (saved.main.sound() and saved.strict.sound())
            or not 0 <= saved.attempt < len(_ATTEMPTS)
            or not 0.0 <= saved.missed < 1.0
            or not (math.isfinite(saved.drift) and math.isfinite(saved.credit))
        ):
            return False
        self._begin(saved.attempt)
        self._missed = saved.missed
        self._main.restore(saved.main, saved.missed)
        self._strict.restore(saved.strict, saved.missed)
        self._strict_served = saved.strict_served
        self._drift = max(saved.drift, 0.0)
        self._tightened_for = saved.tightened_for
        self._since_audit = saved.since_audit
        self._hits, self._audits, self._skipped = saved.hits, saved.audits, saved.skipped
        self._credit = min(max(saved.credit, 0.0), self.rules.audits_per_hour)
        self.state = saved.state
        if self.state is State.ACTIVE and self._main.bound > self.rules.max_false_hit_rate:
            self._go(State.TIGHTENED)
        return True

    def status(self) -> Status:
        """What is published."""
        evidence = self._strict if self.state is State.TIGHTENED and self._strict_serves() else self._main
        return Status(
            state=self.state,
            bound=evidence.bound,
            verified=evidence.count,
            errors=evidence.errors,
            hits=self._hits,
            audits=self._audits,
            audits_skipped=self._skipped,
        )

    def _begin(self, attempt: int) -> None:
        alpha = self.rules.alpha * _ATTEMPTS[attempt]
        self._attempt = attempt
        self._main = _Evidence(alpha * (1.0 - _STRICT_SHARE))
        self._strict = _Evidence(alpha * _STRICT_SHARE)
        self._strict_served = False
        self._drift = 0.0
        self._tightened_for = self._idle = 0

    def _serving(self, lower: float) -> _Evidence | None:
        """The evidence that lets a decision be served."""
        limit = self.rules.max_false_hit_rate
        if self.state is State.ACTIVE:
            return self._main
        if self.state is State.TIGHTENED and self._strict_serves() and lower >= 1.0 - limit * _STRICTER:
            self._strict_served = True
            return self._strict
        return None

    def _strict_serves(self) -> bool:
        return self._strict.bound <= self.rules.max_false_hit_rate

    def _afford(self, now: float) -> bool:
        most = self.rules.audits_per_hour
        since = 0.0 if self._credited_at is None else max(now - self._credited_at, 0.0)
        self._credited_at = now if self._credited_at is None else max(now, self._credited_at)
        self._credit = min(self._credit + since * most / 3600.0, most)
        if self._credit < 1.0:
            self._skipped += 1
            return False
        self._credit -= 1.0
        return True

    def _unsure(self) -> None:
        """The model was not sure enough of a pair that was compared.

        What it has learned to doubt is never verified again, and so would stay tightened for ever.
        """
        if self.state is State.TIGHTENED:
            self._idle += 1
            if self._idle * self.rules.max_false_hit_rate >= _PATIENCE:
                self._go(State.OFF)

    def _drift_step(self, right: bool) -> float:
        """The logarithm of a bet that the rate has become several times the limit."""
        limit = self.rules.max_false_hit_rate
        worse = min(limit * _DRIFT_FACTOR, (1.0 + limit) / 2.0)
        return math.log((1.0 - worse) / (1.0 - limit)) if right else math.log(worse / limit)

    def _move(self) -> None:
        """The one place where states follow from evidence."""
        within = self._main.bound <= self.rules.max_false_hit_rate
        if self.state in (State.ACTIVE, State.TIGHTENED) and self._drift >= _DRIFT_ALARM:
            # What was verified before tells nothing about now.
            if self._attempt + 1 == len(_ATTEMPTS):
                self._go(State.OFF)
                return
            self._go(State.TIGHTENED)
            self._begin(self._attempt + 1)
        elif within:
            self._go(State.ACTIVE)
        elif self.state is State.ACTIVE:
            self._tightened_for = 0
            self._strict_served = False
            self._go(State.TIGHTENED)
        elif self.state is State.TIGHTENED:
            self._tightened_for += 1
            failed = self._strict_served and not self._strict_serves()
            tired = (
                self._tightened_for * self.rules.max_false_hit_rate >= _PATIENCE and not self._strict_serves()
            )
            if failed or tired:
                self._go(State.OFF)

    def _go(self, after: State) -> None:
        before = self.state
        if after is before:
            return
        self.state = after
        self._alert(
            Change(
                route=self.route,
                before=before,
                after=after,
                bound=self._main.bound,
                limit=self.rules.max_false_hit_rate,
                verified=self._main.count,
                errors=self._main.errors,
            )
        )
