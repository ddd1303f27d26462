"""What must be equal to the byte before two questions are even compared.

A cached answer belongs to its tenant scope, its route and targets, and to
everything that was said before the last text of the user: system prompt,
history, tools, response format, sampling. All of that goes into one digest;
only the last user text may vary. A request whose answer depends on what the
digest cannot hold is unsuitable, and says why.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec

_VERSION: Final = b"fairlead semantic fingerprint 1"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a request apart from its last user text."""

    scope: str
    """The tenant, or the sharing scope that the configuration names."""
    route: str
    target_group: str
    """What the route resolves to: answers of one group of targets are interchangeable."""
    policy_version: str
    embedder: str
    """`Embedder.id`: vectors of different embedders never meet."""
    request: bytes
    """Canonical form of whatever else changes the output, the last user text left out."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether a request is suitable at all."""

    text: str | None
    """The last user text; None when the last message is none, or has parts besides one text."""
    temperature: float | None
    choices: int = 1
    has_tool_results: bool = False
    has_images: bool = False
    personalised: bool = False
    """The context holds facts about the user: a memory, a profile, retrieved documents."""


def fingerprint(context: Context) -> bytes:
    """The digest of a context, 32 bytes."""
    digest = blake2b(_VERSION, digest_size=32)
    for part in _parts(context):
        # The length first, so that no two lists of parts run together to the same bytes.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def _parts(context: Context) -> Iterable[bytes]:
    for name in ("scope", "route", "target_group", "policy_version", "embedder"):
        yield getattr(context, name).encode("utf-8", "surrogatepass")
    yield context.request


def unsuitable(turn: Turn, *, max_temperature: float) -> str | None:
    """Why a request must not be answered by another question's answer; None when it may."""
    reasons = (
        ("no_text", turn.text is None or not turn.text.strip()),
        ("tool_results", turn.has_tool_results),
        ("images", turn.has_images),
        ("personalised", turn.personalised),
        ("choices", turn.choices != 1),
        # Without a temperature the provider's default applies, which is not low.
        ("temperature", turn.temperature is None or not turn.temperature <= max_temperature),
    )
    return next((name for name, applies in reasons if applies), None)
