"""Vector indexes compared for the semantic tier: add, search, remove, recall, memory.

One library a process, so that memory is its own. Vectors come in clusters, as
questions do. Only what is installed is measured:

    pip install numpy usearch hnswlib faiss-cpu sqlite-vec
    python -m bench.cache.indexes [--vectors 20000] [--dimensions 384]
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

_QUERIES: Final = 500
_NEAREST: Final = 4


class Measured(Protocol):
    """A library behind one shape."""

    def add(self, key: int, vector: Any) -> None:
        """Insert one vector."""
        ...

    def search(self, vector: Any) -> Iterable[int]:
        """Keys of the nearest."""
        ...

    def remove(self, key: int) -> None:
        """Take one out."""
        ...


class _Usearch:
    def __init__(self, dimensions: int, capacity: int, dtype: str = "f32") -> None:
        usearch = importlib.import_module("usearch.index")
        self.index = usearch.Index(ndim=dimensions, metric="cos", dtype=dtype)

    def add(self, key: int, vector: Any) -> None:
        self.index.add(key, vector, threads=1)

    def search(self, vector: Any) -> Iterable[int]:
        return [int(key) for key in self.index.search(vector, _NEAREST, threads=1).keys]

    def remove(self, key: int) -> None:
        self.index.remove(key)


class _UsearchHalf(_Usearch):
    def __init__(self, dimensions: int, capacity: int) -> None:
        super().__init__(dimensions, capacity, "f16")


class _Hnswlib:
    def __init__(self, dimensions: int, capacity: int) -> None:
        self.index = importlib.import_module("hnswlib").Index(space="cosine", dim=dimensions)
        self.index.init_index(max_elements=capacity, M=16, ef_construction=128)
        self.index.set_ef(64)

    def add(self, key: int, vector: Any) -> None:
        self.index.add_items(vector[None], [key], num_threads=1)

    def search(self, vector: Any) -> Iterable[int]:
        return [int(key) for key in self.index.knn_query(vector[None], _NEAREST, num_threads=1)[0][0]]

    def remove(self, key: int) -> None:
        self.index.mark_deleted(key)


class _FaissFlat:
    def __init__(self, dimensions: int, capacity: int) -> None:
        faiss = importlib.import_module("faiss")
        faiss.omp_set_num_threads(1)
        self.np = importlib.import_module("numpy")
        self.index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimensions))

    def add(self, key: int, vector: Any) -> None:
        self.index.add_with_ids(vector[None], self.np.array([key]))

    def search(self, vector: Any) -> Iterable[int]:
        return [int(key) for key in self.index.search(vector[None], _NEAREST)[1][0]]

    def remove(self, key: int) -> None:
        self.index.remove_ids(self.np.array([key]))


class _SqliteVec:
    def __init__(self, dimensions: int, capacity: int) -> None:
        import sqlite3

        self.connection = sqlite3.connect(":memory:")
        self.connection.enable_load_extension(True)
        importlib.import_module("sqlite_vec").load(self.connection)
        self.connection.execute(f"create virtual table v using vec0(e float[{dimensions}])")

    def add(self, key: int, vector: Any) -> None:
        self.connection.execute("insert into v(rowid, e) values (?, ?)", (key, vector.tobytes()))

    def search(self, vector: Any) -> Iterable[int]:
        query = "select rowid from v where e match ? order by distance limit ?"
        return [row[0] for row in self.connection.execute(query, (vector.tobytes(), _NEAREST))]

    def remove(self, key: int) -> None:
        self.connection.execute("delete from v where rowid = ?", (key,))


LIBRARIES: Final[dict[str, Callable[[int, int], Measured]]] = {
    "usearch f32": _Usearch,
    "usearch f16": _UsearchHalf,
    "hnswlib": _Hnswlib,
    "faiss-cpu flat": _FaissFlat,
    "sqlite-vec": _SqliteVec,
}


def measure(name: str, count: int, dimensions: int) -> dict[str, float | str]:
    """One library's figures; the times are of one call in microseconds, on one thread."""
    np = importlib.import_module("numpy")
    random = np.random.default_rng(7)
    centres = random.normal(size=(count // 20, dimensions))
    vectors = (
        centres[random.integers(len(centres), size=count)] + 0.6 * random.normal(size=(count, dimensions))
    ).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = random.integers(count, size=_QUERIES)
    queries = vectors[chosen] + (0.02 * random.normal(size=(_QUERIES, dimensions))).astype("float32")
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = [set(np.argsort(-(vectors @ query))[:_NEAREST].tolist()) for query in queries]
    before = _resident_mib()
    index = LIBRARIES[name](dimensions, count)

    def fill() -> None:
        for key, vector in enumerate(vectors):
            index.add(key, vector)

    add_us = _each_us(fill, count)
    resident = _resident_mib() - before
    found: list[set[int]] = []
    search_us = _each_us(lambda: found.extend(set(index.search(query)) for query in queries), _QUERIES)
    recall = sum(len(mine & there) for mine, there in zip(found, exact, strict=True)) / (_QUERIES * _NEAREST)
    gone = sorted(set(chosen.tolist()))

    def empty() -> None:
        for key in gone:
            index.remove(key)

    remove_us = _each_us(empty, len(gone))
    left = sum(bool(set(index.search(query)) & set(gone)) for query in queries)
    return {
        "library": name, "add_us": add_us, "search_us": search_us, "remove_us": remove_us, "recall": recall,
        "memory_mib": resident, "removed_but_found": left,
    }  # fmt: skip


def _each_us(work: Callable[[], object], times: int) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) / times * 1e6


def _resident_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main() -> None:
    """Measure each installed library in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--only", choices=tuple(LIBRARIES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args.vectors, args.dimensions)))
        return
    print("| library | add us | search us | remove us | recall@4 | memory MiB | found after removal |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in LIBRARIES:
        size = ["--vectors", str(args.vectors), "--dimensions", str(args.dimensions)]
        command = [sys.executable, "-m", "bench.cache.indexes", "--only", name, *size]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | {done.stderr.strip().splitlines()[-1][:60]} |")
            continue
        row = json.loads(done.stdout)
        print(
            f"| {row['library']} | {row['add_us']:.0f} | {row['search_us']:.0f} | {row['remove_us']:.0f} "
            f"| {row['recall']:.3f} | {row['memory_mib']:.0f} | {row['removed_but_found']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
