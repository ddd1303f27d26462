"""How much a process really grows by, against what the cache's memory is allowed to take.

Distinct entries are put in until twice as many as fit have come, so that the
least recently used were dropped on the way. Each size runs in a process of its
own, whose resident memory is read before and after.

    python -m bench.cache.memory [--entries 1000000] [--sizes 16,200,2500,20000]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import os
import time
from pathlib import Path

from fairlead.cache.entry import Facts, pack
from fairlead.cache.memory import MemoryTier


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(entries: int, payload_bytes: int, mixed: bool) -> tuple[int, int, int, float]:
    """The bound, the most the process grew by, the entries held at the end, and the seconds it took."""
    facts = Facts(scope="tenant:acme", tenant="acme", model="gpt-5", input_tokens=812, output_tokens=96)
    # A bound that about half of the entries fit in.
    tier = MemoryTier(max_bytes=entries // 2 * (payload_bytes + 400))
    gc.collect()
    before = resident_bytes()
    most = 0
    started = time.perf_counter()
    for number in range(entries):
        key = hashlib.blake2b(b"%d" % number, digest_size=32).digest()
        size = payload_bytes * (1 + key[0]) // 128 if mixed else payload_bytes
        payload = os.urandom(8) * (size // 8)
        tier.put(key, pack(key, payload, facts, created_at=1e9, ttl_s=3600.0, kept_s=3600.0))
        if number % 50_000 == 0:
            most = max(most, resident_bytes() - before)
    most = max(most, resident_bytes() - before)
    return tier.max_bytes, most, len(tier), time.perf_counter() - started


def filled(entries: int, payload_bytes: int) -> tuple[int, int, int, float]:
    """As `measure`, with all entries held: the growth against the bytes that were counted."""
    facts = Facts(scope="tenant:acme", tenant="acme", model="gpt-5", input_tokens=812, output_tokens=96)
    tier = MemoryTier(max_bytes=1 << 40)
    gc.collect()
    before = resident_bytes()
    started = time.perf_counter()
    for number in range(entries):
        key = hashlib.blake2b(b"%d" % number, digest_size=32).digest()
        payload = os.urandom(8) * (payload_bytes // 8)
        tier.put(key, pack(key, payload, facts, created_at=1e9, ttl_s=3600.0, kept_s=3600.0))
    return tier.bytes, resident_bytes() - before, len(tier), time.perf_counter() - started


def main() -> None:
    """Measure each size in a process of its own, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--sizes", default="16,200,2500")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    print("payload         entries   held      bound MB  grown MB  ratio  seconds")
    for size in map(int, options.sizes.split(",")):
        entries = min(options.entries, 2_000_000_000 // max(size, 1))
        for name, task, args in (
            ("all held", filled, (entries // 2, size)),
            ("evicting", measure, (entries, size, False)),
            ("mixed", measure, (entries, size, True)),
        ):
            with context.Pool(1) as pool:
                bound, grown, held, seconds = pool.apply(task, args)
            print(
                f"{size:<6} {name:8} {args[0]:>7} {held:>7} {bound / 1e6:>12.1f} {grown / 1e6:>9.1f}"
                f" {grown / bound:>6.2f} {seconds:>7.1f}"
            )


if __name__ == "__main__":
    main()
