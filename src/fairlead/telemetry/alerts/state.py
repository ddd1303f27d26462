"""What becomes of an alert: inactive, pending, firing, resolved.

A state machine over *watched* seconds: the caller says how much time has
passed since it last looked, never what time it is. So a clock that is set, a
machine that slept or a gateway that was down neither completes a wait nor ends
an alert. What cannot be judged (`holds` is None: no data) changes nothing.
"""

from __future__ import annotations

import enum

import msgspec


class Phase(enum.StrEnum):
    """Where an alert is."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How long things take, in seconds."""

    for_s: float = 0.0
    """It must hold this long before it fires."""
    keep_s: float = 0.0
    """It must be over this long before it resolves."""
    shown_s: float = 900.0
    """A resolved alert is shown this long."""


class State(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One alert's state. Persisted."""

    phase: Phase = Phase.INACTIVE
    held_s: float = 0.0
    """Pending: how long it has held. Firing: how long it has fired."""
    calm_s: float = 0.0
    """How long it has been over; resolved: since then."""


def step(state: State, holds: bool | None, elapsed_s: float, timing: Timing) -> State:
    """The next state, `elapsed_s` after the last."""
    if holds is None:
        return state
    elapsed_s = max(elapsed_s, 0.0)
    match state.phase:
        case Phase.PENDING:
            held_s = state.held_s + elapsed_s
            if not holds:
                return State()
            return _firing() if held_s >= timing.for_s else State(phase=Phase.PENDING, held_s=held_s)
        case Phase.FIRING:
            held_s = state.held_s + elapsed_s
            calm_s = 0.0 if holds else state.calm_s + elapsed_s
            if not holds and calm_s >= timing.keep_s:
                return State(phase=Phase.RESOLVED, held_s=held_s)
            return State(phase=Phase.FIRING, held_s=held_s, calm_s=calm_s)
        case Phase.RESOLVED if not holds:
            calm_s = state.calm_s + elapsed_s
            return State() if calm_s >= timing.shown_s else msgspec.structs.replace(state, calm_s=calm_s)
        case _:
            if not holds:
                return State()
            return _firing() if timing.for_s <= 0 else State(phase=Phase.PENDING)


def _firing() -> State:
    return State(phase=Phase.FIRING)
