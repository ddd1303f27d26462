"""Who the semantic tier asks through the gateway's own models: embedders, and a judge of answers."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.cache.semantic import judging
from fairlead.cache.semantic.budget import Budget
from fairlead.cache.semantic.embed import WrongVectors, cosine
from fairlead.cache.semantic.guarded import Guarded
from fairlead.cache.semantic.judge import Answers, Ladder, Verdict
from fairlead.config import SemanticJudge
from fairlead.errors import FairleadError, Overloaded
from fairlead.gateway.internal import Internal
from fairlead.providers.said import said

_EMBED_S: Final = 10.0
_LONGEST_EMBEDDED: Final = 1000
"""Characters of an answer: of a longer one encoders see the beginning, which may be all that is the same."""
_RESTS_S: Final = 60.0
PAUSES_S: Final = (2.0, 15.0, 45.0)
"""Before a comparison is tried again whose judge failed."""


class _Item(msgspec.Struct, frozen=True):
    embedding: list[float]
    index: int = 0


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Item]


_embeddings: Final = msgspec.json.Decoder(_Embeddings).decode


class Vectors:
    """Asks embedding models."""

    def __init__(self, internal: Internal) -> None:
        self._internal = internal

    async def ask(self, model: str, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One list of numbers for each text.

        Raises:
            FairleadError: no answer.
            WrongVectors: an answer that is none.
        """
        body = msgspec.json.encode({"model": model, "input": list(texts), "encoding_format": "float"})
        reply = await self._internal.ask(model, "embeddings", body, timeout_s=_EMBED_S)
        try:
            items = _embeddings(reply.body).data
        except (msgspec.DecodeError, RecursionError) as error:
            raise WrongVectors(f"no embeddings: {error}") from error
        return [item.embedding for item in sorted(items, key=lambda item: item.index)]


class Comparer:
    """Compares answers for one route."""

    def __init__(
        self,
        options: SemanticJudge,
        internal: Internal,
        embedder: Guarded,
        budget: Budget,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        """Build the ladder that the configuration asks for.

        Args:
            options: the route's.
            internal: asks the judge.
            embedder: makes vectors of answers.
            budget: what the judge costs is taken from it.
            pauses_s: before each of the tries that follow a failure.
        """
        self._options = options
        self._internal = internal
        self._embedder = embedder
        self._budget = budget
        self._pauses_s = pauses_s
        self._rests_until = -math.inf
        self._last_microusd = 0
        self.asks = options.model is not None
        """A model may have to be asked."""
        self._ladder = Ladder(
            similarity=self._similarity if options.same_above is not None else None,
            same_above=options.same_above if options.same_above is not None else 1.0,
            different_below=options.different_below,
            judge=self._judge if options.model is not None else None,
            assumed_missed=options.missed_share,
        )

    def affords(self, now: float, *, spare: bool) -> bool:
        """Whether a comparison may begin. Asked before anything is compared, so that it picks none out."""
        if not self.asks:
            return True
        if asyncio.get_running_loop().time() < self._rests_until:
            return False
        return self._budget.allows(self._last_microusd, now, spare=spare)

    async def compare(self, answers: Answers) -> Verdict:
        """Whether two answers say the same.

        A judge that fails is asked again some times. When it stays silent the answers count as different: to
        leave them out would leave out those that are hard to tell apart.
        """
        for pause_s in (*self._pauses_s, None):
            try:
                return await self._ladder.compare(answers)
            except FairleadError:
                # Meanwhile no other comparison begins.
                self._rests_until = asyncio.get_running_loop().time() + _RESTS_S
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
        return await Ladder().compare(answers)

    async def _similarity(self, one: str, other: str) -> float:
        if max(len(one), len(other)) > _LONGEST_EMBEDDED:
            return math.nan
        vectors = [await self._embedder.vector(text) for text in (one, other)]
        if vectors[0] is None or vectors[1] is None:
            raise Overloaded("the embedder gives no vectors")
        return cosine(vectors[0], vectors[1])

    async def _judge(self, answers: Answers) -> bool | None:
        model = self._options.model
        assert model is not None
        token = secrets.token_hex(8)
        body = judging.request(model, answers, token=token, swap=secrets.randbelow(2) == 1)
        if body is None:
            return None
        reply = await self._internal.ask(model, "chat", body, timeout_s=self._options.timeout_s)
        self._last_microusd = reply.cost_microusd or 0
        self._budget.pay(self._last_microusd)
        return judging.verdict(said("chat", reply.body), token)
