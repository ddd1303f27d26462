"""What the types of `models.NAME.cache.semantic` cannot say.

An embedder and a judge that are models of the gateway must exist, vectors of
one embedder must all be of one model, and what has no effect is a mistake.
Pure, as `rules` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fairlead.config.fault import ADD_MODEL, Fault, Path, nearest, route_of
from fairlead.config.options import Config
from fairlead.config.semantic_options import SemanticCache

HASHED: Final = "hashed"
MINILM: Final = "minilm"
BUILT_IN: Final = (HASHED, MINILM)
"""Embedders that are no models of the gateway."""


def faults(config: Config) -> Iterator[Fault]:
    """Every broken rule of these sections."""
    for name, model in config.models.items():
        if model.cache is not None and model.cache.semantic is not None:
            path: Path = ("models", name, "cache", "semantic")
            yield from _embedder(path, model.cache.semantic, config)
            yield from _judge((*path, "judge"), model.cache.semantic, config)


def _embedder(path: Path, options: SemanticCache, config: Config) -> Iterator[Fault]:
    name = options.embedder
    if name in BUILT_IN:
        if options.dimensions is not None:
            yield Fault((*path, "dimensions"), f"has no effect with `{name}`, whose vectors have their own")
        return
    route = route_of(name, config.models)
    if route is None:
        hint = nearest(name, (*BUILT_IN, *config.models)) or ADD_MODEL
        yield Fault((*path, "embedder"), f"no model is named `{name}`", hint)
        return
    if options.dimensions is None:
        yield Fault(path, f"`dimensions` is missing: how long the vectors of `{name}` are")
    if len({target.model for target in config.models[route].targets}) > 1:
        message = f"the targets of `{route}` have different models, whose vectors cannot be compared"
        yield Fault((*path, "embedder"), message, "use a model whose targets are all the same")


def _judge(path: Path, options: SemanticCache, config: Config) -> Iterator[Fault]:
    judge = options.judge
    if judge.model is not None and route_of(judge.model, config.models) is None:
        hint = nearest(judge.model, config.models) or ADD_MODEL
        yield Fault((*path, "model"), f"no model is named `{judge.model}`", hint)
    if judge.same_above is None:
        return
    if options.embedder == HASHED:
        message = "`hashed` vectors do not tell whether answers mean the same"
        yield Fault((*path, "same_above"), message, "leave it out, or choose another `embedder`")
    if judge.same_above <= judge.different_below:
        yield Fault((*path, "same_above"), f"must be above `different_below`, {judge.different_below:g}")
