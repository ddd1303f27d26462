"""Texts as vectors without any model: hashed words and runs of letters, projected at random.

It understands nothing: texts are near when they share letters. That is enough
to notice other topics (it keeps the stated rate of false alarms, and finds
less than a sentence encoder does). The same text gives the same vector in
every process and version with this `ID`.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from fairlead.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float32]

DIMENSIONS: Final = 256
ID: Final = "hashed-2/256"
_MAX_CHARS: Final = 1500
_SIGNS_EACH: Final = 4
"""A name falls on several axes, so that two that meet on one are told apart by the others."""
_WORD: Final = re.compile(r"[^\W_]+")


def numpy() -> Any:
    """The library, imported at its first use.

    Raises:
        UsageError: the extra is not installed.
    """
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise UsageError(
            "semantic metrics need a package that is not installed: numpy",
            hint="pip install 'fairlead[signals]'",
        ) from error


def vectors(texts: Sequence[str]) -> Matrix:
    """One vector of length one for each text."""
    np = numpy()
    found = np.zeros((len(texts), DIMENSIONS), dtype="float32")
    for row, text in zip(found, texts, strict=True):
        names = _names(text[:_MAX_CHARS])
        # Frequent names say less.
        weights = 1.0 + np.log(np.fromiter(names.values(), "float64", len(names)))
        numbers = np.fromiter((_number(name) for name in names), "uint64", len(names))
        for _ in range(_SIGNS_EACH):
            signed = np.where(numbers & 0x80000000, weights, -weights)
            row += np.bincount((numbers % DIMENSIONS).astype("int64"), signed, DIMENSIONS).astype("float32")
            numbers = (numbers * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF
    return unit(found)


def unit(rows: Matrix) -> Matrix:
    """The rows scaled to length one; the first axis where a row has no direction."""
    np = numpy()
    found = np.nan_to_num(np.asarray(rows, dtype="float32"), posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    without = lengths[:, 0] <= 0
    found[without] = 0.0
    found[without, 0] = 1.0
    lengths[without] = 1.0
    scaled: Matrix = found / lengths
    return scaled


def _number(name: str) -> int:
    return crc32(name.encode("utf-8", "surrogatepass"))


def _names(text: str) -> Counter[str]:
    names: Counter[str] = Counter()
    words = _WORD.findall(text.casefold())
    for word in words:
        names["w" + word] += 2
        padded = f"<{word}>"
        for size in (3, 4):
            for start in range(len(padded) - size + 1):
                names[padded[start : start + size]] += 1
    return names
