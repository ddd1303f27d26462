"""What the model sees of two texts that the guards let pass.

`shape` are a few numbers of known range: how near, how much shared, how much
not. `words` and `spans` name what exactly differs, as hashes: each word that
only one side has, that moved or that changed its case; each run of words that
stands for another. The model learns of each whether it matters; one that it
has never seen verified keeps it unsure.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import Final

import msgspec

from fairlead.cache.semantic.text import Difference, Text

SHAPE: Final = (
    "always",
    "nearness",
    "cosine",
    "words",
    "trigrams",
    "length",
    "unmatched",
    "edits",
    "moved",
    "margin",
)
"""Names of the numbers in `Features.shape`, in their order."""

MAX_EFFECTS: Final = 24
"""Texts that differ in more are another question, however near their vectors are."""


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """Two texts compared."""

    shape: tuple[float, ...]
    words: tuple[int, ...]
    spans: tuple[int, ...]

    @property
    def too_different(self) -> bool:
        return len(self.words) + len(self.spans) > MAX_EFFECTS


def features_of(
    ours: Text, theirs: Text, difference: Difference, *, cosine: float | None, runner_up: float | None = None
) -> Features:
    """Compare two texts, given the cosine of their vectors, and that of the next best candidate, if any.

    Without a cosine the vectors say nothing about sense: they only found the candidate.
    """
    margin = 0.0
    if cosine is not None and runner_up is not None:
        margin = min(max(_finite(cosine) - _finite(runner_up), 0.0), 0.2) * 5
    cosine = 0.0 if cosine is None else _finite(cosine)
    shorter = max(min(len(ours.folded), len(theirs.folded)), 1)
    longer = max(len(ours.folded), len(theirs.folded), 1)
    words_ours, words_theirs = set(ours.folded), set(theirs.folded)
    unmatched = min(len(difference.only_ours), len(difference.only_theirs))
    shape = (
        1.0,
        -math.log10(max(1.0 - cosine, 1e-3)) / 3,
        cosine,
        _share(len(words_ours & words_theirs), len(words_ours | words_theirs)),
        _trigrams_shared(ours.folded, theirs.folded),
        shorter / longer,
        unmatched / shorter,
        min(len(difference.edits), 8) / 8,
        min(len(difference.moved) / shorter, 1.0),
        margin,
    )
    return Features(shape=shape, words=_words(difference), spans=_spans(difference))


def _finite(cosine: float) -> float:
    """A cosine within its range; what is no number is as far as can be."""
    return min(max(cosine, -1.0), 1.0) if math.isfinite(cosine) else -1.0


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _trigrams_shared(ours: tuple[str, ...], theirs: tuple[str, ...]) -> float:
    one, other = _trigrams(ours), _trigrams(theirs)
    return _share(2 * len(one & other), len(one) + len(other))


def _trigrams(words: tuple[str, ...]) -> set[str]:
    return {
        padded[at : at + 3] for padded in (f"^{word}$" for word in words) for at in range(len(padded) - 2)
    }


def _words(difference: Difference) -> tuple[int, ...]:
    names = {f"word\0{word}" for word in (*difference.only_ours, *difference.only_theirs)}
    names.update(f"moved\0{word}" for word in difference.moved)
    names.update(f"case\0{word}" for word in difference.recased)
    return _hashes(names)


def _spans(difference: Difference) -> tuple[int, ...]:
    # Which text came first does not matter: sameness has no direction.
    sides = (sorted((" ".join(edit.ours), " ".join(edit.theirs))) for edit in difference.edits)
    return _hashes({f"span\0{one}\0{other}" for one, other in sides})


def _hashes(names: set[str]) -> tuple[int, ...]:
    """Numbers for names, so that no text stays in the model; sorted, so that sums are the same every time."""
    digests = (blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return tuple(sorted(int.from_bytes(digest) for digest in digests))
