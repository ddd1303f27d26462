"""Reads the few figures of an engine's Prometheus page that tune the window.

A page has tens of kilobytes, most of them histograms, and is read twice a
second: only the lines of known names are looked at. Whatever is not as
expected is skipped; a page without the two counts is no page of an engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from fairlead.limits.inflight import EngineFacts

_RUNNING: Final = (
    b"vllm:num_requests_running",
    b"sglang:num_running_reqs",
    b"tgi_batch_current_size",
    b"llamacpp:requests_processing",
)
_WAITING: Final = (
    b"vllm:num_requests_waiting",
    b"sglang:num_queue_reqs",
    b"tgi_queue_size",
    b"llamacpp:requests_deferred",
)
_KV_USAGE: Final = (
    b"vllm:kv_cache_usage_perc",
    b"vllm:gpu_cache_usage_perc",  # before 0.10
    b"sglang:token_usage",
    b"llamacpp:kv_cache_usage_ratio",  # older versions only
)
_CAPACITY: Final = b"sglang:max_total_num_tokens"
_CACHE_CONFIG: Final = b"vllm:cache_config_info"
_MOST: Final = 1e12
_MOST_SERIES: Final = 256


def parse(page: bytes) -> EngineFacts | None:
    """What an engine's /metrics says; None when it is no engine's.

    Several engines behind one address (data parallel) are added up; of their
    caches the fullest counts.
    """
    page = b"\n" + page
    running = _first(page, _RUNNING)
    waiting = _first(page, _WAITING)
    if running is None or waiting is None:
        return None
    usage = _first(page, _KV_USAGE)
    return EngineFacts(
        running=sum(running),
        waiting=sum(waiting),
        kv_usage=min(max(usage), 1.0) if usage else None,
        capacity_tokens=_capacity(page),
    )


def _capacity(page: bytes) -> int | None:
    tokens = sum(value for _, value in _series(page, _CAPACITY))
    for labels, _ in _series(page, _CACHE_CONFIG):
        blocks, size = _label(labels, b"num_gpu_blocks"), _label(labels, b"block_size")
        if blocks and size:
            tokens += blocks * size
    return int(tokens) if 0 < tokens < _MOST else None


def _first(page: bytes, names: tuple[bytes, ...]) -> list[float] | None:
    """All series of the first of these names that is there."""
    for name in names:
        values = [value for _, value in _series(page, name)]
        if values:
            return values
    return None


def _series(page: bytes, name: bytes) -> Iterator[tuple[bytes, float]]:
    """Labels and value of each line of a name."""
    mark = b"\n" + name
    at = page.find(mark)
    for _ in range(_MOST_SERIES):
        if at < 0:
            return
        begin = at + len(mark)
        end = page.find(b"\n", begin)
        line = page[begin:] if end < 0 else page[begin:end]
        # A label's value may hold anything, `}` and spaces included; what follows the last brace is not one.
        labels, brace, rest = line.rpartition(b"}")
        if line[:1] in (b"{", b" ", b"\t") and (brace or line[:1] != b"{"):
            value = _number(rest)
            if value is not None:
                yield labels, value
        at = page.find(mark, begin)


def _number(text: bytes) -> float | None:
    """The first word as a sane count or part; a time stamp may follow it."""
    words = text.split(None, 1)
    try:
        value = float(words[0]) if words else math.nan
    except ValueError:
        return None
    return value if 0.0 <= value < _MOST else None


def _label(labels: bytes, name: bytes) -> float | None:
    mark = name + b'="'
    at = labels.find(mark)
    if at < 0 or labels[at - 1 : at] not in (b"{", b","):
        return None
    begin = at + len(mark)
    return _number(labels[begin : labels.find(b'"', begin)])
