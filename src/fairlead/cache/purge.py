"""What is to be thrown away, and what came of it. Pure."""

from __future__ import annotations

import msgspec

from fairlead.cache.entry import Entry


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """Answers made before a moment, of one tenant's requests or all, of one model or all."""

    before: float
    """Unix seconds. Always set, so that what is answered after a purge stays."""
    tenant: str | None = None
    """Whose requests they were made for, also where they are shared with others."""
    model: str | None = None
    """The route's name."""

    def meets(self, entry: Entry) -> bool:
        """Whether it is about this entry."""
        if entry.created_at >= self.before:
            return False
        if self.tenant is None and self.model is None:
            return True
        facts = entry.facts
        return (self.tenant is None or facts.tenant == self.tenant) and (
            self.model is None or facts.model == self.model
        )


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What a store threw away, or would have in a dry run."""

    entries: int = 0
    bytes: int = 0


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a store holds of one tenant and model."""

    tenant: str
    model: str
    entries: int
    bytes: int
