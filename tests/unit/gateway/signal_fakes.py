"""Fakes for semantic metrics: computing in this process, and a store in memory."""

from __future__ import annotations

import io
import struct

import msgspec

from fairlead.gateway.signal_lab import serve
from fairlead.gateway.signal_work import SignalWork
from fairlead.signals.db import SignalStore
from fairlead.signals.lab import LabFailed
from fairlead.signals.questions import Setup
from fairlead.signals.tally import Tally
from fairlead.types import EvaluationResult

_HEAD = struct.Struct(">I")
SETUP = Setup(
    features=("refusal", "repetition"),
    context=(),
    secret=b"k" * 32,
    embedder="hashed",
    drift=True,
    examples=True,
)


class InProcess:
    """Answers as the process does; `broken` makes it fail."""

    def __init__(self) -> None:
        self.broken = False
        self.asked = 0

    async def ask(self, question: bytes, timeout_s: float) -> bytes:
        self.asked += 1
        if self.broken:
            raise LabFailed("broken")
        answers = io.BytesIO()
        serve(io.BytesIO(_HEAD.pack(len(question)) + question), answers)
        return answers.getvalue()[_HEAD.size :]


class Bench:
    """A worker on a store, and what it tells."""

    def __init__(self, store: SignalStore, **options: object) -> None:
        self.lab = InProcess()
        self.store = store
        self.results: list[EvaluationResult] = []
        self.now = 0.0
        more = {"max_waiting": 100, "embeds": None, "again": None} | options
        setup = msgspec.structs.replace(SETUP, embedder="" if more["embeds"] else "hashed")
        self.work = SignalWork(
            self.lab,
            store,
            setup,
            Tally(),
            emit=self.results.append,
            clock=lambda: self.now,
            **more,  # type: ignore[arg-type]  # as the caller says
        )
