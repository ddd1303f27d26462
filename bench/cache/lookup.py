"""What the exact tier costs a request, in process: from the body's bytes to the kept answer's.

Canonical form, policy, key, memory, entry, facts: everything that a hit does
but HTTP. The least of many short bursts is printed, which another process on
the machine disturbs least, and the median beside it.

    python -m bench.cache.lookup [--seconds 3] [--bytes 1024]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

from fairlead.cache.entry import Entry
from fairlead.cache.key import Canonical, Space, Spaces, read
from fairlead.cache.lookup import Cache, facts_of
from fairlead.cache.memory import MemoryTier
from fairlead.cache.policy import Policy
from fairlead.cache.stats import Stats
from fairlead.cache.trouble import Trouble
from fairlead.config.parse import parse

_CONFIG = "providers: {one: {type: simulated}}\nmodels: {gpt-5: {targets: [{provider: one}], cache: {}}}\n"
_BURST = 300
_KEYS = 1000


class Bench:
    """A cache with a thousand answers, asked for each in turn."""

    def __init__(self, body_bytes: int) -> None:
        config = parse(_CONFIG, "bench")
        options = config.models["gpt-5"].cache
        assert options is not None
        self.policy = Policy(options)
        self.spaces = Spaces(config)
        self.cache = Cache(
            MemoryTier(100_000_000),
            None,
            stats=Stats(),
            trouble=Trouble(),
            max_entry_bytes=1_000_000,
            timeout_s=0.1,
        )
        self.bodies = [_body(number, body_bytes) for number in range(_KEYS)]
        self.number = 0
        for body in self.bodies:
            request, space, key = self.key(body)
            facts = facts_of(
                space, target="one/gpt-5", input_tokens=210, output_tokens=90, cost_microusd=1200
            )
            self.cache.put(key, space, b"x" * 700, facts, now=1000.0, policy=self.policy)
        self.request = request

    def key(self, body: bytes) -> tuple[Canonical, Space, bytes]:
        """As the request path makes it."""
        request = read("chat", body)
        assert request is not None
        assert not self.policy.bypass(request)
        space = self.spaces.of("gpt-5", "acme")
        assert space is not None
        return request, space, space.key(request)

    def next(self) -> bytes:
        """The next request's body."""
        self.number += 1
        return self.bodies[self.number % _KEYS]

    def hit(self) -> Entry:
        """A whole lookup that finds its answer."""
        _, space, key = self.key(self.next())
        found = self.cache.get(key, space, 1001.0)
        assert found is not None
        assert found.payload
        return found


def _body(number: int, size: int) -> bytes:
    body = {
        "model": "gpt-5",
        "temperature": 0.2,
        "max_tokens": 200,
        "messages": [
            {"role": "system", "content": "You answer questions about our products, briefly."},
            {"role": "user", "content": f"Question {number}: "},
        ],
    }
    empty = len(json.dumps(body))
    body["messages"][1]["content"] += ("lorem ipsum dolor sit amet " * (size // 27 + 1))[: size - empty]  # type: ignore[index]
    return json.dumps(body).encode()


def timed(function: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Microseconds a call: the least and the median of many bursts."""
    bursts: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        for _ in range(_BURST):
            function()
        bursts.append((time.perf_counter() - started) / _BURST * 1e6)
    return min(bursts), statistics.median(bursts)


def main() -> None:
    """Measure each step and the whole, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--bytes", type=int, default=1024)
    options = parser.parse_args()
    bench = Bench(options.bytes)
    space = bench.spaces.of("gpt-5", "acme")
    assert space is not None
    steps: list[tuple[str, Callable[[], object]]] = [
        ("canonical form", lambda: read("chat", bench.next())),
        ("policy", lambda: bench.policy.bypass(bench.request)),
        ("key", lambda: space.key(bench.request)),
        ("hit, all together", bench.hit),
    ]
    print(f"body of {len(bench.bodies[0])} bytes      least us  median us")
    for name, function in steps:
        least, median = timed(function, options.seconds / len(steps))
        print(f"{name:<24} {least:>8.2f} {median:>10.2f}")


if __name__ == "__main__":
    main()
