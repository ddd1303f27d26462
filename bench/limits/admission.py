"""What admission and settlement cost a request, in process.

One key of a team of an organisation, with requests, tokens and a budget on
two of the three: six limits, as many as a strict configuration has. Many keys
take turns, with requests open between, as in a gateway that is busy. The
least of many short bursts is printed, which another process on the machine
disturbs least, and the median beside it.

    python -m bench.limits.admission [--seconds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from fairlead.config.parse import parse
from fairlead.limits.clock import ForwardClock
from fairlead.limits.limiter import Limiter, Permit, Wanted
from fairlead.limits.memory import MemoryStore
from fairlead.limits.tree import Tree
from fairlead.types import Usage

_LIMITED: Final = """\
tenants:
  acme:
    limits:
      requests_per_minute: 900000000
      tokens_per_minute: {limit: 900000000, output_weight: 4}
      budgets: [{usd: 900000, per: month, timezone: Europe/Berlin, warn_at: [0.8, 0.95]}]
  team:
    parent: acme
    limits: {tokens_per_minute: 900000000, concurrent_requests: 100000}
    each_key: {requests_per_minute: 900000000}
"""
_BURST: Final = 500
_KEYS: Final = 200
_OPEN: Final = 400
"""Requests under way at any moment."""


class Bench:
    """A limiter under a steady load."""

    def __init__(self, configuration: str, tenant: str, *, tracked: bool) -> None:
        self.clock = ForwardClock()
        self.store = MemoryStore(self.clock, tracked=tracked)
        tree = Tree(parse(configuration, "bench").tenants)
        self.limiter = Limiter(self.store, tree, now=time.time, warn=lambda crossing: None)
        self.tenant = tenant
        self.number = 0
        self.permits: deque[Permit] = deque()
        self.usage = Usage(input_tokens=800, output_tokens=210)

    def admit(self) -> None:
        """One admission as the request path makes it, the way through the tree included."""
        limiter = self.limiter
        self.number += 1
        key = f"key{self.number % _KEYS}"
        path = limiter.path(self.tenant, key, "bench", "gpt-5")
        output = limiter.expected_output(key, "gpt-5", None) if path.limits else 0
        wanted = Wanted(
            request_id=f"{self.number:032x}",
            tenant=self.tenant,
            key_id=key,
            key_name="bench",
            model="gpt-5",
            input_tokens=800,
            output_tokens=output,
            cost_microusd=4200,
            ttl_s=600.0,
        )
        self.permits.append(limiter.admit(wanted, path))

    def settle(self) -> None:
        """One settlement."""
        self.limiter.settle(self.permits.popleft(), self.usage, 3100, whole=True)

    def run(self, seconds: float) -> tuple[list[float], list[float]]:
        """Microseconds per admission and per settlement, burst by burst."""
        for _ in range(_OPEN):
            self.admit()
        admissions, settlements = [], []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            admissions.append(_burst(self.admit))
            settlements.append(_burst(self.settle))
            self.store.changes()  # as `saved` does, so that what is remembered does not grow
        return admissions, settlements


def _burst(once: Callable[[], None]) -> float:
    begin = time.perf_counter()
    for _ in range(_BURST):
        once()
    return (time.perf_counter() - begin) / _BURST * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each row")
    seconds = parser.parse_args().seconds
    print("| limits on the way | admission, us (least / median) | settlement, us (least / median) |")
    print("|---|--:|--:|")
    for name, configuration, tenant, tracked in (
        ("none", "{}", "default", False),
        ("6", _LIMITED, "team", False),
        ("6, saved", _LIMITED, "team", True),
    ):
        admissions, settlements = Bench(configuration, tenant, tracked=tracked).run(seconds)
        cells = [f"{min(row):.1f} / {statistics.median(row):.1f}" for row in (admissions, settlements)]
        print(f"| {name} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
