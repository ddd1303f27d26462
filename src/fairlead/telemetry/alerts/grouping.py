"""Which notifications are due: alerts of a kind together, told once, again when they change. Pure.

One `Told` is kept for each receiver and group. A new group waits a little for
more of its kind; a change in what fires is told at the next turn; what goes on
is repeated after a long time. The end is told to whoever was told of the
beginning, silenced or not: a silence asks for quiet, not for an incident that
stays open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a receiver was told of a group. Persisted."""

    waited_s: float = 0.0
    """Before the first telling."""
    since_s: float = 0.0
    """Since the last telling."""
    firing: tuple[str, ...] = ()
    """Fingerprints that were told to fire; empty before the first telling."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A notification to send."""

    firing: tuple[str, ...]
    resolved: tuple[str, ...]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How patient a receiver is, in seconds."""

    wait_s: float
    repeat_s: float


def group_key(by: Iterable[str], labels: Mapping[str, str]) -> str:
    """The group that an alert with these labels belongs to."""
    return ",".join(f"{name}={labels.get(name, '')}" for name in by)


def plan(
    told: Told | None, firing: Iterable[str], silenced: Iterable[str], elapsed_s: float, pace: Pace
) -> tuple[Told | None, Due | None]:
    """What to tell of a group now.

    Args:
        told: what was told; None for a group that is new.
        firing: fingerprints that fire and are not silenced.
        silenced: those that fire and are.
        elapsed_s: watched time since the last call; 0.0 for a new group.
        pace: of the receiver.

    Returns:
        What to keep (None: the group is over) and what to send (None: nothing).
    """
    now = tuple(sorted(set(firing)))
    told = told or Told()
    since_s = told.since_s + elapsed_s
    if not told.firing:
        if not now:
            return None, None
        waited_s = told.waited_s + elapsed_s
        if waited_s < pace.wait_s:
            return Told(waited_s=waited_s), None
        return Told(firing=now), Due(firing=now, resolved=())
    over = tuple(name for name in told.firing if name not in now and name not in set(silenced))
    new = tuple(name for name in now if name not in told.firing)
    # One that is silenced meanwhile stays among those told, so that its end is told too.
    hushed = tuple(name for name in told.firing if name not in now and name not in over)
    if over or new or (now and since_s >= pace.repeat_s):
        kept = tuple(sorted((*now, *hushed)))
        return (Told(firing=kept) if kept else None), Due(firing=now, resolved=over)
    return Told(firing=told.firing, since_s=since_s), None
