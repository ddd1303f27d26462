"""Texts as vectors.

An embedder says who it is (`id`: name, weights, dimensions, precision), so
that vectors of different ones never meet, and whether its vectors understand
anything (`understands`): the hashed one does not, so its cosine only finds
candidates and is no evidence that two texts mean the same.

    Hashed      no model, always there
    Remote      an OpenAI-compatible /v1/embeddings, through a callable of the gateway's
    minilm      all-MiniLM-L6-v2 in int8, with the extra `fairlead[embed]`
"""

from __future__ import annotations

import itertools
import math
import operator
from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias
from zlib import crc32

from fairlead.cache.semantic.text import taken_apart

Vector: TypeAlias = "array[float]"
"""Of `f`, of length one. In quotes: the class takes no type when it runs."""


class WrongVectors(ValueError):
    """An embedder gave something else than one finite vector of its dimensions for each text."""


class Embedder(Protocol):
    """Turns texts into vectors of length one."""

    @property
    def id(self) -> str:
        """Who made a vector; part of every fingerprint."""
        ...

    @property
    def dimensions(self) -> int:
        """The length of its vectors."""
        ...

    @property
    def understands(self) -> bool:
        """Whether nearness of its vectors is evidence of the same meaning."""
        ...

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """A vector for each text.

        Raises:
            WrongVectors: what came back is unusable.
        """
        ...


class Hashed:
    """Hashed words, pairs of words and trigrams: texts that share letters are near. Finds candidates only."""

    dimensions: Final = 256
    understands: Final = False
    id: Final = "hashed-1/256"

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """Without suspending: some 50 us for a question."""
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> Vector:
        """The vector of one text."""
        values = [0.0] * self.dimensions
        for name, weight in self._names(taken_apart(text).folded):
            number = crc32(name.encode("utf-8", "surrogatepass"))
            values[number % self.dimensions] += weight if number & 0x80000000 else -weight
        return unit(values)

    def _names(self, words: Sequence[str]) -> Iterable[tuple[str, float]]:
        for word in words:
            yield word, 2.0
            padded = f"<{word}>"
            for start in range(len(padded) - 2):
                yield padded[start : start + 3], 1.0
        for pair in itertools.pairwise(words):
            yield " ".join(pair), 1.5


class Remote:
    """Vectors from elsewhere. `ask` sends texts and returns one sequence of numbers for each."""

    understands: Final = True

    def __init__(
        self, name: str, dimensions: int, ask: Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
    ) -> None:
        self.id = f"{name}/{dimensions}"
        self.dimensions = dimensions
        self._ask = ask

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """What `ask` raises is raised; what it returns is checked."""
        answers = await self._ask(texts)
        if len(answers) != len(texts):
            raise WrongVectors(f"{len(answers)} vectors for {len(texts)} texts")
        for answer in answers:
            if len(answer) != self.dimensions:
                raise WrongVectors(f"{len(answer)} dimensions instead of {self.dimensions}")
            if not all(map(math.isfinite, answer)) or not any(answer):
                raise WrongVectors("a vector that has no direction")
        return [unit(answer) for answer in answers]


def unit(values: Sequence[float]) -> Vector:
    """A vector scaled to length one; the first axis when it has no direction."""
    length = math.sqrt(math.fsum(value * value for value in values))
    if not (math.isfinite(length) and length > 0.0):
        return array("f", [1.0] + [0.0] * (len(values) - 1))
    return array("f", [value / length for value in values])


def cosine(one: Vector, other: Vector) -> float:
    """Of two vectors of length one."""
    return float(sum(map(operator.mul, one, other)))
