"""Names that come from outside, made safe for a label, a column or a log line.

A model's name may be anything a client typed when a route ends in `*`: line
ends, surrogates that no UTF-8 can carry, NUL that Postgres refuses, a
megabyte of text.
"""

from __future__ import annotations

from typing import Final

LONGEST: Final = 200
"""Characters kept of a name."""

OTHER: Final = "other"
"""The label that stands for all values beyond a limit."""


def clean(name: str) -> str:
    """`name` cut to `LONGEST` characters, with `?` for each that does not print."""
    if len(name) > LONGEST:
        name = name[: LONGEST - 1] + "…"
    if name.isprintable():
        return name
    return "".join(character if character.isprintable() else "?" for character in name)
