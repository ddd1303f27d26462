"""A broken rule of the configuration, and the words that rules share. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

Path = tuple[str | int, ...]

ADD_MODEL: Final = "add it under `models`"


class Fault(msgspec.Struct, frozen=True):
    """One broken rule: where, what, and perhaps what to do."""

    path: Path
    message: str
    hint: str | None = None


def nearest(name: str, known: Iterable[str]) -> str | None:
    """A hint naming the known word that is closest to `name`, if any is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None


def route_of(name: str, models: Collection[str]) -> str | None:
    """The entry under `models` that serves `name`.

    The exact one, else the wildcard with the longest fixed part: the router's rule.
    """
    if name in models:
        return name
    best: str | None = None
    for pattern in models:
        head, star, tail = pattern.partition("*")
        fits = star and len(name) > len(head) + len(tail) and name.startswith(head) and name.endswith(tail)
        if fits and (best is None or len(pattern) > len(best)):
            best = pattern
    return best
