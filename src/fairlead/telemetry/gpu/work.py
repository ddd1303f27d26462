"""Requests' work at targets on GPUs: a sink of the recorder that writes it down to be charged.

Every worker has one. What did not reach an engine's batch (refused, not
connected, over a rate) is no work; what broke off is, as far as it got.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from fairlead.telemetry.gpu.cost import SECOND_US, Piece
from fairlead.telemetry.gpu.db import GpuLedger
from fairlead.types import Attempt, FailureKind, RequestRecord, Usage

_WORKED: Final = frozenset(
    {
        FailureKind.TIMEOUT,
        FailureKind.TOO_SLOW,
        FailureKind.DISCONNECTED,
        FailureKind.CUT,
        FailureKind.EMPTY,
        FailureKind.BAD_ANSWER,
        FailureKind.SERVER_ERROR,
    }
)
"""Failures after which an engine may have worked on the request."""
_LONGEST_US: Final = 24 * 3600 * SECOND_US
_MOST_TOKENS: Final = 10**7
"""Of one attempt; an upstream may report any number, and sums of a month must fit into a BIGINT."""
_PER_COMMIT: Final = 4096


def pieces_of(record: RequestRecord, pools: Mapping[str, str]) -> Iterator[tuple[str, Piece]]:
    """The attempts of a request that kept a GPU busy, each with its pool.

    Args:
        record: the request.
        pools: the pool of each target that is on GPUs.
    """
    for number, attempt in enumerate(record.attempts):
        pool = pools.get(attempt.target)
        if pool is None or (attempt.failure is not None and attempt.failure.kind not in _WORKED):
            continue
        usage = attempt.usage or _assumed(record, attempt)
        started = record.started_at + attempt.started_s + attempt.connect_s
        ended = max(record.started_at + attempt.ended_s, started)
        started_us = max(round(started * SECOND_US), 0)
        ended_us = min(max(round(ended * SECOND_US), started_us), started_us + _LONGEST_US)
        yield (
            pool,
            Piece(
                id=record.id,
                attempt=number,
                target=attempt.target,
                started_us=started_us,
                first_us=_first_us(record, attempt, usage, started_us, ended_us),
                ended_us=ended_us,
                input_tokens=_tokens(usage.input_tokens),
                cached_tokens=_tokens(min(usage.cache_read_tokens, usage.input_tokens)),
                output_tokens=_tokens(usage.output_tokens),
            ),
        )


def _assumed(record: RequestRecord, attempt: Attempt) -> Usage:
    """Of an attempt without usage: the prompt is that of the request, and nothing is known of an answer."""
    if attempt.failure is None:
        return record.usage
    return Usage(input_tokens=record.usage.input_tokens)


def _first_us(record: RequestRecord, attempt: Attempt, usage: Usage, started_us: int, ended_us: int) -> int:
    """When the first token came; without a stream, as if a token had taken the time of four of the prompt."""
    if attempt.first_token_s:
        return min(max(round((record.started_at + attempt.first_token_s) * SECOND_US), started_us), ended_us)
    prompt = max(usage.input_tokens - usage.cache_read_tokens, 0)
    output = max(usage.output_tokens, 0)
    if not output:
        return ended_us
    return started_us + (ended_us - started_us) * prompt // (prompt + 4 * output)


def _tokens(count: int) -> int:
    return min(max(count, 0), _MOST_TOKENS)


class GpuSink:
    """Writes work down; a sink of the recorder."""

    def __init__(self, ledger: GpuLedger, pools: Mapping[str, str]) -> None:
        """Write to `ledger` what goes to the targets in `pools`, which names each one's pool."""
        self._ledger = ledger
        self._pools = pools
        self._work: list[tuple[str, Piece]] = []

    @property
    def backlog(self) -> int:
        """Pieces taken and not yet written."""
        return len(self._work)

    def take(self, records: Iterator[RequestRecord]) -> None:
        """Take the work of every record."""
        pools = self._pools
        for record in records:
            if record.attempts:
                self._work += pieces_of(record, pools)

    async def commit(self) -> None:
        """Write what was taken. What fails stays, and is written by the next call."""
        while self._work:
            batch = self._work[:_PER_COMMIT]
            await self._ledger.add(batch)
            del self._work[: len(batch)]
