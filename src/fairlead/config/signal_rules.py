"""What the types of `signals` cannot say: its models must exist, and what has no effect is a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from fairlead.config.fault import ADD_MODEL, Fault, nearest, route_of
from fairlead.config.options import Config
from fairlead.config.semantic_rules import BUILT_IN


def faults(config: Config) -> Iterator[Fault]:
    """Every broken rule of the section."""
    signals = config.signals
    if signals is None:
        return
    for name in signals.models:
        if name not in config.models:
            hint = nearest(name, config.models) or ADD_MODEL
            yield Fault(("signals", "models", name), f"no model is named `{name}`", hint)
    for field in ("features", "context"):
        named = getattr(signals, field) or []
        if len(set(named)) < len(named):
            yield Fault(("signals", field), "something is listed twice")
    drift = signals.drift
    if drift is not None and drift.embedder not in BUILT_IN:
        route = route_of(drift.embedder, config.models)
        if route is None:
            hint = nearest(drift.embedder, (*BUILT_IN, *config.models)) or ADD_MODEL
            yield Fault(("signals", "drift", "embedder"), f"no model is named `{drift.embedder}`", hint)
        elif len({target.model for target in config.models[route].targets}) > 1:
            message = f"the targets of `{route}` have different models, whose vectors cannot be compared"
            yield Fault(
                ("signals", "drift", "embedder"), message, "use a model whose targets are all the same"
            )
