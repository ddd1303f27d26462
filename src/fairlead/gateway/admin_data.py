"""What the control API takes and gives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fairlead.gateway.explain import Explanation
from fairlead.gateway.keys import DEFAULT_TENANT, ENDPOINTS, Key
from fairlead.gateway.router import Target
from fairlead.telemetry.anatomy import Anatomy
from fairlead.telemetry.billing.report import MOST_REQUESTS, Group
from fairlead.telemetry.gpu.db import Used
from fairlead.types import Outcome, RequestRecord

_MAX_TIME: float = 253_402_300_799.0  # the end of the year 9999, in Unix seconds

Time = Annotated[float, Meta(ge=0, le=_MAX_TIME)]


# What a key's scope may hold is decided by `keys.check`; here it is said as far as a schema can.
# The formats are ours: no regular expression says what is printable, or which range has no stray bits.
_Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=100,
        description="What it is for: printable characters, not blanks alone.",
        extra_json_schema={"format": "printable"},
    ),
]
_Tenant = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Whose it is.")]
_Model = Annotated[str, Meta(min_length=1, max_length=200, extra_json_schema={"format": "model-pattern"})]
_Endpoint = Annotated[str, Meta(extra_json_schema={"enum": list(ENDPOINTS)})]
_Position = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,20})?_[!-~]{0,200}$")]
_IpRange = Annotated[str, Meta(extra_json_schema={"format": "cidr"})]


class KeyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to be made."""

    name: _Name
    tenant: _Tenant = DEFAULT_TENANT
    models: Annotated[
        tuple[_Model, ...],
        Meta(min_length=1, max_length=1000, description="Names and patterns with `*`; no blanks."),
    ] = ("*",)
    endpoints: Annotated[
        tuple[_Endpoint, ...],
        Meta(min_length=1, max_length=1000, description="APIs; `*` is all but `admin`."),
    ] = ("*",)
    ip_ranges: Annotated[
        tuple[_IpRange, ...], Meta(max_length=1000, description="CIDR ranges; empty for anywhere.")
    ] = ()
    expires_at: Annotated[Time | None, Meta(description="Unix seconds, in the future.")] = None


class RotateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key is replaced."""

    grace_s: Annotated[
        float, Meta(ge=0, le=31_536_000, description="Seconds for which the old secret stays valid.")
    ] = 0.0


class TargetBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which target is meant."""

    target: Annotated[str, Meta(min_length=1, description="`provider/model`.")]


class RequestQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which requests to list, newest first."""

    since: Time = 0.0
    until: Time | None = None
    tenant: str | None = None
    key_id: str | None = None
    model: str | None = None
    target: str | None = None
    endpoint: str | None = None
    outcome: Outcome | None = None
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    after: Annotated[_Position | None, Meta(description="`next` of the page before.")] = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How usage is grouped."""

    by: Annotated[
        Group, Meta(description="`request` gives the single requests that cost most, the dearest first.")
    ] = "model"
    since: Time = 0.0
    until: Time | None = None
    tenant: Annotated[str | None, Meta(description="Only of this tenant and its sub-tenants.")] = None
    limit: Annotated[int, Meta(ge=1, le=MOST_REQUESTS, description="How many single requests.")] = 50
    revision: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Costs as of this recomputation; 0 as they were billed. Single requests have their "
            "present cost whatever it says."
        ),
    ] = None


class NoQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """One key. Its secret is shown when it is made, and never again."""

    id: str
    name: str
    prefix: str
    tenant: str
    models: tuple[str, ...]
    endpoints: tuple[str, ...]
    ip_ranges: tuple[str, ...]
    state: Literal["active", "retiring", "revoked", "expired"]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    rotated_from: str | None
    secret: str | None = None


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a target failed last."""

    kind: str
    message: str
    status: int | None


class TargetView(msgspec.Struct, frozen=True, kw_only=True):
    """One target as this worker sees it."""

    target: str
    models: tuple[str, ...]
    """Names that clients ask for."""
    state: Literal["closed", "half_open", "open"]
    admits: bool
    """A request would be sent now."""
    wait_s: float
    in_flight: int
    latency_ms: float
    """Moving average of the time to the first token."""
    weight: float
    priority: int
    times_opened: int
    last_failure: FailureView | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How this worker does."""

    version: str
    started_at: float
    in_flight: int
    recorder_pending: int
    models: tuple[str, ...]


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[KeyView, ...]


class TargetList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[TargetView, ...]


class RequestEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One request in a list."""

    id: str
    started_at: float
    tenant: str
    key_id: str
    model: str
    target: str
    endpoint: str
    outcome: str
    status: int
    input_tokens: int
    output_tokens: int
    first_token_s: float
    duration_s: float
    cost_microusd: int | None
    """In micro-dollars; null where it is not known."""
    cache: str
    """What the cache did: `hit`, `stale`, `miss` or `bypass`; empty when it had no say."""
    saved_tokens: int
    saved_microusd: int | None
    """What the answer from the cache cost when a model gave it; null where it is not known."""


class RequestList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[RequestEntry, ...]
    next: str | None


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one group adds up to."""

    name: str
    requests: int
    failed: int
    refused: int
    client_gone: int
    input_tokens: int
    output_tokens: int
    first_token_mean_s: float | None
    cost_microusd: int
    """In micro-dollars, of the requests whose cost is known."""
    unpriced: int
    """Requests with tokens whose cost is not known: their target has no prices."""
    cache_hits: int
    """Requests that the cache has answered."""
    saved_tokens: int
    saved_microusd: int
    """What those answers cost when a model gave them, as far as that is known."""


class UsageList(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[UsageEntry, ...]


class RequestDetail(msgspec.Struct, frozen=True, kw_only=True):
    data: RequestRecord
    anatomy: Anatomy
    """Where its time went."""
    gpu: Used | None = None
    """What it used of GPUs, once the minutes in which it ran are closed; null when nothing is known."""


class ExplanationView(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request went as it did."""

    data: Explanation


class ConfigView(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration in force; secrets are references."""

    data: dict[str, Any]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """It was done."""

    done: bool = True


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    error: ErrorDetail


def key_view(key: Key, now: float, secret: str | None = None) -> KeyView:
    """A key as it is shown at `now` (Unix seconds)."""
    return KeyView(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        tenant=key.tenant,
        models=key.models,
        endpoints=key.endpoints,
        ip_ranges=key.ip_ranges,
        state=key.state(now),  # type: ignore[arg-type]  # the four states are the literal's
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        rotated_from=key.rotated_from,
        secret=secret,
    )


def target_view(target: Target, models: tuple[str, ...], now: float) -> TargetView:
    """A target as it is at `now` (monotonic seconds)."""
    breaker = target.breaker
    failure = breaker.last_failure
    return TargetView(
        target=target.name,
        models=models,
        state=breaker.state.name.lower(),  # type: ignore[arg-type]  # the enum's names are the literal's
        admits=target.admits(now),
        wait_s=round(breaker.wait_s(now), 3),
        in_flight=target.load_state.in_flight,
        latency_ms=round(target.load_state.latency_s * 1000, 3),
        weight=target.config.weight,
        priority=target.config.priority,
        times_opened=breaker.times_opened,
        last_failure=FailureView(kind=failure.kind.value, message=failure.message, status=failure.status)
        if failure is not None
        else None,
    )
