"""Deterministic embeddings: hashed token n-grams, so that similar texts are near.

Each word, pair of words and character trigram adds a signed unit to a few of
the vector's dimensions; the vector is then scaled to length one. Texts that
share words share dimensions. No meaning is understood: opposites that share
their words are near too, which is what real encoders do as well.
"""

from __future__ import annotations

import itertools
import math
import re
import zlib
from collections import Counter

_WORD = re.compile(r"\w+|[^\w\s]")


def _features(text: str) -> Counter[str]:
    words = [word.lower() for word in _WORD.findall(text)]
    features: Counter[str] = Counter()
    for word in words:
        features["w:" + word] += 3
        padded = f"^{word}$"
        for start in range(len(padded) - 2):
            features["c:" + padded[start : start + 3]] += 1
    for left, right in itertools.pairwise(words):
        features[f"p:{left} {right}"] += 2
    return features or Counter({"": 1})


def embed(text: str, dimensions: int) -> list[float]:
    """A unit vector of `dimensions` numbers."""
    vector = [0.0] * dimensions
    for feature, weight in _features(text).items():
        digest = zlib.crc32(feature.encode("utf-8", "surrogatepass"))
        # A saturating weight: a word said ten times is not ten times the topic.
        sign = 1.0 if digest & 1 else -1.0
        vector[(digest >> 1) % dimensions] += sign * (1.0 + math.log(weight))
    length = math.sqrt(sum(value * value for value in vector))
    if length == 0.0:  # features that cancelled each other out exactly
        vector[0] = length = 1.0
    return [value / length for value in vector]


def similarity(left: list[float], right: list[float]) -> float:
    """Cosine of two unit vectors."""
    return sum(a * b for a, b in zip(left, right, strict=True))
