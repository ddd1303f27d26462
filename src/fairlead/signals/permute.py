"""Which labels could as well have been, if a window were like its reference.

Requests of one session resemble each other, and so do those of one hour of the
week. So labels change places only by whole sessions, and only within an hour:
what is exchangeable is a session among those of its hour. Then the test is
exact for whatever statistic it is used on, however the traffic moves through
the day and however much one user talks.

Rare levels need many permutations, and most windows need few to be cleared. So
counting stops at the tenth permutation that reaches what was observed: after
`n` of them the p-value is `10 / n` (Besag and Clifford 1991), which is valid too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fairlead.signals.hashed import numpy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float32]

MOST: Final = 19_999
"""Permutations at most: the smallest p-value of one statistic is 1 / 20,000."""
_BATCH: Final = 200
_REACHED: Final = 10


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """What changes places. One entry for each item, the reference's first."""

    blocks: Sequence[str]
    """The session, or the user."""
    strata: Sequence[int]
    """The hour of the week, or what stands for it."""
    in_window: Sequence[bool]


def labellings(units: Units, seed: int) -> Iterator[Numbers]:
    """Batches of permuted labels: one row a permutation, 1.0 where an item counts as the window's."""
    np = numpy()
    rng = np.random.default_rng(seed)
    block_of, strata, label_of = _blocks(units)
    by_stratum = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    while True:
        labels = np.empty((_BATCH, len(label_of)), dtype="float32")
        for members in by_stratum:
            rows = np.broadcast_to(label_of[members], (_BATCH, len(members)))
            labels[:, members] = rng.permuted(rows, axis=1)
        yield labels[:, block_of]


def p_value(
    statistic: Callable[[Numbers], Numbers],
    observed: Numbers,
    batches: Iterator[Numbers],
    *,
    most: int = MOST,
) -> float:
    """How likely a value as large as that of the `observed` labels is.

    Args:
        statistic: of each row of labels; larger is more different.
        observed: the labels as they are, one row.
        batches: from `labellings`.
        most: permutations.
    """
    threshold = float(statistic(observed)[0])
    # Rounding must not let a permutation that changes nothing count as smaller.
    threshold -= 1e-6 * max(abs(threshold), 1.0)
    seen = reached = 0
    for labels in batches:
        values = statistic(labels[: most - seen])
        for value in values:
            seen += 1
            # What is no number is never evidence of a difference.
            if not value < threshold:
                reached += 1
                if reached == _REACHED:
                    return reached / seen
        if seen >= most:
            break
    return (reached + 1) / (seen + 1)


def _blocks(units: Units) -> tuple[Any, Any, Any]:
    """Of each item its block's number; of each block its stratum and its label."""
    np = numpy()
    numbers: dict[tuple[bool, str], int] = {}
    block_of: list[int] = []
    strata: list[int] = []
    labels: list[float] = []
    for block, stratum, in_window in zip(units.blocks, units.strata, units.in_window, strict=True):
        # A user who is on both sides is a block on each: that makes the sides alike, never different.
        number = numbers.setdefault((in_window, block), len(numbers))
        if number == len(strata):
            strata.append(stratum)
            labels.append(1.0 if in_window else 0.0)
        block_of.append(number)
    return np.array(block_of), np.array(strata), np.array(labels, dtype="float32")
