"""The options of who may have what from the vault: roles, policies, budgets, identities of workloads."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

AccessPurpose = Literal["serve", "train", "export", "publish", "admin"]
PURPOSES: Final[tuple[AccessPurpose, ...]] = get_args(AccessPurpose)
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: Final[tuple[Day, ...]] = get_args(Day)
SigningAlgorithm = Literal["RS256", "ES256"]

Hours = Annotated[str, Meta(pattern="^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$")]
Bytes = Annotated[int, Meta(ge=1, le=1 << 50)]
Who = Annotated[str, Meta(min_length=1, max_length=256)]
Pattern = Annotated[str, Meta(min_length=1, max_length=512)]
Name = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every section forbids unknown fields."""


class VaultWhen(_Section, frozen=True, kw_only=True):
    """When a policy holds. All of it must be true."""

    workload: Annotated[
        bool, Meta(description="Only for workloads with a verified identity, not for API keys.")
    ] = False
    not_before: Annotated[
        str | None, Meta(description="From this time on: `2026-03-01T00:00:00Z`, with its zone.")
    ] = None
    not_after: Annotated[str | None, Meta(description="Until this time.")] = None
    days: Annotated[list[Day], Meta(description="Only on these days, in UTC; every day when empty.")] = []
    hours: Annotated[
        Hours | None,
        Meta(description="Only within these hours, in UTC: `08:00-18:00`; they may pass midnight."),
    ] = None


class VaultPolicy(_Section, frozen=True, kw_only=True):
    """One rule. Nothing is allowed that no rule allows; what one rule denies no other allows."""

    effect: Annotated[Literal["allow", "deny"], Meta(description="What it does.")] = "allow"
    roles: Annotated[list[Name], Meta(description="To whom: names under `roles`.")] = []
    principals: Annotated[
        list[Who],
        Meta(
            description="To whom besides: `key:ID`, `sa:NAMESPACE/NAME`, `sa:NAMESPACE/*`, `tenant:NAME` for "
            "everybody of a tenant, or `*`."
        ),
    ] = []
    purposes: Annotated[
        list[AccessPurpose], Meta(min_length=1, description="For what. `admin` does not bring the others.")
    ]
    tenants: Annotated[
        list[Name], Meta(min_length=1, description="Whose models and datasets; names, no patterns.")
    ]
    models: Annotated[
        list[Pattern],
        Meta(
            min_length=1,
            description="Which of them: `fraud/scorer`; `*` stands for a part of one segment, `**` at the "
            "end for all segments that follow.",
        ),
    ] = msgspec.field(default_factory=lambda: ["**"])
    versions: Annotated[
        list[Pattern], Meta(min_length=1, description="Which versions; `*` as in `models`.")
    ] = msgspec.field(default_factory=lambda: ["*"])
    across_tenants: Annotated[
        bool, Meta(description="Allow it to principals of other tenants, and to those of none, too.")
    ] = False
    unapproved: Annotated[bool, Meta(description="Allow it for versions that nobody has approved, too.")] = (
        False
    )
    when: Annotated[VaultWhen, Meta(description="When it holds.")] = VaultWhen()


class VaultRole(_Section, frozen=True, kw_only=True):
    """Principals under one name."""

    members: Annotated[
        list[Who], Meta(min_length=1, description="As in a policy's `principals`, without `*`.")
    ]


class VaultBudget(_Section, frozen=True, kw_only=True):
    """How much plaintext a principal may have."""

    bytes: Annotated[Bytes, Meta(description="Plaintext per window, in bytes. No more is ever released.")]
    window_s: Annotated[
        int,
        Meta(ge=1, le=31_622_400, description="Length of a window; windows begin at multiples of it, UTC."),
    ] = 86_400
    rate_bytes_per_s: Annotated[
        Bytes | None, Meta(description="Bytes a second besides; none when left out.")
    ] = None
    burst_bytes: Annotated[
        Bytes | None,
        Meta(description="What may come at once under `rate_bytes_per_s`; `bytes` when left out."),
    ] = None


class VaultIssuer(_Section, frozen=True, kw_only=True):
    """A cluster, or another issuer of OpenID Connect tokens, whose workloads are believed."""

    issuer: Annotated[
        str,
        Meta(
            pattern="^https://[!-~]{1,500}$", description="Its URL, exactly as its tokens have it in `iss`."
        ),
    ]
    audience: Annotated[
        str, Meta(min_length=1, max_length=256, description="What tokens must be made for: `aud`.")
    ]
    jwks_url: Annotated[
        str | None,
        Meta(description="Where its keys are; by `/.well-known/openid-configuration` when left out."),
    ] = None
    algorithms: Annotated[
        list[SigningAlgorithm], Meta(min_length=1, description="Signatures that are believed.")
    ] = msgspec.field(default_factory=lambda: ["RS256", "ES256"])
    namespaces: Annotated[
        dict[str, Name],
        Meta(
            min_length=1,
            description="Its namespaces, and the tenant whose workloads run there. No others are believed.",
        ),
    ]
    max_lifetime_s: Annotated[
        int, Meta(ge=60, le=86_400, description="A token that is made for longer is refused.")
    ] = 7200
    skew_s: Annotated[int, Meta(ge=0, le=300, description="How far clocks may differ.")] = 30


class VaultAccess(_Section, frozen=True, kw_only=True):
    """Who may have what."""

    roles: Annotated[dict[Name, VaultRole], Meta(description="Principals under one name.")] = {}
    policies: Annotated[
        dict[Name, VaultPolicy], Meta(description="Rules by name. Without any, nobody may do anything.")
    ] = {}
    budgets: Annotated[
        dict[Who, VaultBudget],
        Meta(
            description="Plaintext by principal, or `*` for each that has no entry. Who has neither may have "
            "as much as policies let it."
        ),
    ] = {}
    issuers: Annotated[dict[Name, VaultIssuer], Meta(description="Whose workloads are believed.")] = {}
    grant_ttl_s: Annotated[
        int, Meta(ge=10, le=3600, description="How long a grant opens what it was made for.")
    ] = 300
    approval_ttl_s: Annotated[
        int, Meta(ge=60, le=604_800, description="How long a second person's approval counts.")
    ] = 3600
