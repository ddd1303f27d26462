"""What the gateway asks the process that computes, and what it answers."""

from __future__ import annotations

import msgspec

from fairlead.signals.compare import Comparison, Job
from fairlead.signals.dispersion import Dispersion
from fairlead.signals.features import Features


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """How to look at texts. Sent with each question, so that the process keeps nothing that matters."""

    features: tuple[str, ...]
    context: tuple[str, ...]
    secret: bytes = b""
    """Key of the marks of users and sessions: without it nobody can try names."""
    embedder: str = ""
    """`hashed`, `minilm`, or "" where the process makes no vectors."""
    models: str = ""
    """The directory of MiniLM's graph."""
    examples: bool = False
    """Keep the beginnings of texts."""
    drift: bool = False


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer, as they were on the wire."""

    id: str
    at: float
    model: str
    tenant: str
    key_id: str
    api: str
    stream: bool
    request: bytes
    answer: bytes
    session: str = ""
    """What the client says of the session, in a header."""
    trace: str = ""
    cost_microusd: int | None = None

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.request) + len(self.answer)


class Look(msgspec.Struct, frozen=True, kw_only=True, tag="look"):
    """Measure an answer."""

    setup: Setup
    sampled: Sampled


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One text of a request as it is compared later on."""

    text: str
    """For an embedder of the gateway's; "" otherwise."""
    digest: bytes
    vector: bytes = b""
    example: str = ""


class Looked(msgspec.Struct, frozen=True, kw_only=True, tag="looked"):
    """What was found."""

    readable: bool
    features: Features = Features()
    response_id: str = ""
    user: str = ""
    session: str = ""
    embedder: str = ""
    """Id of who made the vectors."""
    prompt: Said | None = None
    answer: Said | None = None


class Compare(msgspec.Struct, frozen=True, kw_only=True, tag="compare"):
    """Compare a window with its reference."""

    job: Job


class Compared(msgspec.Struct, frozen=True, kw_only=True, tag="compared"):
    """What came out."""

    comparison: Comparison


class Disperse(msgspec.Struct, frozen=True, kw_only=True, tag="disperse"):
    """How far do the answers to one question lie apart?"""

    setup: Setup
    sampled: Sampled
    replies: tuple[bytes, ...]
    """Whole answers to the same question, in its dialect."""


class Dispersed(msgspec.Struct, frozen=True, kw_only=True, tag="dispersed"):
    """None when fewer than two of them could be read."""

    dispersion: Dispersion | None


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The question cannot be answered, whoever asks it: something is not installed."""

    message: str
    hint: str = ""


Question = Look | Compare | Disperse
Reply = Looked | Compared | Dispersed | Refused
