"""The fairness experiments as rows, as a table and as kept promises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fairlead.limits.simulate import POLICIES, Result, run
from fairlead.limits.simulate_workloads import Workload

PRODUCT: Final = "gateway, tuned"
_REFERENCE: Final = "FCFS"

LEGEND: Final = """\
FCFS is first come, first served. RPM n refuses a client's requests beyond n a minute. VTC, virtual token
counters, serves whoever had the fewest tokens for its weight; LCF is the same without the rule that nobody
saves up service while idle. Those three own the engine's batch. `gateway` is VTC in front of an engine that
it does not own: with a fixed window of half its capacity, with the window tuned from the engine's metrics
(what Fairlead does), and with the window tuned from latency alone, for engines without metrics.

tokens/s   weighted tokens served per second by all: prompt + 2 x answer; in % of first come, first served
least/most thousands of weighted tokens, over weight, of the client served least and of the one served most
ratio      most over least: 1.00 is equal service. Clients that ask for less than their share get what they
           ask for, so there it need not be 1
c1 p50/p99 seconds until the first token of the first client's requests; `>`: longer, not served at the end
c1 lost    its requests that were refused, or had no token half a minute after the end
refused    requests of all clients that were refused
"""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One policy on one workload."""

    workload: str
    policy: str
    service: tuple[float, ...]
    """Weighted tokens of each client within the workload's duration."""
    per_second: float
    of_fcfs: float
    """Throughput over that of first come, first served."""
    ratio: float
    """Most over least service, both over weight."""
    most_difference: float
    """The largest gap of accumulated service, over weight, between any two clients at any time."""
    first_p50_s: float
    first_p99_s: float
    first_served: bool
    """False when the p99 is only a lower bound."""
    first_asked: int
    first_lost: int
    refused: int


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold, and what was found."""

    text: str
    found: str
    kept: bool


def rows(workload: Workload, policies: Iterable[str] = tuple(POLICIES), *, seed: int = 1) -> list[Row]:
    """Run policies on a workload; first come, first served is run in any case."""
    reference = run(workload, POLICIES[_REFERENCE](workload.clients), seed=seed)
    base = sum(reference.moments[-1].service)
    found = []
    for name in policies:
        if name == _REFERENCE:
            result = reference
        else:
            result = run(workload, POLICIES[name](workload.clients), seed=seed)
        found.append(_row(workload, name, result, base))
    return found


def _row(workload: Workload, policy: str, result: Result, base: float) -> Row:
    weights = [client.weight for client in workload.clients]
    service = result.moments[-1].service
    shares = _shares(service, weights)
    first = [job for job in result.jobs if job.arrival.client == 0]
    admitted = [job for job in first if not job.refused]
    waits = sorted(
        (job.first_token_at if job.first_token_at is not None else result.ended_at) - job.arrival.at_s
        for job in admitted
    )
    p99 = _rank(waits, 0.99)
    late = [result.ended_at - job.arrival.at_s for job in admitted if job.first_token_at is None]
    return Row(
        workload=workload.name,
        policy=policy,
        service=service,
        per_second=sum(service) / workload.duration_s,
        of_fcfs=sum(service) / base,
        ratio=max(shares) / max(min(shares), 1.0),
        most_difference=max(
            max(there) - min(there)
            for there in (_shares(moment.service, weights) for moment in result.moments)
        ),
        first_p50_s=_rank(waits, 0.5),
        first_p99_s=p99,
        first_served=not late or min(late) > p99,
        first_asked=len(first),
        first_lost=len(first) - len(admitted) + len(late),
        refused=sum(job.refused for job in result.jobs),
    )


def _shares(service: Sequence[float], weights: Sequence[float]) -> list[float]:
    return [served / weight for served, weight in zip(service, weights, strict=True)]


def _rank(ordered: Sequence[float], part: float) -> float:
    """The nearest-rank quantile; 0.0 of nothing."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def table(workload: Workload, found: Sequence[Row]) -> str:
    """Rows of one workload as text."""
    sends = ", ".join(
        f"{client.name} {client.pattern}" + (f" (weight {client.weight:g})" if client.weight != 1 else "")
        for client in workload.clients
    )
    head = ("policy", "tokens/s", "", "least", "most", "ratio", "c1 p50", "c1 p99", "c1 lost", "refused")
    lines = [head]
    for row in found:
        shares = _shares(row.service, [client.weight for client in workload.clients])
        lines.append(
            (
                row.policy,
                f"{row.per_second:,.0f}",
                f"{row.of_fcfs:.1%}",
                f"{min(shares) / 1000:,.1f}",
                f"{max(shares) / 1000:,.1f}",
                f"{row.ratio:.2f}",
                f"{row.first_p50_s:.1f}",
                f"{'' if row.first_served else '>'}{row.first_p99_s:.1f}",
                f"{row.first_lost} of {row.first_asked}",
                f"{row.refused:,}",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    body = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    title = f"{workload.name}: {workload.about}"
    return "\n".join([title, f"{workload.duration_s:g} s; {sends}", "", *body, ""])


def promises(found: Iterable[Row]) -> list[Promise]:
    """What the product promises of the workloads that were run."""
    ours = {row.workload: row for row in found if row.policy == PRODUCT}
    kept: list[Promise] = []
    if (row := ours.get("overload")) is not None:
        kept += [
            Promise(
                text="overload: service ratio between the two clients <= 1.05",
                found=f"{row.ratio:.3f}",
                kept=row.ratio <= 1.05,
            ),
            Promise(
                text="overload: throughput >= 99 % of first come, first served",
                found=f"{row.of_fcfs:.1%}",
                kept=row.of_fcfs >= 0.99,
            ),
        ]
    if (row := ours.get("flood")) is not None:
        kept += [
            Promise(
                text="flood: the quiet client's p99 wait <= 7 s",
                found=f"{row.first_p99_s:.1f} s",
                kept=row.first_served and row.first_p99_s <= 7.0,
            ),
            Promise(
                text="flood: the quiet client loses no request",
                found=f"{row.first_lost} of {row.first_asked} lost",
                kept=row.first_lost == 0,
            ),
        ]
    return kept


def verdict(kept: Sequence[Promise]) -> str:
    """Promises as text; empty when none was looked at."""
    if not kept:
        return ""
    lines = [f"  {'kept  ' if one.kept else 'BROKEN'}  {one.text}: {one.found}" for one in kept]
    return "\n".join([f"What `{PRODUCT}` promises:", *lines, ""])
