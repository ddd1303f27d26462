"""How likely a cached answer is right for a question, and how sure that is.

A hierarchical logistic model. The shape of a pair of texts has weights for
the embedder; a route begins with those, less certain, and learns its own; an
entry has an offset; and each word and span that differs has an effect of its
own. Whoever has little evidence leans on the level above it:
that is the partial pooling.

    logit P(right) = route . shape + novelty + entry + sum of effects

Learning is sequential: after each verified pair the posterior is a Gaussian
again (the update of Spiegelhalter and Lauritzen, Networks 20, 1990), with a
full covariance for the shape and one variance for each of the rest.

An effect never counts in favour: its mean is not above 0. Otherwise many
differences known to be harmless would outweigh one that is not. Before it has
been seen its mean is negative and its variance large, so that an unknown
difference keeps the lower bound low until it has been verified. The tables
are bounded; who is forgotten is unknown again, which is the safe side.

Pure Python on purpose: eleven weights need no library, and an update takes
well below a tenth of a millisecond.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.cache.semantic.features import SHAPE, Features

_SIZE: Final = len(SHAPE) + 1
"""The shape, and how much of the difference has never been verified."""
_NOVEL_MOST: Final = 6


class Priors(msgspec.Struct, frozen=True, kw_only=True):
    """What is believed before anything was verified; in logits.

    `docs/design/0009-verified-semantic-tier.md` has the measurements behind the numbers.
    """

    level_sd: float = 3.0
    """Of the constant weight."""
    weight_sd: float = 2.0
    """Of every other weight of the shape."""
    word_mean: float = -3.0
    word_sd: float = 3.0
    """Of the effect of a word that differs."""
    span_mean: float = -1.0
    span_sd: float = 1.5
    """Of the effect of a span over that of its words."""
    entry_sd: float = 0.5
    route_spread: float = 0.7
    """How much routes differ: added to the embedder's deviation when a route begins."""
    confidence_z: float = 1.0
    """Of the bounds, in standard deviations: 84 % one-sided. `audit` verifies what comes of it."""
    most_effects: int = 100_000
    most_entries: int = 100_000


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says of one pair."""

    probability: float
    lower: float
    """The lower confidence bound of the probability that the answer is right."""
    upper: float


class _Weights:
    """A Gaussian over the weights of the shape."""

    __slots__ = ("covariance", "mean")

    def __init__(self, mean: list[float], covariance: list[list[float]]) -> None:
        self.mean = mean
        self.covariance = covariance

    def spread(self, values: Sequence[float]) -> list[float]:
        """The covariance times a vector."""
        return [sum(map(operator.mul, row, values)) for row in self.covariance]

    def learn(self, spread: Sequence[float], step: float, shrink: float) -> None:
        """Move the mean by `step` and take `shrink` off the variance, both along `spread`."""
        self.mean = [mean + value * step for mean, value in zip(self.mean, spread, strict=True)]
        for row, value in zip(self.covariance, spread, strict=True):
            less = shrink * value
            row[:] = [entry - less * other for entry, other in zip(row, spread, strict=True)]


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it is stored. Effects and entries are (mean, variance)."""

    mean: list[float]
    covariance: list[list[float]]
    routes: dict[str, tuple[list[float], list[list[float]]]]
    effects: dict[int, tuple[float, float]]
    entries: dict[str, tuple[float, float]]


class Model:
    """The model of one embedder: vectors of another have another meaning, and so a model of their own."""

    def __init__(self, priors: Priors | None = None) -> None:
        self.priors = priors = priors or Priors()
        variances = [priors.level_sd**2] + [priors.weight_sd**2] * (_SIZE - 1)
        self._embedder = _Weights([0.0] * _SIZE, _diagonal(variances))
        self._routes: dict[str, _Weights] = {}
        self._effects: dict[int, tuple[float, float]] = {}
        self._entries: dict[str, tuple[float, float]] = {}

    def predict(self, route: str, entry: str, features: Features) -> Prediction:
        """How likely an entry's answer is right. Changes nothing."""
        shape = self._shape(features)
        weights = self._route(route)
        mean, variance = self._sums(weights, shape, weights.spread(shape), entry, features)
        reach = self.priors.confidence_z * math.sqrt(variance)
        return Prediction(
            probability=_expected(mean, variance),
            lower=_logistic(mean - reach),
            upper=_logistic(mean + reach),
        )

    def learn(self, route: str, entry: str, features: Features, *, right: bool) -> None:
        """Take note of a verified pair."""
        shape = self._shape(features)
        own = self._routes.setdefault(route, self._route(route))
        for weights in (own, self._embedder):
            spread = weights.spread(shape)
            mean, variance = self._sums(weights, shape, spread, entry, features)
            expected = _expected(mean, variance)
            curvature = max(expected * (1.0 - expected), 1e-6)
            shrink = curvature / (1.0 + curvature * variance)
            step = (float(right) - expected) / (1.0 + curvature * variance)
            if weights is own:
                owns = (step, shrink)
            weights.learn(spread, step, shrink)
        # Effects and entries belong to routes' evidence: learn them once, from the route's view.
        self._learn_rest(entry, features, *owns)

    def knows(self, effect: int) -> bool:
        """Whether a difference has been seen in a verified pair."""
        return effect in self._effects

    def forget_entry(self, entry: str) -> None:
        """An entry has left the cache."""
        self._entries.pop(entry, None)

    def forget_route(self, route: str) -> None:
        """A route begins anew: with the embedder's weights, less certain."""
        self._routes.pop(route, None)

    def saved(self) -> Saved:
        """Everything learned, to be stored."""
        return Saved(
            mean=list(self._embedder.mean),
            # Rows are changed in place, and who stores this may do so later.
            covariance=[list(row) for row in self._embedder.covariance],
            routes={
                name: (list(weights.mean), [list(row) for row in weights.covariance])
                for name, weights in self._routes.items()
            },
            effects=dict(self._effects),
            entries=dict(self._entries),
        )

    def restore(self, saved: Saved) -> bool:
        """Go on from what was stored. False, and nothing changes, when it is not of this shape."""
        every = [(saved.mean, saved.covariance), *saved.routes.values()]
        if not all(_is_sound(mean, covariance) for mean, covariance in every):
            return False
        rest = [*saved.effects.values(), *saved.entries.values()]
        if not all(
            math.isfinite(mean) and math.isfinite(variance) and variance > 0.0 for mean, variance in rest
        ):
            return False
        self._embedder = _copied(saved.mean, saved.covariance)
        self._routes = {name: _copied(*weights) for name, weights in saved.routes.items()}
        self._effects = dict(saved.effects)
        self._entries = dict(saved.entries)
        return True

    def _shape(self, features: Features) -> list[float]:
        effects = self._effects
        novel = sum(effect not in effects for effect in (*features.words, *features.spans))
        return [*features.shape, min(novel, _NOVEL_MOST) / _NOVEL_MOST]

    def _route(self, route: str) -> _Weights:
        """A route's weights; those of one that has learned nothing yet come from the embedder."""
        if (known := self._routes.get(route)) is not None:
            return known
        fresh = _copied(self._embedder.mean, self._embedder.covariance)
        if self._routes:
            # Another route taught the embedder: this one may differ.
            for index, row in enumerate(fresh.covariance):
                row[index] += self.priors.route_spread**2
        return fresh

    def _sums(
        self, weights: _Weights, shape: list[float], spread: list[float], entry: str, features: Features
    ) -> tuple[float, float]:
        """Mean and variance of the logit."""
        mean = sum(map(operator.mul, weights.mean, shape))
        variance = max(sum(map(operator.mul, spread, shape)), 0.0)
        priors = self.priors
        parts = [self._entries.get(entry, (0.0, priors.entry_sd**2))]
        unknown = (priors.word_mean, priors.word_sd**2)
        parts += [self._effects.get(word, unknown) for word in features.words]
        unknown = (priors.span_mean, priors.span_sd**2)
        parts += [self._effects.get(span, unknown) for span in features.spans]
        for own_mean, own_variance in parts:
            mean += own_mean
            variance += own_variance
        return mean, variance

    def _learn_rest(self, entry: str, features: Features, step: float, shrink: float) -> None:
        priors = self.priors
        for effects, unknown in (
            (features.words, (priors.word_mean, priors.word_sd**2)),
            (features.spans, (priors.span_mean, priors.span_sd**2)),
        ):
            for effect in effects:
                # Taken out and put back, so that the table's order is that of use.
                mean, variance = self._effects.pop(effect, unknown)
                self._effects[effect] = (
                    min(mean + variance * step, 0.0),
                    variance - shrink * variance * variance,
                )
        mean, variance = self._entries.pop(entry, (0.0, self.priors.entry_sd**2))
        self._entries[entry] = (mean + variance * step, variance - shrink * variance * variance)
        while len(self._effects) > self.priors.most_effects:
            del self._effects[next(iter(self._effects))]
        while len(self._entries) > self.priors.most_entries:
            del self._entries[next(iter(self._entries))]


def _diagonal(variances: Sequence[float]) -> list[list[float]]:
    return [
        [variance if row == column else 0.0 for column in range(len(variances))]
        for row, variance in enumerate(variances)
    ]


def _copied(mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> _Weights:
    return _Weights(list(mean), [list(row) for row in covariance])


def _is_sound(mean: Sequence[float], covariance: Sequence[Sequence[float]]) -> bool:
    return (
        len(mean) == len(covariance) == _SIZE
        and all(len(row) == _SIZE for row in covariance)
        and all(math.isfinite(value) for row in (mean, *covariance) for value in row)
        and all(row[index] >= 0.0 for index, row in enumerate(covariance))
    )


def _expected(mean: float, variance: float) -> float:
    """The mean of the logistic of a Gaussian, after MacKay (Neural Computation 4, 1992)."""
    return _logistic(mean / math.sqrt(1.0 + math.pi * variance / 8.0))


def _logistic(value: float) -> float:
    if value >= 0.0:
        return 1.0 / (1.0 + math.exp(-min(value, 700.0)))
    return math.exp(max(value, -700.0)) / (1.0 + math.exp(max(value, -700.0)))
