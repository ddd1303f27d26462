"""Whether a candidate's answer may be served, and what is learned from it.

    reading = read(text)                          once for a question, once for an entry
    decision = verifier.decide(...)               guards, model, audit: in this order
    verifier.learn(decision, right=...)           when it was compared with a fresh answer

One verifier for each embedder. Synchronous and without I/O: some tenths of a
millisecond for a question of usual length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from fairlead.cache.semantic.audit import Change, RouteAudit, Rules, SavedAudit, State, Status
from fairlead.cache.semantic.features import Features, features_of
from fairlead.cache.semantic.guards import Facts, disagreements, facts_of
from fairlead.cache.semantic.model import Model, Prediction, Priors, Saved
from fairlead.cache.semantic.text import difference, taken_apart


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A cached question that may be the same as the one asked."""

    entry: str
    """What the cache calls it."""
    reading: Facts
    cosine: float | None
    """Of the two vectors; None when the embedder finds candidates but does not understand them."""
    runner_up: float | None = None
    """The cosine of the next best candidate."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided of one candidate, and on what grounds."""

    route: str
    entry: str
    serve: bool
    verify: bool
    """Compare with a fresh answer: in the background after a hit, by the way at a miss, then call `learn`."""
    guards: tuple[str, ...]
    """Guards on which the texts disagree: never served, and nothing to learn from."""
    prediction: Prediction | None
    features: Features | None
    bound: float
    """The route's published bound at that time."""


def read(text: str) -> Facts:
    """Read a text for comparing. What a cache keeps beside an entry."""
    return facts_of(taken_apart(text))


class SavedVerifier(msgspec.Struct, frozen=True, kw_only=True):
    """All that one embedder's verifier has learned, as it is stored."""

    model: Saved
    routes: dict[str, SavedAudit]


class Verifier:
    """Guards, model and audits of one embedder's candidates."""

    def __init__(self, alert: Callable[[Change], None], *, priors: Priors | None = None) -> None:
        self.model = Model(priors)
        self._alert = alert
        self._routes: dict[str, RouteAudit] = {}
        self._saved: dict[str, SavedAudit] = {}
        """Of routes that nobody watches yet."""

    def watch(self, route: str, rules: Rules) -> RouteAudit:
        """The watch over a route. With other rules a new one, which goes on from what is known if it can."""
        known = self._routes.get(route)
        if known is not None and known.rules == rules:
            return known
        watch = self._routes[route] = RouteAudit(route, rules, self._alert)
        saved = known.saved() if known is not None else self._saved.pop(route, None)
        if saved is not None:
            watch.restore(saved)
        return watch

    def forget(self, route: str | None) -> None:
        """Begin anew with a route, or with all: nothing is left of what was learned."""
        names = list(self._routes) if route is None else [route]
        for name in names:
            self._saved.pop(name, None)
            self.model.forget_route(name)
            if (watch := self._routes.get(name)) is not None:
                watch.reset()
        if route is None:
            self._saved.clear()
            self.model = Model(self.model.priors)

    def saved(self) -> SavedVerifier:
        """What was learned, to be stored. Routes that are not watched now keep what they had."""
        routes = {**self._saved, **{name: watch.saved() for name, watch in self._routes.items()}}
        return SavedVerifier(model=self.model.saved(), routes=routes)

    def restore(self, saved: SavedVerifier) -> bool:
        """Go on from what was stored, before anything is watched. False when it is of another shape."""
        if not self.model.restore(saved.model):
            return False
        self._saved = dict(saved.routes)
        return True

    def decide(
        self, route: RouteAudit, asked: Facts, candidate: Candidate, *, roll: float, now: float
    ) -> Decision:
        """Whether to serve a candidate's answer, and whether to compare it with a fresh one."""
        bound = route.status().bound
        if route.state is State.OFF:
            return _refused(route, candidate, (), bound)
        if asked.text.too_long or candidate.reading.text.too_long:
            return _refused(route, candidate, ("length",), bound)
        differs = difference(asked.text, candidate.reading.text)
        if guards := disagreements(asked, candidate.reading, differs):
            return _refused(route, candidate, guards, bound)
        features = features_of(
            asked.text,
            candidate.reading.text,
            differs,
            cosine=candidate.cosine,
            runner_up=candidate.runner_up,
        )
        if features.too_different:
            return _refused(route, candidate, (), bound)
        prediction = self.model.predict(route.route, candidate.entry, features)
        course = route.decide(prediction.lower, roll=roll, now=now)
        # A miss is compared whatever the model says of it: the fresh answer is there, and what turns out
        # different teaches as much.
        return Decision(
            route=route.route,
            entry=candidate.entry,
            serve=course.serve,
            verify=course.verify or not course.serve,
            guards=(),
            prediction=prediction,
            features=features,
            bound=bound,
        )

    def learn(self, route: RouteAudit, decision: Decision, *, right: bool, missed: float = 0.0) -> None:
        """Take note of what the comparison with a fresh answer said. `missed` is the judge's error."""
        if decision.features is None or decision.prediction is None:
            return
        route.verified(decision.prediction.lower, right=right, hit=decision.serve, missed=missed)
        self.model.learn(decision.route, decision.entry, decision.features, right=right)

    def status(self) -> Mapping[str, Status]:
        """What is published, by route."""
        return {name: route.status() for name, route in self._routes.items()}


def _refused(route: RouteAudit, candidate: Candidate, guards: tuple[str, ...], bound: float) -> Decision:
    return Decision(
        route=route.route,
        entry=candidate.entry,
        serve=False,
        verify=False,
        guards=guards,
        prediction=None,
        features=None,
        bound=bound,
    )
