"""How much an inspection may look at, and use."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one inspection. The defaults fit models of today on a machine with memory to spare."""

    timeout_s: float = 1800.0
    """Wall time for one file or folder; what is not done by then is refused."""
    cpu_s: int = 1800
    """Processor time, which a sleeping disk does not use up."""
    memory_bytes: int = 2 << 30
    """Address space of the subprocess."""
    file_bytes: int = 1 << 40
    unpacked_bytes: int = 1 << 40
    """What the members of one archive may come to; checkpoints are archives."""
    files: int = 10_000
    tree_bytes: int = 8 << 40
    answer_bytes: int = 32 << 20
    """How long the subprocess' answer may be."""
