"""What the control API takes and gives for latencies: percentiles over any window, from roll-ups."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Final, get_args

import msgspec
from msgspec import Meta

from fairlead.gateway.admin_data import Time
from fairlead.storage.ports import Database
from fairlead.telemetry.ledger.percentiles import Field, Measure, Question, ask
from fairlead.telemetry.ledger.sketch import ERROR

_FIELDS: Final = "|".join(get_args(Field))
_MEASURES: Final = "|".join(get_args(Measure))
_PERCENTILE: Final = r"(100|[0-9]{1,2}(\.[0-9]{1,3})?)"


class LatencyQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests, and what of them."""

    since: Time = 0.0
    until: Annotated[Time | None, Meta(description="Not included; now when left out.")] = None
    tenant: Annotated[str | None, Meta(description="Only of this tenant and its sub-tenants.")] = None
    key_id: str | None = None
    model: str | None = None
    target: str | None = None
    endpoint: str | None = None
    outcome: str | None = None
    group_by: Annotated[
        str,
        Meta(pattern=rf"^(({_FIELDS})(,({_FIELDS})){{0,7}})?$", description="Names, separated by commas."),
    ] = ""
    percentiles: Annotated[
        str,
        Meta(
            pattern=rf"^{_PERCENTILE}(,{_PERCENTILE}){{0,9}}$",
            description="Up to ten numbers from 0 to 100, separated by commas.",
        ),
    ] = "50,95,99"
    measures: Annotated[
        str,
        Meta(
            pattern=rf"^({_MEASURES})(,({_MEASURES})){{0,5}}$",
            description="`ttft`, `duration`, `gap` (between tokens) and `pace` (a request's mean gap) in "
            "seconds, `prompt` and `output` in tokens; separated by commas.",
        ),
    ] = "ttft,gap,duration"


class DistributionView(msgspec.Struct, frozen=True, kw_only=True):
    """One measure of a group."""

    count: int
    """Observations: requests that have it, or gaps."""
    percentiles: dict[str, float]
    """By their numbers; seconds or tokens. Empty without observations."""


class LatencyGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that have these names in common."""

    names: dict[str, str]
    requests: int
    input_tokens: int
    output_tokens: int
    measures: dict[str, DistributionView]


class LatencyView(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, for a window on whole minutes, or hours or days where no more is left."""

    since: float
    until: float
    relative_error: float
    """Largest relative error of a percentile. Gaps are known no better than their buckets in `/metrics`."""
    data: tuple[LatencyGroup, ...]


async def latency_view(
    database: Database, query: LatencyQuery, tenants: Collection[str] | None, now: float
) -> LatencyView:
    """Answer a query; `tenants` are those that `query.tenant` stands for.

    Raises:
        InvalidRequest: there are too many groups.
    """
    percentiles = [number.strip() for number in query.percentiles.split(",")]
    answer = await ask(
        database,
        Question(
            since=query.since,
            until=now if query.until is None else query.until,
            tenants=tenants,
            key_id=query.key_id,
            model=query.model,
            target=query.target,
            endpoint=query.endpoint,
            outcome=query.outcome,
            by=msgspec.convert(_words(query.group_by), tuple[Field, ...]),
            percentiles=tuple(map(float, percentiles)),
            measures=msgspec.convert(_words(query.measures), tuple[Measure, ...]),
        ),
    )
    return LatencyView(
        since=answer.since,
        until=answer.until,
        relative_error=ERROR,
        data=tuple(
            LatencyGroup(
                names=group.names,
                requests=group.requests,
                input_tokens=group.input_tokens,
                output_tokens=group.output_tokens,
                measures={
                    name: DistributionView(
                        count=one.count,
                        percentiles=dict(zip(percentiles, one.values, strict=False)),
                    )
                    for name, one in group.measures.items()
                },
            )
            for group in answer.groups
        ),
    )


def _words(text: str) -> list[str]:
    """The words of a list, each once."""
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
