"""Takes what was sampled, has it measured, counts and keeps what came out.

A bounded queue, one task, one process that computes. The request path only
appends; what finds no room is dropped and counted. Nothing here raises into a
request: a failing process or store costs measurements.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from fairlead.errors import FairleadError, StorageError
from fairlead.gateway import signal_events
from fairlead.signals.board import Signal, Stored
from fairlead.signals.compare import packed
from fairlead.signals.db import Kept, SignalStore
from fairlead.signals.lab import LabFailed
from fairlead.signals.questions import Look, Looked, Question, Refused, Reply, Said, Sampled, Setup
from fairlead.signals.tally import Tally
from fairlead.types import EvaluationResult

_log: Final = logging.getLogger(__name__)

_MAX_BYTES: Final = 32 * 1024 * 1024
_LOOK_S: Final = 20.0
"""The first question loads models."""
_KEEP_EVERY_S: Final = 2.0
_KEEP_ITEMS: Final = 60
_MOST_ITEMS: Final = 5000
_LOG_EVERY_S: Final = 60.0

R = TypeVar("R", bound=msgspec.Struct)
_reply: Final[Any] = msgspec.msgpack.Decoder(Reply)
_encode: Final = msgspec.msgpack.Encoder().encode


class Computes(Protocol):
    """Whoever answers questions; `signals.lab.Lab` or a fake."""

    async def ask(self, question: bytes, timeout_s: float) -> bytes:
        """Answer. Raises LabFailed."""
        ...


class Embeds(Protocol):
    """A model of the gateway that makes vectors."""

    id: str

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One vector for each text. Raises FairleadError."""
        ...


class SignalWork:
    """The queue and who empties it."""

    def __init__(
        self,
        lab: Computes,
        store: SignalStore,
        setup: Setup,
        tally: Tally,
        *,
        emit: Callable[[EvaluationResult], None] | None,
        max_waiting: int,
        embeds: Embeds | None = None,
        again: Callable[[SignalWork, Sampled], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Join the parts.

        Args:
            lab: computes.
            store: keeps items.
            setup: how texts are looked at.
            tally: counts.
            emit: takes evaluation results; None for nobody.
            max_waiting: requests in the queue.
            embeds: makes vectors, where the process does not.
            again: asks a question again in the background, if it should be.
            clock: monotonic seconds.
        """
        self.tally = tally
        self.embedder = "" if embeds is None else embeds.id
        """Id of who made the last vectors; "" before the first."""
        self._lab = lab
        self._store = store
        self._setup = setup
        self._emit = emit
        self._max_waiting = max_waiting
        self._embeds = embeds
        self._again = again
        self._clock = clock
        self._waiting: deque[Sampled] = deque()
        self._bytes = 0
        self._some = asyncio.Event()
        self._items: list[Kept] = []
        self._logged_at = -_LOG_EVERY_S

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def offer(self, sampled: Sampled) -> None:
        """Queue one request, or drop it. Never waits."""
        if len(self._waiting) >= self._max_waiting or self._bytes + sampled.size > _MAX_BYTES:
            self.tally.sampled[sampled.model, "dropped"] += 1
            return
        self._waiting.append(sampled)
        self._bytes += sampled.size
        self._some.set()

    async def run(self) -> None:
        """Work until cancelled."""
        kept_at = self._clock()
        while True:
            await self.work()
            if self._items and self._clock() - kept_at >= _KEEP_EVERY_S:
                kept_at = self._clock()
                await self.keep()
            try:
                await asyncio.wait_for(self._some.wait(), _KEEP_EVERY_S if self._items else None)
            except TimeoutError:
                pass

    async def work(self) -> None:
        """Empty the queue."""
        while self._waiting:
            sampled = self._waiting.popleft()
            self._bytes -= sampled.size
            await self._measure(sampled)
            if len(self._items) >= _KEEP_ITEMS:
                await self.keep()
        self._some.clear()

    async def keep(self) -> None:
        """Write the items that wait to be written; they wait on when the store fails, up to a number."""
        items, self._items = self._items[:_MOST_ITEMS], []
        if not items:
            return
        try:
            await self._store.add(items)
        except StorageError as error:
            self._items = (items + self._items)[:_MOST_ITEMS]
            self._complain("items of semantic metrics were not kept", error.message)
        else:
            self.tally.stored[("kept",)] += len(items)

    async def question(self, question: Question, kind: type[R], timeout_s: float) -> R | None:
        """Have a question answered; None when it is not."""
        try:
            reply = _reply.decode(await self._lab.ask(_encode(question), timeout_s))
        except (LabFailed, msgspec.DecodeError) as error:
            self._complain("a text was not measured", str(error))
            return None
        if isinstance(reply, Refused):
            self._complain(reply.message, reply.hint)
        return reply if isinstance(reply, kind) else None

    async def _measure(self, sampled: Sampled) -> None:
        looked = await self.question(Look(setup=self._setup, sampled=sampled), Looked, _LOOK_S)
        if looked is None:
            self.tally.sampled[sampled.model, "failed"] += 1
            return
        if not looked.readable:
            self.tally.sampled[sampled.model, "unreadable"] += 1
            return
        self.tally.measured(sampled.model, looked.features)
        if self._emit is not None:
            for result in signal_events.of_answer(sampled, looked.features, looked.response_id):
                self._emit(result)
        if self._setup.drift:
            await self._keep_items(sampled, looked)
        if self._again is not None:
            self._again(self, sampled)

    async def _keep_items(self, sampled: Sampled, looked: Looked) -> None:
        if looked.embedder:
            self.embedder = looked.embedder
        texts: list[tuple[Signal, Said]] = []
        if looked.prompt is not None:
            texts.append(("prompt", looked.prompt))
        if looked.answer is not None:
            texts.append(("answer", looked.answer))
        vectors = await self._vectors([said for _, said in texts])
        for (signal, said), vector in zip(texts, vectors, strict=False):
            self._put(sampled, looked, signal, said, vector)
        self._put(sampled, looked, "behaviour", looked.answer or Said(text="", digest=b""), b"")

    async def _vectors(self, texts: Sequence[Said]) -> Sequence[bytes]:
        if self._embeds is None or not texts:
            return [said.vector for said in texts]
        try:
            return [packed(row) for row in await self._embeds.embed([said.text for said in texts])]
        except FairleadError as error:
            self._complain("texts have no vectors", error.message)
            self.tally.stored[("lost",)] += len(texts)
            return []

    def _put(self, sampled: Sampled, looked: Looked, signal: Signal, said: Said, vector: bytes) -> None:
        if len(self._items) >= _MOST_ITEMS:
            self.tally.stored[("lost",)] += 1
            return
        stored = Stored(
            id=sampled.id,
            at=sampled.at,
            user=looked.user,
            session=looked.session,
            digest=b"" if signal == "behaviour" else said.digest,
            vector=vector,
            marks=looked.features.marks,
        )
        embedder = "" if signal == "behaviour" else self.embedder
        example = said.example if signal != "behaviour" or looked.features.marks else ""
        self._items.append(
            Kept(model=sampled.model, signal=signal, embedder=embedder, stored=stored, example=example)
        )

    def _complain(self, what: str, why: str) -> None:
        now = self._clock()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            _log.warning("semantic metrics: %s", what, extra={"error": why})
