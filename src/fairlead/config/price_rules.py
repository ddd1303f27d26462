"""What the types of the section `prices` cannot say. Pure, as `rules` is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fairlead.config.fault import Fault, Path, nearest
from fairlead.config.options import Config

_LIST: Final = re.compile(r"[a-z0-9_]{1,40}(/[a-z0-9-]{1,40})?\Z")
SELF_HOSTED: Final = frozenset({"vllm", "sglang", "tgi", "llamacpp", "ollama", "simulated"})
"""Types of providers that nobody bills by a list."""


def faults(config: Config) -> Iterator[Fault]:
    """Every broken rule of the section."""
    prices = config.prices
    if prices.file == "":
        yield Fault(("prices", "file"), "expected a path, got an empty one")
    for name, listed in prices.providers.items():
        path: Path = ("prices", "providers", name)
        provider = config.providers.get(name)
        if provider is None:
            hint = nearest(name, config.providers) or "add it under `providers`"
            yield Fault(path, f"no provider is named `{name}`", hint)
        elif not _LIST.match(listed):
            yield Fault(path, "expected the name of a price list, or `LIST/ZONE`", "such as openai, azure/eu")
        elif provider.type in SELF_HOSTED and listed != "none":
            message = f"a provider of type `{provider.type}` is in no price list"
            yield Fault(path, message, "give its models prices of their own under `prices.models`")
    for name, model in prices.models.items():
        path = ("prices", "models", name)
        if not name or not name.isprintable() or name != name.strip() or "*" in name:
            yield Fault(path, "expected a model's name, or `PROVIDER/MODEL`; patterns have no prices")
        if all(getattr(model, option) is None for option in model.__struct_fields__):
            yield Fault(path, "holds no price", "leave the entry out to use the price table")
