"""One sampled request with its answer, in no dialect: what the metrics look at."""

from __future__ import annotations

import msgspec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model asked for."""

    name: str
    arguments: str
    """As the model wrote them."""
    schema: bytes | None = None
    """JSON Schema of the arguments; None when the request names no such tool, or gives it no schema."""
    known: bool = True
    """The request offered a tool of that name."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked last, and what was answered."""

    prompt: str
    """The last text of the user."""
    context: str = ""
    """What the answer should be grounded in; "" when nothing was given."""
    answer: str
    """The first choice's text."""
    refusal: str = ""
    """What the provider put in its own field for refusals."""
    finish: str = ""
    """Why the answer ended, in the neutral words (`stop`, `length`, `content_filter`, ...)."""
    calls: tuple[Call, ...] = ()
    wants_json: bool = False
    """The request demands a JSON answer."""
    schema: bytes | None = None
    """JSON Schema that the answer must meet."""
