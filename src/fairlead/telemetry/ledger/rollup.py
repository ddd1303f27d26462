"""Roll-ups of requests by minute, hour and day, as arithmetic.

A `Batch` holds what is rolled up of some requests, column by column, as the
ledger's journal keeps it: making one costs a request a tenth of a microsecond,
so that the work of counting stays off the request path. `Rolling` counts
batches; `rollups` gives what they add to each minute, hour and day.

A request belongs to the minute in which it began, by the gateway's clock. A
clock that jumps puts requests into another minute and into no two: roll-ups
are added to, never closed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from operator import add
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from fairlead.telemetry.ledger.sketch import Spread, sketch
from fairlead.types import ITL_BOUNDS_S

Key = TypeVar("Key", bound=Hashable)

COLUMNS: Final = (
    "started_at", "tenant", "key_id", "model", "target", "endpoint", "outcome", "input_tokens",
    "output_tokens", "first_token_s", "duration_s",
)  # fmt: skip
"""The ledger's columns that a batch holds, in its order."""
MINUTE_S: Final = 60
SPANS_S: Final = (MINUTE_S, 3600, 86_400)
MEASURES: Final = ("ttft", "duration", "gap", "pace", "prompt", "output")
"""The sketches of a roll-up, in order."""

_US: Final = 1e6
_LATEST: Final = 253_402_300_799
"""The end of the year 9999; a clock that is beyond it is not believed."""


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What is rolled up of some requests. New fields go to the end, with a default."""

    gap_bounds: tuple[float, ...]
    """Of `gap_counts`, in seconds."""
    started_at: list[float]
    tenant: list[str]
    key_id: list[str]
    model: list[str]
    target: list[str]
    endpoint: list[str]
    outcome: list[str]
    input_tokens: list[int]
    output_tokens: list[int]
    first_token_s: list[float]
    duration_s: list[float]
    gap_counts: list[tuple[int, ...]]
    """A histogram of the gaps of each request; empty where it has none."""
    gap_sum_s: list[float]

    def whole(self) -> bool:
        """Whether all columns are of the same length."""
        columns = [getattr(self, name) for name in self.__struct_fields__[1:]]
        return len({len(column) for column in columns}) == 1


def batch_of(
    rows: list[Any], width: int, places: Sequence[int], gaps: list[tuple[int, ...]], gap_sums: list[float]
) -> Batch:
    """The batch of rows that lie one after the other in a list, each `width` long.

    `places` are where the columns of `COLUMNS` are in a row; the gaps are counted over `ITL_BOUNDS_S`.
    """
    columns: list[Any] = [rows[place::width] for place in places]
    return Batch(*[ITL_BOUNDS_S, *columns, gaps, gap_sums])


class Series(NamedTuple):
    """What a roll-up is of."""

    tenant: str
    key_id: str
    model: str
    target: str
    endpoint: str
    outcome: str

    @property
    def id(self) -> int:
        """A 64-bit digest, signed as SQL has it. Among a million series two share one once in 10**7 times."""
        # Lengths first, so that no two series give the same text.
        text = "".join([f"{len(name)}:{name}" for name in self]).encode(errors="surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big", signed=True)


class Rollup:
    """What the requests of one series add up to in one span. `sketches` are in the order of `MEASURES`."""

    __slots__ = ("input_tokens", "output_tokens", "requests", "sketches")

    def __init__(
        self, requests: int = 0, input_tokens: int = 0, output_tokens: int = 0, sketches: Sequence[int] = ()
    ) -> None:
        self.requests = requests
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.sketches = list(sketches) or [0] * len(MEASURES)

    def add(self, other: Rollup) -> None:
        """Add what another one holds."""
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.sketches = list(map(add, self.sketches, other.sketches))


Place = tuple[int, int, Series]
"""A span in seconds, its start in Unix seconds, and the series."""


class _Cell:
    """The observations of one series in one minute."""

    __slots__ = (
        "duration",
        "gaps",
        "input_tokens",
        "output",
        "output_tokens",
        "pace",
        "prompt",
        "requests",
        "ttft",
    )

    def __init__(self) -> None:
        self.requests = self.input_tokens = self.output_tokens = 0
        self.ttft: list[float] = []
        self.duration: list[float] = []
        self.pace: list[float] = []
        self.prompt: list[float] = []
        self.output: list[float] = []
        self.gaps: dict[tuple[float, ...], list[tuple[int, ...]]] = {}
        """Histograms by their bounds: batches of several versions may have several."""


class Rolling(Generic[Key]):
    """Counts batches by a key of their minute and series."""

    def __init__(self, key: Callable[[int, Series], Key | None]) -> None:
        """`key` gives what a minute (in Unix seconds) and a series count for; None for nothing."""
        self._key = key
        self._cells: dict[Key, _Cell] = {}
        self._found: dict[tuple[int, tuple[str, ...]], _Cell | None] = {}

    def add(self, batch: Batch, start: int, stop: int) -> None:
        """Count the requests of a batch from `start` to before `stop`, in about a microsecond each."""
        found = self._found
        names = zip(
            batch.tenant[start:stop], batch.key_id[start:stop], batch.model[start:stop],
            batch.target[start:stop], batch.endpoint[start:stop], batch.outcome[start:stop], strict=True,
        )  # fmt: skip
        numbers = zip(
            batch.started_at[start:stop], batch.input_tokens[start:stop], batch.output_tokens[start:stop],
            batch.first_token_s[start:stop], batch.duration_s[start:stop], batch.gap_counts[start:stop],
            batch.gap_sum_s[start:stop], strict=True,
        )  # fmt: skip
        for name, (at, prompt, output, first_s, duration_s, gaps, gap_s) in zip(names, numbers, strict=True):
            place = (int(min(max(0.0, at), _LATEST) // MINUTE_S) * MINUTE_S, name)
            try:
                cell = found[place]
            except KeyError:
                cell = found[place] = self._cell(*place)
            if cell is None:
                continue
            cell.requests += 1
            cell.duration.append(duration_s * _US)
            if first_s > 0:
                cell.ttft.append(first_s * _US)
            if prompt > 0:
                cell.input_tokens += prompt
                cell.prompt.append(prompt)
            if output > 0:
                cell.output_tokens += output
                cell.output.append(output)
            if gaps and (number := sum(gaps)):
                cell.pace.append(gap_s * _US / number)
                cell.gaps.setdefault(batch.gap_bounds, []).append(gaps)

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return len(self._cells)

    def rollups(self, measures: Collection[str] = MEASURES) -> Iterator[tuple[Key, Rollup]]:
        """What was counted, by key; one at a time, as each takes tens of microseconds.

        The sketches are those of `measures`, in the order of `MEASURES`.
        """
        spreads: dict[tuple[float, ...], Spread] = {}
        for key, cell in self._cells.items():
            sketches = [
                self._gaps(cell, spreads) if name == "gap" else sketch(getattr(cell, name))
                for name in MEASURES
                if name in measures
            ]
            yield key, Rollup(cell.requests, cell.input_tokens, cell.output_tokens, sketches)

    def _cell(self, at: int, names: tuple[str, ...]) -> _Cell | None:
        key = self._key(at, Series._make(names))
        return None if key is None else self._cells.setdefault(key, _Cell())

    def _gaps(self, cell: _Cell, spreads: dict[tuple[float, ...], Spread]) -> int:
        merged = 0
        for bounds, histograms in cell.gaps.items():
            spread = spreads.get(bounds)
            if spread is None:
                spread = spreads[bounds] = Spread(bounds, _US)
            merged += spread.sketch([sum(counts) for counts in zip(*histograms, strict=True)])
        return merged


def add_to_spans(totals: dict[Place, Rollup], at: int, series: Series, rollup: Rollup) -> None:
    """Add a minute's roll-up to those of its minute, hour and day."""
    for span_s in SPANS_S:
        place = (span_s, at // span_s * span_s, series)
        total = totals.get(place)
        if total is None:
            total = totals[place] = Rollup()
        total.add(rollup)
