"""The options of `fairlead.yaml` as frozen structs.

`fairlead.yaml` is decoded once into `Config`; unknown fields are errors. Each
field has a description, a unit where it has one, and a default: the reference
page and the JSON Schema for editors are generated from here. Secrets are
references (`env:NAME`, `file:PATH`) that do not print.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.config.alert_options import Alerts as Alerts
from fairlead.config.kinds import Amount as Amount
from fairlead.config.kinds import Count as Count
from fairlead.config.kinds import Fraction as Fraction
from fairlead.config.kinds import Seconds as Seconds
from fairlead.config.kinds import Secret as Secret
from fairlead.config.kinds import Share as Share
from fairlead.config.kinds import UpstreamTls as UpstreamTls
from fairlead.config.price_options import PriceOptions as PriceOptions
from fairlead.config.rollup_options import RollupDays as RollupDays
from fairlead.config.semantic_options import SemanticCache as SemanticCache
from fairlead.config.signal_options import Signals as Signals
from fairlead.config.storage_options import Storage as Storage
from fairlead.config.telemetry_options import Telemetry as Telemetry
from fairlead.config.vault_options import Vault as Vault

Quota = Annotated[int, Meta(ge=1, le=1_000_000_000, extra={"hint": "leave it out where there is no limit"})]
"""Requests, tokens or places of one limit."""


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Every section forbids unknown fields."""


class ServerTls(_Section, frozen=True, kw_only=True):
    """Certificate and key that the gateway serves HTTPS with."""

    cert: Annotated[str, Meta(description="PEM file with the certificate chain.")]
    key: Annotated[str, Meta(description="PEM file with the private key.")]
    client_ca: Annotated[
        str | None, Meta(description="PEM file; when set, clients must present a certificate it signed.")
    ] = None


class Server(_Section, frozen=True, kw_only=True):
    """Where and how the gateway listens."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 lets the system choose.")] = (
        8080
    )
    workers: Annotated[int, Meta(ge=1, le=256, description="Worker processes sharing the port.")] = 1
    tls: Annotated[ServerTls | None, Meta(description="Serve HTTPS.")] = None
    max_header_bytes: Annotated[int, Meta(ge=1024, description="Largest header section, in bytes.")] = 65536
    max_body_bytes: Annotated[int, Meta(ge=1024, description="Largest JSON request body, in bytes.")] = (
        33_554_432
    )
    max_upload_bytes: Annotated[
        int, Meta(ge=1024, description="Largest streamed upload (files, audio, batches), in bytes.")
    ] = 536_870_912
    max_connections: Annotated[int, Meta(ge=1, description="Client connections per worker.")] = 10_000
    header_timeout_s: Annotated[Seconds, Meta(description="Time a client has to send a header section.")] = (
        10.0
    )
    body_timeout_s: Annotated[Seconds, Meta(description="Time between two pieces of a request body.")] = 30.0
    idle_timeout_s: Annotated[Seconds, Meta(description="Time a keep-alive connection may idle.")] = 75.0
    drain_s: Annotated[Seconds, Meta(description="Time open requests get to finish on SIGTERM.")] = 30.0
    commit_s: Annotated[
        Seconds,
        Meta(
            description="Seconds to wait for a stream's first token before the 200 is sent with heartbeats; "
            "until then the status can still change."
        ),
    ] = 15.0
    heartbeat_s: Annotated[Seconds, Meta(description="Seconds between heartbeats of a waiting stream.")] = (
        10.0
    )


ProviderType = Literal[
    "openai", "azure", "anthropic", "gemini", "bedrock",
    "vllm", "sglang", "tgi", "llamacpp", "ollama", "openai-compatible", "simulated",
]  # fmt: skip


class Provider(_Section, frozen=True, kw_only=True):
    """One upstream: a provider's API or a self-hosted engine."""

    type: Annotated[ProviderType, Meta(description="The dialect and defaults to use.")]
    base_url: Annotated[
        str | None, Meta(description="URL up to and including the version part; each type has a default.")
    ] = None
    api_key: Annotated[Secret | None, Meta(description="Credential, as `env:NAME` or `file:PATH`.")] = None
    headers: Annotated[dict[str, str | Secret], Meta(description="More headers to send upstream.")] = {}
    api_version: Annotated[
        str | None, Meta(description="API version of Azure (not with a `/openai/v1` URL) or Anthropic.")
    ] = None
    region: Annotated[str | None, Meta(description="AWS region of Bedrock.")] = None
    access_key_id: Annotated[Secret | None, Meta(description="AWS access key id.")] = None
    secret_access_key: Annotated[Secret | None, Meta(description="AWS secret access key.")] = None
    session_token: Annotated[Secret | None, Meta(description="AWS session token.")] = None
    responses_api: Annotated[
        bool | None, Meta(description="The upstream has /responses itself; by type when left out.")
    ] = None
    proxy: Annotated[
        str | None,
        Meta(description="HTTP proxy URL; the HTTP(S)_PROXY variables apply when left out, `none` disables."),
    ] = None
    tls: Annotated[UpstreamTls | None, Meta(description="TLS towards the upstream.")] = None
    connect_timeout_s: Annotated[Seconds, Meta(description="Time for name, TCP and TLS.")] = 5.0
    max_connections: Annotated[int, Meta(ge=1, description="Connections to this upstream, per worker.")] = (
        1000
    )
    idle_timeout_s: Annotated[Seconds, Meta(description="How long an unused connection is kept.")] = 60.0


class Target(_Section, frozen=True, kw_only=True):
    """One place that can answer for a model."""

    provider: Annotated[str, Meta(description="Name of an entry under `providers`.")]
    model: Annotated[
        str | None, Meta(description="The upstream's own model name; the asked one when left out.")
    ] = None
    weight: Annotated[
        float, Meta(ge=0, description="Share among targets of equal priority; 0 drains it.")
    ] = 1.0
    priority: Annotated[
        int, Meta(ge=0, description="Tier; 0 is asked first, higher ones when it is down.")
    ] = 0
    max_concurrency: Annotated[Count | None, Meta(description="Requests in flight, per worker.")] = None
    context_window: Annotated[Count | None, Meta(description="Tokens; longer prompts skip this target.")] = (
        None
    )
    input_usd_per_mtok: Annotated[Amount | None, Meta(description="Price per million input tokens.")] = None
    output_usd_per_mtok: Annotated[Amount | None, Meta(description="Price per million output tokens.")] = None
    cache_read_usd_per_mtok: Annotated[
        Amount | None,
        Meta(
            description="Price per million input tokens read from the provider's cache; as other input when left out."
        ),
    ] = None
    cache_write_usd_per_mtok: Annotated[
        Amount | None,
        Meta(
            description="Price per million input tokens written to the provider's cache; as other input when left out."
        ),
    ] = None
    timeouts: Annotated[Timeouts | None, Meta(description="Overrides of the model's time-outs.")] = None


class Timeouts(_Section, frozen=True, kw_only=True):
    """How long each part of an upstream call may take."""

    headers_s: Annotated[
        Seconds, Meta(description="Until the response headers (whole answer if not streamed).")
    ] = 600.0
    first_token_s: Annotated[
        Seconds, Meta(description="Until a stream's first token; then the next target.")
    ] = 60.0
    stall_s: Annotated[Seconds, Meta(description="Between two events of a stream.")] = 60.0
    total_s: Annotated[Seconds, Meta(description="For the whole request, all attempts included.")] = 1800.0
    min_tokens_per_s: Annotated[
        float, Meta(ge=0, description="Slowest rate accepted before commit; 0 accepts any.")
    ] = 0.0
    commit_tokens: Annotated[
        int, Meta(ge=1, description="Tokens held back before the answer is committed to one target.")
    ] = 1


class Hedge(_Section, frozen=True, kw_only=True):
    """Ask a second target when the first is slow to start. Costs tokens, so it is off by default."""

    after_s: Annotated[Seconds, Meta(description="Ask the second target after this wait for a first token.")]
    max_cost_usd: Annotated[
        float, Meta(ge=0, description="Never hedge a request whose estimated second cost is above this.")
    ] = 0.05
    max_fraction: Annotated[Fraction, Meta(description="Largest share of requests that may be hedged.")] = (
        0.05
    )


class Fallbacks(_Section, frozen=True, kw_only=True):
    """Other models to ask, in order, by what went wrong."""

    any: Annotated[list[str], Meta(description="When every target failed.")] = []
    context_window: Annotated[list[str], Meta(description="When the prompt is too long.")] = []
    content_policy: Annotated[list[str], Meta(description="When the provider's policy refused.")] = []
    cost_cap: Annotated[list[str], Meta(description="When the estimated cost is above `max_cost_usd`.")] = []


class RouteCache(_Section, frozen=True, kw_only=True):
    """Which answers of a model are kept and given again to the same request. `{}` takes the defaults."""

    ttl_s: Annotated[Seconds, Meta(description="How long an answer is given again.")] = 3600.0
    max_temperature: Annotated[
        Amount,
        Meta(description="Requests above it always ask the model; a request that names none counts as 1."),
    ] = 1.0
    max_choices: Annotated[
        Count, Meta(description="Requests for more answers at once (`n`) always ask the model.")
    ] = 1
    tool_calls: Annotated[bool, Meta(description="Keep answers that call tools too.")] = False
    media: Annotated[
        bool,
        Meta(
            description="Keep answers to requests with images, audio or files too; a URL counts, not what it leads to."
        ),
    ] = False
    share_dialects: Annotated[
        bool,
        Meta(
            description="Give the answer of a chat completion to the same request for a message, and the other way round."
        ),
    ] = True
    coalesce: Annotated[
        bool,
        Meta(description="Let the same requests that come at the same time share one call to the model."),
    ] = True
    scope: Annotated[
        str | None,
        Meta(
            description="Entry of `cache.scopes` whose tenants share answers; when left out each has its own."
        ),
    ] = None
    version: Annotated[
        str, Meta(description="Any text; with another one nothing that was kept before is given again.")
    ] = ""
    stale_on_outage_s: Annotated[
        Seconds | None,
        Meta(
            description="How long after `ttl_s` an answer may still be given, flagged, when every target is down; "
            "never when left out."
        ),
    ] = None
    semantic: Annotated[
        SemanticCache | None,
        Meta(description="Give kept answers to the same question in other words, too; off when left out."),
    ] = None


class Model(_Section, frozen=True, kw_only=True):
    """A model name that clients may ask for. A `*` in the name matches the rest."""

    targets: Annotated[list[Target], Meta(min_length=1, description="Where it is served.")]
    strategy: Annotated[
        Literal["least-loaded", "weighted", "prefix-affinity"],
        Meta(description="How a target is chosen among those of one priority."),
    ] = "least-loaded"
    fallbacks: Annotated[Fallbacks, Meta(description="Other models to ask.")] = Fallbacks()
    max_cost_usd: Annotated[Amount | None, Meta(description="Largest estimated cost of one request.")] = None
    timeouts: Annotated[Timeouts, Meta(description="Time-outs of its targets.")] = Timeouts()
    hedge: Annotated[Hedge | None, Meta(description="Hedging; off when left out.")] = None
    max_wait_s: Annotated[
        Seconds, Meta(description="Longest wait for a place at a target whose capacity is taken.")
    ] = 60.0
    continue_cut_streams: Annotated[
        bool,
        Meta(description="Continue a stream that was cut by prefilling what was sent, where a target can."),
    ] = False
    cache: Annotated[RouteCache | None, Meta(description="Keep answers; off when left out.")] = None


class Breaker(_Section, frozen=True, kw_only=True):
    """When a failing target is left alone."""

    enabled: Annotated[bool, Meta(description="Turn the circuit breaker off with false.")] = True
    failures: Annotated[int, Meta(ge=1, description="Consecutive failures that open it.")] = 3
    error_rate: Annotated[Fraction, Meta(description="Share of failures in the window that opens it.")] = 0.5
    window_s: Annotated[Seconds, Meta(description="Length of the window.")] = 30.0
    min_requests: Annotated[int, Meta(ge=1, description="Requests in the window before the rate counts.")] = (
        10
    )
    open_s: Annotated[Seconds, Meta(description="First time open; doubles with each failed probe.")] = 5.0
    max_open_s: Annotated[Seconds, Meta(description="Longest time open.")] = 60.0


class Retry(_Section, frozen=True, kw_only=True):
    """How failed attempts are repeated."""

    max_attempts: Annotated[
        int, Meta(ge=1, le=20, description="Attempts per request, all targets together.")
    ] = 4
    backoff_s: Annotated[Seconds, Meta(description="First pause before asking the same target again.")] = 0.25
    max_backoff_s: Annotated[Seconds, Meta(description="Longest pause.")] = 8.0
    budget: Annotated[Fraction, Meta(description="Retries allowed as a share of requests, gateway-wide.")] = (
        0.2
    )
    min_budget: Annotated[int, Meta(ge=0, description="Retries always allowed, per 10 seconds.")] = 100
    max_retry_after_s: Annotated[
        Seconds,
        Meta(description="Longest upstream `retry-after` to wait for; beyond it the next target is asked."),
    ] = 5.0


class Outages(_Section, frozen=True, kw_only=True):
    """What happens when upstreams fail."""

    breaker: Annotated[Breaker, Meta(description="Circuit breaker of each target.")] = Breaker()
    retry: Annotated[Retry, Meta(description="Retries.")] = Retry()


class State(_Section, frozen=True, kw_only=True):
    """Where state is kept."""

    dir: Annotated[str, Meta(description="Directory of the embedded stores; `~` is expanded.")] = (
        "~/.local/share/fairlead"
    )


class Auth(_Section, frozen=True, kw_only=True):
    """Who may call."""

    required: Annotated[
        bool, Meta(description="Refuse requests without a key. False is for trusted networks.")
    ] = True


class Logs(_Section, frozen=True, kw_only=True):
    """Logging. Bodies and keys are never logged."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe level.")
    ] = "info"
    requests: Annotated[bool, Meta(description="Write one line per request.")] = False


class Ledger(_Section, frozen=True, kw_only=True):
    """The record that is kept of each request."""

    enabled: Annotated[bool, Meta(description="Keep a record of each request in the state store.")] = True
    retention_days: Annotated[int, Meta(ge=1, description="Days a record is kept.")] = 30
    max_pending: Annotated[
        int, Meta(ge=100, description="Records waiting to be written at which new requests get a 503.")
    ] = 200_000
    rollups: Annotated[
        RollupDays, Meta(description="How long roll-ups are kept: percentiles without the records.")
    ] = RollupDays()


class _Limit(_Section, frozen=True, kw_only=True):
    """What every kind of limit has."""

    shadow: Annotated[
        bool, Meta(description="Only count and report what would have been refused; refuse nothing.")
    ] = False
    warn_at: Annotated[
        list[Share], Meta(description="Fractions of the limit at which to warn, once a window each.")
    ] = []
    on_store_failure: Annotated[
        Literal["closed", "bounded"],
        Meta(
            description="When the shared store cannot be asked: refuse, or admit up to `limits.bounded_share` "
            "of the limit, counted by each process for itself."
        ),
    ] = "closed"


class Rate(_Limit, frozen=True, kw_only=True):
    """A rate with its options; a plain number is the same as `{limit: NUMBER}`."""

    limit: Annotated[Quota, Meta(description="How many per minute.")]
    burst: Annotated[
        Quota | None, Meta(description="The most at once after a pause; a whole minute's when left out.")
    ] = None


class TokenRate(Rate, frozen=True, kw_only=True):
    """A rate of tokens with its options; a plain number is the same as `{limit: NUMBER}`."""

    input_weight: Annotated[float, Meta(ge=0, le=1000, description="What one input token counts.")] = 1.0
    output_weight: Annotated[float, Meta(ge=0, le=1000, description="What one output token counts.")] = 1.0


class Places(_Limit, frozen=True, kw_only=True):
    """A number of places with its options; a plain number is the same as `{limit: NUMBER}`."""

    limit: Annotated[Quota, Meta(description="How many at the same time.")]


class Budget(_Limit, frozen=True, kw_only=True):
    """Money that may be spent in a stretch of the calendar."""

    usd: Annotated[
        float,
        Meta(
            gt=0,
            le=1_000_000_000,
            description="The amount.",
            extra={"hint": "leave the budget out where there is no limit"},
        ),
    ]
    per: Annotated[
        Literal["hour", "day", "week", "month"],
        Meta(description="The window: a clock hour, a day, a week from Monday, or a calendar month."),
    ]
    timezone: Annotated[
        str, Meta(description="IANA name of the time zone whose calendar counts, such as `Europe/Berlin`.")
    ] = "UTC"


class ModelLimits(_Section, frozen=True, kw_only=True):
    """Limits of one node for one model."""

    requests_per_minute: Annotated[Quota | Rate | None, Meta(description="Requests that may begin.")] = None
    tokens_per_minute: Annotated[
        Quota | TokenRate | None,
        Meta(description="Tokens, input and output together; reserved first and settled to what was used."),
    ] = None
    concurrent_requests: Annotated[
        Quota | Places | None, Meta(description="Requests under way at the same time.")
    ] = None
    budgets: Annotated[list[Budget], Meta(description="Spending limits, at most one a window.")] = []


class NodeLimits(ModelLimits, frozen=True, kw_only=True):
    """Limits of one node of the tenant tree."""

    models: Annotated[
        dict[str, ModelLimits],
        Meta(description="Limits for one model each, on top; a `*` in the name matches the rest."),
    ] = {}


class Tenant(_Section, frozen=True, kw_only=True):
    """An organisation, team or project. A request must be within the limits of its key, of the key's tenant
    and of every tenant above."""

    parent: Annotated[str | None, Meta(description="The tenant above.")] = None
    weight: Annotated[
        float, Meta(gt=0, le=1_000_000, description="Share of the fair queue, relative to its siblings.")
    ] = 1.0
    priority: Annotated[
        Literal["interactive", "batch"] | None,
        Meta(description="Band of the fair queue; the parent's when left out, at the top `interactive`."),
    ] = None
    limits: Annotated[NodeLimits, Meta(description="Limits of all its keys and sub-tenants together.")] = (
        NodeLimits()
    )
    each_key: Annotated[NodeLimits, Meta(description="Limits of each of its own keys.")] = NodeLimits()
    keys: Annotated[
        dict[str, NodeLimits],
        Meta(description="Limits of one key, by its id or name; what they set replaces `each_key`'s."),
    ] = {}


class RedisStore(_Section, frozen=True, kw_only=True):
    """A Redis or Valkey server that gateways share."""

    url: Annotated[Secret, Meta(description="`redis://` or `rediss://` URL, as `env:NAME` or `file:PATH`.")]
    prefix: Annotated[str, Meta(description="What every key begins with.")] = "fairlead:"
    cluster: Annotated[bool, Meta(description="The URL is of a node of a cluster.")] = False
    timeout_s: Annotated[Seconds, Meta(description="Longest wait for one answer.")] = 0.5


class Leases(_Section, frozen=True, kw_only=True):
    """Slices of the limits that each process holds, so that most requests need no round trip. Together the
    processes may overshoot a limit by at most one slice each."""

    enabled: Annotated[bool, Meta(description="Hold slices.")] = False
    share: Annotated[Share, Meta(description="Size of a slice, of the limit.")] = 0.05
    lifetime_s: Annotated[Seconds, Meta(description="Time after which an unused slice is given back.")] = 1.0


class Limits(_Section, frozen=True, kw_only=True):
    """Where the state of the tenants' limits is kept."""

    store: Annotated[
        Literal["memory", "redis"],
        Meta(
            description="`memory` is for one process and saved in the state store; several processes share `redis`."
        ),
    ] = "memory"
    redis: Annotated[RedisStore | None, Meta(description="The shared store.")] = None
    leases: Annotated[Leases, Meta(description="Local slices of the shared limits.")] = Leases()
    bounded_share: Annotated[
        Share,
        Meta(description="Part of a limit that each process admits alone while the shared store is gone."),
    ] = 0.1
    assumed_output_tokens: Annotated[
        Count,
        Meta(description="Output to reserve when a request names no maximum and nothing was learned yet."),
    ] = 1024
    reservation_slack_s: Annotated[
        Seconds,
        Meta(
            description="How much longer than the longest request a reservation lasts. Budgets are exact over outages of the shared store that are shorter."
        ),
    ] = 60.0


class CacheScope(_Section, frozen=True, kw_only=True):
    """Tenants that may be given each other's answers."""

    tenants: Annotated[
        list[str],
        Meta(min_length=1, description="Their names; `*` is every tenant. Sub-tenants are not meant."),
    ]


class Cache(_Section, frozen=True, kw_only=True):
    """Where answers are kept. Which ones is said by each model: `models.NAME.cache`."""

    max_bytes: Annotated[
        int, Meta(ge=1_048_576, description="Memory for answers, per worker, bookkeeping included.")
    ] = 268_435_456
    max_entry_bytes: Annotated[int, Meta(ge=1024, description="Largest answer that is kept, in bytes.")] = (
        1_048_576
    )
    store: Annotated[
        Literal["disk", "redis", "none"],
        Meta(
            description="What is behind the memory: a file in `state.dir`, a server that gateways share, or nothing."
        ),
    ] = "disk"
    disk_bytes: Annotated[
        int, Meta(ge=1_048_576, description="Size of the answers in the file; what ends soonest is dropped.")
    ] = 2_147_483_648
    redis: Annotated[RedisStore | None, Meta(description="The shared store.")] = None
    lookup_timeout_s: Annotated[
        Seconds, Meta(description="Longest wait for what is behind the memory; then the model is asked.")
    ] = 0.1
    semantic_bytes: Annotated[
        int,
        Meta(ge=1_048_576, description="Memory for questions and their vectors (`semantic`), per worker."),
    ] = 67_108_864
    scopes: Annotated[
        dict[str, CacheScope], Meta(description="Tenants that share answers, by a name of their own.")
    ] = {}


class Config(_Section, frozen=True, kw_only=True):
    """The whole file."""

    server: Annotated[Server, Meta(description="Where and how the gateway listens.")] = Server()
    state: Annotated[State, Meta(description="Where state is kept.")] = State()
    storage: Annotated[Storage, Meta(description="The database that several gateways share.")] = Storage()
    auth: Annotated[Auth, Meta(description="Who may call.")] = Auth()
    providers: Annotated[dict[str, Provider], Meta(description="Upstreams by name.")] = {}
    models: Annotated[dict[str, Model], Meta(description="Routes by model name.")] = {}
    tenants: Annotated[
        dict[str, Tenant], Meta(description="Who shares the gateway, and what each may take; by name.")
    ] = {}
    limits: Annotated[Limits, Meta(description="How limits are kept.")] = Limits()
    cache: Annotated[Cache, Meta(description="Where answers are kept.")] = Cache()
    outages: Annotated[Outages, Meta(description="What happens when upstreams fail.")] = Outages()
    logs: Annotated[Logs, Meta(description="Logging.")] = Logs()
    ledger: Annotated[Ledger, Meta(description="The record of requests.")] = Ledger()
    telemetry: Annotated[Telemetry, Meta(description="What is measured besides requests.")] = Telemetry()
    prices: Annotated[
        PriceOptions, Meta(description="What targets cost that have no prices of their own.")
    ] = PriceOptions()
    signals: Annotated[
        Signals | None,
        Meta(description="Refusals, repetition, validity, language, drift and the like; off when left out."),
    ] = None
    alerts: Annotated[Alerts | None, Meta(description="Rules that page, and whom; off when left out.")] = None
    vault: Annotated[Vault, Meta(description="Encrypted models and datasets.")] = Vault()
