"""What `fairlead demo` shows: results in, a small table out. Pure.

Rates and times are those of the last ten seconds, so that a fault is seen
while it lasts; the counts are of the whole run.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import msgspec

WINDOW_S = 10.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One finished request as its client saw it. Times are on one clock."""

    ended_at: float
    ok: bool
    target: str = ""
    """The target that answered; "" when none did."""
    first_token_ms: float | None = None
    """Of streams only."""
    error: str = ""


class TargetState(msgspec.Struct, frozen=True, kw_only=True):
    """One target as the gateway's control API reports it; other fields are ignored."""

    target: str
    state: str
    in_flight: int = 0
    latency_ms: float = 0.0


class TargetStates(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[TargetState, ...]


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the values lie (nearest rank); None without values."""
    if not values:
        return None
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


class Board:
    """Everything seen so far."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures = 0
        self.last_error = ""
        self._recent: deque[Result] = deque()

    def add(self, result: Result) -> None:
        """Count one result."""
        self.requests += 1
        if not result.ok:
            self.failures += 1
            self.last_error = result.error
        self._recent.append(result)

    @property
    def success(self) -> float:
        """Share of all requests that went well; 1.0 before the first."""
        return 1.0 - self.failures / self.requests if self.requests else 1.0

    def render(self, now: float, elapsed_s: float, happening: str, targets: Sequence[TargetState]) -> str:
        """The table as lines of text, each ended."""
        while self._recent and self._recent[0].ended_at < now - WINDOW_S:
            self._recent.popleft()
        recent = list(self._recent)
        firsts = [result.first_token_ms for result in recent if result.first_token_ms is not None]
        good = sum(result.ok for result in recent)
        lines = [
            f"{elapsed_s:5.0f} s  {happening}",
            f"  requests {self.requests:<7} success {_percent(self.success)} in all, "
            f"{_percent(good / len(recent) if recent else None)} lately   "
            f"first token p50 {_ms(percentile(firsts, 0.5))}  p95 {_ms(percentile(firsts, 0.95))}",
            f"  {'target':<24}{'breaker':<11}{'share':>7}{'in flight':>11}{'latency':>10}",
        ]
        shares = Counter(result.target for result in recent if result.target)
        answered = sum(shares.values())
        for target in sorted(targets, key=lambda each: each.target):
            share = shares[target.target] / answered if answered else None
            lines.append(
                f"  {target.target:<24}{target.state:<11}{_percent(share, 0):>7}"
                f"{target.in_flight:>11}{_ms(target.latency_ms or None):>10}"
            )
        if self.last_error:
            lines.append(f"  last failure: {self.last_error[:100]}")
        return "\n".join(lines) + "\n"


def _percent(share: float | None, digits: int = 1) -> str:
    return "-" if share is None else f"{share * 100:.{digits}f} %"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"
