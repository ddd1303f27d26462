"""Is a window of requests still the traffic that its reference was, and if not, what is new?

The reference is split by session: one part fits neighbours and topics, the
other is what the window changes labels with. Each test looks at the whole window
and at its newest half. The smallest of their p-values is multiplied by their
number (Bonferroni), so the whole keeps its level.
What is behind a difference is described by the topics of both together:
the one that grew most beyond chance, and the window's requests next to its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fairlead.signals import shift
from fairlead.signals.clusters import assigned, centroids
from fairlead.signals.features import MARKS
from fairlead.signals.hashed import numpy
from fairlead.signals.permute import MOST, Units, labellings, p_value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

EXAMPLES: Final = 5
_TOPICS: Final = 16
_LEAST_TOPIC: Final = 5
_REMARKABLE: Final = 0.2
_NEWEST: Final = ", newest half"
_SPANS: Final = (("", False), (_NEWEST, True))
"""A change that began in the middle of a window is clearer in its later half."""


class Item(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One request of a window or a reference."""

    id: str
    at: float
    """Unix seconds."""
    block: str
    """Its user's mark where there is one, else its session's."""
    stratum: int
    vector: bytes = b""
    """As `packed` made it."""
    marks: int = 0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison."""

    window: tuple[Item, ...]
    reference: tuple[Item, ...]
    seed: int
    kind: str
    """`vectors` or `marks`: what of the items is compared."""
    most: int = MOST


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """What grew most."""

    name: str
    """A mark; "" of a group of requests, which has no name of its own."""
    share: float
    """Of the window."""
    before: float
    """Of the reference."""
    examples: tuple[str, ...]
    """Ids of requests of the window."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What came out."""

    p_value: float
    """Of all tests together."""
    tests: dict[str, float]
    """Of each, before the correction."""
    topic: Topic | None


def compare(job: Job) -> Comparison:
    """Compare a window with its reference; both have items of every stratum of the window.

    Raises:
        UsageError: the extra is not installed.
    """
    return _by_marks(job) if job.kind == "marks" else _by_vectors(job)


def packed(row: Sequence[float] | Matrix) -> bytes:
    """A vector of length one in a byte a number; the comparison needs no more."""
    np = numpy()
    values = np.asarray(row, dtype="float32")
    largest = float(np.abs(values).max()) or 1.0
    coarse: bytes = np.rint(values / largest * 127).astype("int8").tobytes()
    return coarse


def unpacked(vectors: Sequence[bytes]) -> Matrix:
    """Rows of length one."""
    np = numpy()
    rows = np.frombuffer(b"".join(vectors), dtype="int8").reshape(len(vectors), -1).astype("float32")
    found: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0)
    return found


def _by_vectors(job: Job) -> Comparison:
    fit, held = _split(job.reference, job.seed)
    everything = unpacked([item.vector for item in (*fit, *held, *job.window)])
    fitted, rows = everything[: len(fit)], everything[len(fit) :]
    tests: dict[str, float] = {}
    for suffix, newest in _SPANS:
        window = _newest(job.window, newest)
        at = numpy().r_[: len(held), len(rows) - len(window) : len(rows)]
        items = (*held, *window)
        units, observed = _units(items, len(held))
        found = _statistics(rows[at], fitted, units, job.seed)
        for number, (name, statistic) in enumerate(found.items()):
            batches = labellings(units, job.seed + number)
            tests[name + suffix] = p_value(statistic, observed, batches, most=job.most)
    least = min(tests, key=lambda name: tests[name])
    together = min(1.0, len(tests) * tests[least])
    if together > _REMARKABLE:
        # Of what nobody will ask about, nobody need know the topics.
        return Comparison(p_value=together, tests=tests, topic=None)
    window = _newest(job.window, least.endswith(_NEWEST))
    before = len(fit) + len(held)
    shown = numpy().r_[:before, len(everything) - len(window) : len(everything)]
    return Comparison(
        p_value=together, tests=tests, topic=_topic(everything[shown], before, window, job.seed)
    )


def _statistics(rows: Matrix, fitted: Matrix, units: Units, seed: int) -> dict[str, shift.Statistic]:
    blocks = numpy().unique(numpy().array(units.blocks), return_inverse=True)[1]
    return {
        "mmd": shift.mmd(rows, blocks),
        "novelty": shift.novelty(shift.distances(rows, fitted)),
        "clusters": shift.mixture(rows, fitted, seed),
    }


def _newest(window: Sequence[Item], half: bool) -> Sequence[Item]:
    """The later half of a window, or all of it."""
    return window[len(window) // 2 :] if half else window


def _by_marks(job: Job) -> Comparison:
    tests: dict[str, float] = {}
    for suffix, newest in _SPANS:
        items = (*job.reference, *_newest(job.window, newest))
        units, observed = _units(items, len(job.reference))
        batches = labellings(units, job.seed)
        tests["shares" + suffix] = p_value(shift.shares(_marks(items)), observed, batches, most=job.most)
    least = min(tests, key=lambda name: tests[name])
    shown = _newest(job.window, least.endswith(_NEWEST))
    now, before = _marks(shown).mean(axis=0), _marks(job.reference).mean(axis=0)
    most = int(abs(now - before).argmax())
    examples = tuple(item.id for item in shown if item.marks >> most & 1)[:EXAMPLES]
    topic = Topic(name=MARKS[most], share=float(now[most]), before=float(before[most]), examples=examples)
    return Comparison(p_value=min(1.0, len(tests) * tests[least]), tests=tests, topic=topic)


def _marks(items: Sequence[Item]) -> Matrix:
    """A row an item, a column a mark."""
    rows = [[item.marks >> bit & 1 for bit in range(len(MARKS))] for item in items]
    found: Matrix = numpy().array(rows, dtype="float32")
    return found


def _units(items: Sequence[Item], reference: int) -> tuple[Units, Matrix]:
    np = numpy()
    in_window = [False] * reference + [True] * (len(items) - reference)
    units = Units(
        blocks=[item.block for item in items], strata=[item.stratum for item in items], in_window=in_window
    )
    return units, np.array([in_window], dtype="float32")


def _split(reference: Sequence[Item], seed: int) -> tuple[list[Item], list[Item]]:
    """Half of the sessions of each stratum to fit, half to compare with."""
    rng = numpy().random.default_rng(seed)
    by_stratum: dict[int, dict[str, list[Item]]] = {}
    for item in reference:
        by_stratum.setdefault(item.stratum, {}).setdefault(item.block, []).append(item)
    fit: list[Item] = []
    held: list[Item] = []
    for blocks in by_stratum.values():
        names = sorted(blocks)
        for at, place in enumerate(rng.permutation(len(names))):
            (held if at % 2 else fit).extend(blocks[names[int(place)]])
    return fit, held


def _topic(rows: Matrix, reference: int, window: Sequence[Item], seed: int) -> Topic | None:
    """The group of similar requests whose share grew most beyond chance."""
    np = numpy()
    around = centroids(rows, _TOPICS, seed)
    labels = assigned(rows, around)
    count = len(around)
    before = np.bincount(labels[:reference], minlength=count) / reference
    now = np.bincount(labels[reference:], minlength=count)
    share = now / len(window)
    scale = np.sqrt(np.maximum(before, 1 / reference) * (1 / len(window) + 1 / reference))
    grown: Any = np.where(now >= _LEAST_TOPIC, (share - before) / scale, -np.inf)
    most = int(grown.argmax())
    if not grown[most] > 0:
        return None
    near = rows[reference:] @ around[most]
    places = [at for at in np.argsort(-near) if labels[reference + at] == most]
    return Topic(
        name="",
        share=float(share[most]),
        before=float(before[most]),
        examples=tuple(window[at].id for at in places[:EXAMPLES]),
    )
