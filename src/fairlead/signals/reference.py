"""What a window is compared with: the same hours of earlier weeks.

Traffic has a daily and a weekly shape; a window of Monday morning is compared
with Monday mornings. Where there are too few of them yet, with mornings of
working days; where even these are missing, nothing is said. Users who talk a lot
count for a few requests, and a request that a user repeats counts once.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

Level = Literal["hour of week", "hour of day", "part of day"]
LEVELS: Final[tuple[Level, ...]] = ("hour of week", "hour of day", "part of day")
_HOUR_S: Final = 3600
_THURSDAY: Final = 3
"""The weekday of 1970-01-01, Monday being 0."""
_COVERED: Final = 0.8
_PER_STRATUM: Final = 3


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether an item is taken."""

    id: str
    at: float
    user: str
    """A mark of its user; "" where the request names none."""
    session: str
    digest: bytes = b""
    """Of what it says, to know repetitions."""

    @property
    def block(self) -> str:
        """What changes places together: the user's requests of an hour, or the session's."""
        # Of an hour, so that a user is as large a block in the window as in weeks of reference.
        hour = int(self.at // _HOUR_S)
        return f"u:{self.user}@{hour}" if self.user else f"s:{self.session}@{hour}"


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Items by their places in what was given, with the strata they are in."""

    level: Level
    window: tuple[int, ...]
    reference: tuple[int, ...]
    strata: dict[str, int]
    """By id."""


def stratum(at: float, level: Level) -> int:
    """The slot of a time (Unix seconds, UTC): of 168 of the week, or of 24 or 6 of a working day or not."""
    hours = int(at // _HOUR_S)
    day = (hours // 24 + _THURSDAY) % 7
    hour = hours % 24
    if level == "hour of week":
        return day * 24 + hour
    if level == "hour of day":
        return (day >= 5) * 24 + hour
    return (day >= 5) * 6 + hour // 4


def thinned(items: Sequence[Candidate], *, per_user: int) -> list[int]:
    """Places of items, less what a user repeats, or has too many of, within an hour; the first ones stay."""
    seen: set[tuple[str, bytes]] = set()
    counts: Counter[str] = Counter()
    taken = []
    for place, item in enumerate(items):
        block = item.block
        if (item.digest and (block, item.digest) in seen) or (item.user and counts[block] >= per_user):
            continue
        seen.add((block, item.digest))
        counts[block] += 1
        taken.append(place)
    return taken


def choose(
    window: Sequence[Candidate],
    reference: Sequence[Candidate],
    *,
    per_user: int,
    least_reference: int,
    most_reference: int,
    most_window: int,
) -> Chosen | None:
    """The finest level at which there is enough to compare with; None while there is not.

    Args:
        window: in order of time.
        reference: likewise, all of it earlier.
        per_user: requests of one user that count within an hour.
        least_reference: items below which nothing is said.
        most_reference: items that are taken.
        most_window: likewise.
    """
    ours = _evenly(thinned(window, per_user=per_user), most_window)
    theirs = thinned(reference, per_user=per_user)
    for level in LEVELS:
        found = _at(level, window, ours, reference, theirs, most_reference)
        if found is not None and len(found.reference) >= least_reference:
            return found
    return None


def _at(
    level: Level,
    window: Sequence[Candidate],
    ours: Sequence[int],
    reference: Sequence[Candidate],
    theirs: Iterable[int],
    most: int,
) -> Chosen | None:
    wanted = Counter(stratum(window[place].at, level) for place in ours)
    pools: dict[int, list[int]] = defaultdict(list)
    for place in theirs:
        slot = stratum(reference[place].at, level)
        if slot in wanted:
            pools[slot].append(place)
    covered = {slot for slot, pool in pools.items() if len(pool) >= _PER_STRATUM}
    kept = [place for place in ours if stratum(window[place].at, level) in covered]
    if not kept or len(kept) < _COVERED * len(ours):
        return None
    taken: list[int] = []
    for slot in sorted(covered):
        # In the window's proportions; which ones is settled by their ids, so that nobody need remember.
        share = -(-most * wanted[slot] // len(kept))
        taken += sorted(pools[slot], key=lambda place: _order(reference[place].id))[:share]
    strata = {window[place].id: stratum(window[place].at, level) for place in kept}
    strata.update({reference[place].id: stratum(reference[place].at, level) for place in taken})
    return Chosen(level=level, window=tuple(kept), reference=tuple(taken), strata=strata)


def _evenly(places: Sequence[int], most: int) -> list[int]:
    """At most so many, evenly spread."""
    if len(places) <= most:
        return list(places)
    return [places[at * len(places) // most] for at in range(most)]


def _order(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
