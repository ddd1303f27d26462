"""Nearest vectors, by usearch.

A partition for each pair of fingerprint and embedder: a search never leaves
its own. Most partitions are small (every conversation is one), some are large
(every first question under one system prompt): a small one is a matrix that
is searched exactly, a large one a graph. Numbers of vectors and of partitions
are bounded together; the oldest used partition gives way, and its keys are
returned, so that the cache can drop what belonged to them.

usearch comes with the extra `fairlead[semantic]` and is imported at the first
index. `docs/design/0009-verified-semantic-tier.md` has the comparison.
"""

from __future__ import annotations

import importlib
from array import array
from collections import OrderedDict
from typing import Any, Final

import msgspec

from fairlead.errors import UsageError

_LARGE: Final = 256
"""Vectors, from which a graph is as fast as looking at each: some 60 us, measured with 384 dimensions."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A vector that was found."""

    key: int
    cosine: float


class Index:
    """All partitions of a process."""

    def __init__(self, *, most_vectors: int) -> None:
        """Raises UsageError when the extra is not installed."""
        if most_vectors < 1:
            raise ValueError("an index holds at least one vector")
        self._library = _library()
        self._most = most_vectors
        self._partitions: OrderedDict[tuple[bytes, str], _Partition] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, fingerprint: bytes, embedder: str, key: int, vector: array[float]) -> list[int]:
        """Insert a vector, or replace the one of that key. Returns the keys that had to go.

        Raises:
            ValueError: the vector has other dimensions than its partition.
        """
        name = (fingerprint, embedder)
        partition = self._partitions.get(name)
        if partition is None:
            partition = self._partitions[name] = _Partition(self._library, len(vector))
        self._partitions.move_to_end(name)
        self._size -= partition.remove(key)
        partition.add(key, vector)
        self._size += 1
        gone: list[int] = []
        while self._size > self._most:
            oldest, other = next(iter(self._partitions.items()))
            if other is partition:
                # The only one left: it loses its own oldest.
                first = next(iter(partition.keys))
                partition.remove(first)
                gone.append(first)
                self._size -= 1
            else:
                del self._partitions[oldest]
                gone += other.keys
                self._size -= len(other.keys)
        return gone

    def remove(self, fingerprint: bytes, embedder: str, key: int) -> bool:
        """Take a vector out. False when there is none of that key."""
        partition = self._partitions.get((fingerprint, embedder))
        if partition is None or not partition.remove(key):
            return False
        self._size -= 1
        if not partition.keys:
            del self._partitions[fingerprint, embedder]
        return True

    def holds(self, fingerprint: bytes, embedder: str) -> bool:
        """Whether there is anything to find."""
        return (fingerprint, embedder) in self._partitions

    def nearest(self, fingerprint: bytes, embedder: str, vector: array[float], count: int) -> list[Near]:
        """The nearest of a partition, the nearest first; none when there is no such partition."""
        partition = self._partitions.get((fingerprint, embedder))
        if partition is None:
            return []
        self._partitions.move_to_end((fingerprint, embedder))
        return partition.nearest(vector, count)


class _Partition:
    """Vectors that may meet."""

    def __init__(self, library: Any, dimensions: int) -> None:
        self._library = library
        self._dimensions = dimensions
        self.keys: dict[int, array[float]] = {}
        """In order of insertion. The vectors are dropped once the graph has them."""
        self._matrix: Any = None
        self._graph: Any = None

    def add(self, key: int, vector: array[float]) -> None:
        if len(vector) != self._dimensions:
            raise ValueError(f"{len(vector)} dimensions among {self._dimensions}")
        self._matrix = None
        if self._graph is None and len(self.keys) >= _LARGE:
            self._graph = self._library.Index(ndim=self._dimensions, metric="cos", dtype="f16")
            for other, there in self.keys.items():
                self._graph.add(other, self._array(there), threads=1)
            self.keys = dict.fromkeys(self.keys, array("f"))
        if self._graph is None:
            self.keys[key] = vector
        else:
            self.keys[key] = array("f")
            self._graph.add(key, self._array(vector), threads=1)

    def remove(self, key: int) -> bool:
        if key not in self.keys:
            return False
        del self.keys[key]
        self._matrix = None
        if self._graph is not None:
            self._graph.remove(key)
        return True

    def nearest(self, vector: array[float], count: int) -> list[Near]:
        count = min(count, len(self.keys))
        if len(vector) != self._dimensions or count < 1:
            return []
        if self._graph is not None:
            found = self._graph.search(self._array(vector), count, threads=1)
            pairs = zip(found.keys.tolist(), found.distances.tolist(), strict=True)
        else:
            if self._matrix is None:
                rows = self._array(b"".join(self.keys.values()))
                self._matrix = (list(self.keys), rows.reshape(len(self.keys), self._dimensions))
            keys, matrix = self._matrix
            cosine = self._library.MetricKind.Cos
            found = self._library.search(matrix, self._array(vector), count, cosine, exact=True, threads=1)
            pairs = zip((keys[row] for row in found.keys.tolist()), found.distances.tolist(), strict=True)
        return [Near(key=int(key), cosine=1.0 - float(distance)) for key, distance in pairs]

    def _array(self, vector: array[float] | bytes) -> Any:
        return self._library.np.frombuffer(vector, dtype="float32")


def _library() -> Any:
    try:
        return importlib.import_module("usearch.index")
    except ImportError as error:
        raise UsageError(
            "the semantic tier needs a vector index", hint="pip install 'fairlead[semantic]'"
        ) from error
