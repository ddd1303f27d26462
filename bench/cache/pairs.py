"""Labelled pairs that a similarity threshold gets wrong: paraphrases, and small edits that change the answer.

Every line is `{"a": ..., "b": ..., "same": bool, "kind": ...}`. Half of the
pairs are paraphrases: another phrasing, other words for the same act, another
spelling of the same unit. The others differ in one thing that matters: a
number, an entity, a unit, a negation, or the polarity of a word; most keep
the phrasing, so that little else differs, and some change it as well. The
same seed writes the same bytes.

    python -m bench.cache.pairs [--count 4000] [--seed 20260417] [--out pairs.jsonl]
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.cache.frames import FILLERS, FRAMES, NUMBERS, Frame

SEED: Final = 20260417
COUNT: Final = 4000
KINDS: Final = ("negation", "number", "entity", "unit", "polarity")
_SAME: Final = 0.5
"""The share of paraphrases."""
_REPHRASED: Final = 0.25
"""The share of flips that have another phrasing, too."""
_SLOT: Final = re.compile(r"\{(\w+)\}")


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two texts, and whether one answer serves both."""

    a: str
    b: str
    same: bool
    kind: str


class _Fill(msgspec.Struct, frozen=True, kw_only=True):
    """What a text says, apart from its phrasing."""

    slots: dict[str, str]
    side: int = 0
    """Which side of `opposite`."""
    unit: int = 0
    """Which of the frame's units."""


def pairs(count: int = COUNT, seed: int = SEED) -> Iterator[Pair]:
    """Distinct pairs; each kind of flip is as likely as the next."""
    random_ = random.Random(seed)
    seen: set[tuple[str, str]] = set()
    while len(seen) < count:
        if random_.random() < _SAME:
            pair = _paraphrase(random_.choice(FRAMES), random_)
        else:
            kind = random_.choice(KINDS)
            pair = _flip(random_.choice([frame for frame in FRAMES if _has(frame, kind)]), kind, random_)
        if pair.a == pair.b or (pair.a, pair.b) in seen:
            continue
        seen.add((pair.a, pair.b))
        yield pair


def _paraphrase(frame: Frame, random_: random.Random) -> Pair:
    fill = _filled(frame, random_)
    one, other = random_.sample(frame.phrasings, 2)
    return Pair(
        a=_text(frame, one, fill, random_), b=_text(frame, other, fill, random_), same=True, kind="paraphrase"
    )


def _has(frame: Frame, kind: str) -> bool:
    """Whether a frame can be flipped that way."""
    if kind == "negation":
        return bool(frame.negated)
    if kind == "polarity":
        return frame.opposite is not None
    if kind == "unit":
        return bool(frame.units)
    return bool(_slots(frame, numbers=kind == "number"))


def _flip(frame: Frame, kind: str, random_: random.Random) -> Pair:
    phrasing = random_.choice(frame.phrasings)
    other = random_.choice(frame.phrasings) if random_.random() < _REPHRASED else phrasing
    before = _filled(frame, random_)
    after = before
    if kind == "negation":
        other = random_.choice(frame.negated)
    elif kind == "polarity":
        after = msgspec.structs.replace(before, side=1 - before.side)
    elif kind == "unit":
        there = random_.choice([index for index in range(len(frame.units)) if index != before.unit])
        after = msgspec.structs.replace(before, unit=there)
    else:
        name = random_.choice(_slots(frame, numbers=kind == "number"))
        taken = set(before.slots.values())
        value = next(value for value in _values(name, random_) if value not in taken)
        after = msgspec.structs.replace(before, slots={**before.slots, name: value})
    # The same choice of synonyms on both sides, so that the flip is all that differs.
    words = random_.getrandbits(32)
    return Pair(
        a=_text(frame, phrasing, before, random.Random(words)),
        b=_text(frame, other, after, random.Random(words)),
        same=False,
        kind=kind,
    )


def _filled(frame: Frame, random_: random.Random) -> _Fill:
    slots: dict[str, str] = {}
    for name in (*_slots(frame, numbers=True), *_slots(frame, numbers=False)):
        slots[name] = next(value for value in _values(name, random_) if value not in slots.values())
    return _Fill(
        slots=slots,
        side=random_.randrange(2) if frame.opposite else 0,
        unit=random_.randrange(len(frame.units)) if frame.units else 0,
    )


def _slots(frame: Frame, *, numbers: bool) -> list[str]:
    """The slots of a frame that hold numbers, or those that hold names."""
    found = {name for text in frame.phrasings for name in _SLOT.findall(text)} - {"act", "side", "unit"}
    return sorted(name for name in found if (name in NUMBERS) == numbers)


def _values(slot: str, random_: random.Random) -> Iterator[str]:
    """Values for a slot, for ever: `city2` is filled as `city` is."""
    kind = slot.rstrip("0123456789")
    while True:
        yield str(random_.randint(*NUMBERS[kind])) if kind in NUMBERS else random_.choice(FILLERS[kind])


def _text(frame: Frame, phrasing: str, fill: _Fill, random_: random.Random) -> str:
    words = dict(fill.slots)
    if frame.opposite:
        # `deposit|into`: the act, and the preposition that goes with it.
        words["act"], _, words["side"] = random_.choice(frame.opposite[fill.side]).partition("|")
    if frame.units:
        words["unit"] = random_.choice(frame.units[fill.unit])
    text = _SLOT.sub(lambda match: words[match[1]], phrasing)
    return text[:1].upper() + text[1:]


def main() -> None:
    """Write pairs to a file or to the standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data = b"".join(msgspec.json.encode(pair) + b"\n" for pair in pairs(args.count, args.seed))
    if args.out is None:
        sys.stdout.buffer.write(data)
    else:
        args.out.write_bytes(data)


if __name__ == "__main__":
    main()
