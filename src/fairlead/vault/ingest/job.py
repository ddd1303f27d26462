"""What the subprocess of `worker` is asked for."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairlead.vault.ingest.limits import Limits
from fairlead.vault.ingest.verdict import Approval


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is asked for, as JSON on its standard input."""

    what: Literal["file", "tree", "convert"]
    descriptor: int
    name: str = ""
    limits: Limits = msgspec.field(default_factory=Limits)
    target: int = -1
    """Where a conversion writes."""
    approvals: tuple[Approval, ...] = ()
