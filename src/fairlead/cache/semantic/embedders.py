"""Which embedder a route's configuration names.

Its id says whose vectors they are: with another target behind a model's name,
or another build of MiniLM, it is another one, and their vectors never meet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead import config as cfg
from fairlead.cache.key import targets_mark
from fairlead.cache.semantic.embed import Embedder, Hashed, Remote
from fairlead.config.fault import route_of
from fairlead.config.semantic_rules import HASHED, MINILM
from fairlead.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from fairlead.cache.semantic.minilm import MiniLM

Ask = Callable[[str, Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Asks a model of the gateway for the vectors of texts. Raises FairleadError or WrongVectors."""


def embedder_of(
    options: cfg.SemanticCache, config: cfg.Config, *, minilm: MiniLM | None, ask: Ask
) -> Embedder:
    """The embedder of a route."""
    name = options.embedder
    if name == HASHED:
        return Hashed()
    if name == MINILM:
        assert minilm is not None, "opened with the configuration"
        return minilm
    route = route_of(name, config.models)
    assert route is not None, "checked with the configuration"
    assert options.dimensions is not None, "likewise"
    mark = targets_mark(config.models[route], config)

    def ask_model(texts: Sequence[str]) -> Awaitable[Sequence[Sequence[float]]]:
        return ask(name, texts)

    return Remote(f"{name}@{mark}", options.dimensions, ask_model)


def wants_minilm(config: cfg.Config) -> str | None:
    """The first model whose questions MiniLM embeds; None when there is none."""
    for name, model in config.models.items():
        options = model.cache.semantic if model.cache is not None else None
        if options is not None and options.embedder == MINILM:
            return name
    return None


def open_minilm(directory: Path, model: str) -> MiniLM:
    """Load MiniLM; takes a moment, and some seconds the first time. For a thread.

    Raises:
        ConfigError: the extra or the weights are not installed.
    """
    # Only here, as what it runs on is not a part of every installation.
    from fairlead.cache.semantic.minilm import MiniLM

    try:
        return MiniLM.open(directory)
    except (UsageError, OSError) as error:
        message = error.message if isinstance(error, UsageError) else str(error)
        hint = error.hint if isinstance(error, UsageError) else None
        raise ConfigError(message, param=f"models.{model}.cache.semantic.embedder", hint=hint) from error
