"""The metrics of OpenTelemetry's conventions for generative AI, as views of the cells.

Towards upstreams the gateway is a client: `gen_ai.client.*` describe attempts,
by the upstream's model name. Towards its own clients it is the server:
`gen_ai.server.*` describe requests, by the model they asked for. Names, units
and bounds are exactly the conventions'; `telemetry.prometheus` has finer ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from fairlead.telemetry.metrics import histogram
from fairlead.telemetry.metrics.cells import (
    DURATION_BOUNDS_S,
    TTFT_BOUNDS_S,
    AttemptCell,
    AttemptKey,
    Cell,
)
from fairlead.telemetry.metrics.conventions import (
    DURATION_BOUNDS,
    FIRST_TOKEN_BOUNDS,
    PER_TOKEN_BOUNDS,
    TOKEN_BOUNDS,
    Peer,
    model_of,
    operation_name,
    peer_of,
)
from fairlead.telemetry.metrics.samples import Family, Series
from fairlead.types import ITL_BOUNDS_S

_COMMON: Final = (
    "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "server_address", "server_port",
)  # fmt: skip
_Labels = tuple[str, ...]
_Sums = dict[_Labels, tuple[tuple[int, ...], float]]


def families(
    cells: Iterable[Cell], attempts: Mapping[AttemptKey, AttemptCell], peers: Mapping[str, Peer]
) -> Iterator[Family]:
    """Every metric of the conventions, labelled by the configured providers."""
    cells = [cell for cell in cells if cell.key[1]]
    yield from _client(cells, attempts, peers)
    yield from _server(cells, peers)


def _client(
    cells: list[Cell], attempts: Mapping[AttemptKey, AttemptCell], peers: Mapping[str, Peer]
) -> Iterator[Family]:
    sizes: _Sums = {}
    chunks: _Sums = {}
    for cell in cells:
        model, target, endpoint = cell.key[:3]
        labels = _labels(endpoint, target, model_of(target, model), peers)
        for kind, tally in (("input", cell.input_sizes), ("output", cell.output_sizes)):
            if any(tally.counts):
                _add(sizes, (*labels, kind), tally.counts, tally.total)
        if any(cell.itl):
            coarse = histogram.coarsened(ITL_BOUNDS_S, cell.itl, DURATION_BOUNDS)
            _add(chunks, labels, coarse, cell.itl_sum)
    durations: _Sums = {}
    firsts: _Sums = {}
    for (model, target, endpoint, reason), attempt in attempts.items():
        labels = _labels(endpoint, target, model_of(target, model), peers)
        tally = attempt.duration
        _add(durations, (*labels, "" if reason == "ok" else reason), tally.counts, tally.total)
        if any(attempt.first_chunk.counts):
            _add(firsts, labels, attempt.first_chunk.counts, attempt.first_chunk.total)
    yield _family(
        "gen_ai_client_token_usage",
        "Tokens used by a request, as upstreams report them.",
        (*_COMMON, "gen_ai_token_type"),
        TOKEN_BOUNDS,
        sizes,
    )
    yield _family(
        "gen_ai_client_operation_duration_seconds",
        "Duration of a call to an upstream; `error_type` is the kind of failure.",
        (*_COMMON, "error_type"),
        DURATION_BOUNDS,
        durations,
    )
    yield _family(
        "gen_ai_client_operation_time_to_first_chunk_seconds",
        "From calling an upstream to the first chunk of its stream.",
        _COMMON,
        DURATION_BOUNDS,
        firsts,
    )
    yield _family(
        "gen_ai_client_operation_time_per_output_chunk_seconds",
        "Between two chunks of an upstream's stream.",
        _COMMON,
        DURATION_BOUNDS,
        chunks,
    )


def _server(cells: list[Cell], peers: Mapping[str, Peer]) -> Iterator[Family]:
    durations: _Sums = {}
    firsts: _Sums = {}
    per_token: _Sums = {}
    for cell in cells:
        model, target, endpoint, outcome, _ = cell.key
        labels = _labels(endpoint, target, model, peers)
        counts = histogram.coarsened(DURATION_BOUNDS_S, cell.duration.counts, DURATION_BOUNDS)
        _add(durations, (*labels, "" if outcome == "ok" else outcome), counts, cell.duration.total)
        if outcome == "ok" and any(cell.ttft.counts):
            counts = histogram.coarsened(TTFT_BOUNDS_S, cell.ttft.counts, FIRST_TOKEN_BOUNDS)
            _add(firsts, labels, counts, cell.ttft.total)
        if any(cell.per_token.counts):
            _add(per_token, labels, cell.per_token.counts, cell.per_token.total)
    yield _family(
        "gen_ai_server_request_duration_seconds",
        "From a request's arrival to the end of its answer; `error_type` is how it ended.",
        (*_COMMON, "error_type"),
        DURATION_BOUNDS,
        durations,
    )
    yield _family(
        "gen_ai_server_time_to_first_token_seconds",
        "From a streamed request's arrival to its first token, of those that succeeded.",
        _COMMON,
        FIRST_TOKEN_BOUNDS,
        firsts,
    )
    yield _family(
        "gen_ai_server_time_per_output_token_seconds",
        "Mean time of an output token after the first one, of streams that succeeded.",
        _COMMON,
        PER_TOKEN_BOUNDS,
        per_token,
    )


def _labels(endpoint: str, target: str, model: str, peers: Mapping[str, Peer]) -> _Labels:
    peer = peer_of(target, peers)
    port = str(peer.port) if peer.port else ""
    return (operation_name(endpoint), peer.provider, model, peer.address, port)


def _add(sums: _Sums, labels: _Labels, counts: Iterable[int], total: float) -> None:
    before, sum_before = sums.get(labels, ((), 0.0))
    sums[labels] = (histogram.merged(before, tuple(counts)), sum_before + total)


def _family(name: str, text: str, labels: _Labels, bounds: tuple[float, ...], sums: _Sums) -> Family:
    return Family(
        name=name,
        kind="histogram",
        help=text,
        labels=labels,
        bounds=bounds,
        series=tuple(
            Series(labels=found, value=total, counts=counts) for found, (counts, total) in sums.items()
        ),
    )
