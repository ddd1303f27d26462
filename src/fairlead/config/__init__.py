"""The one configuration file, `fairlead.yaml`.

`options` holds it as frozen structs, which is all that this package exports:
importing it is cheap. The rest is imported by who needs it:

* `parse`: YAML text to `Config`, every problem with its place (`rules`,
  `tenant_rules` and `cache_rules` hold what the types cannot say); `dump`: the way back;
* `fault`: a broken rule, in words;
* `secrets`: references to the values they name;
* `detect`: a `Config` from the environment when there is no file;
* `schema`: JSON Schema for editors and the reference page's rows;
* `litellm`: LiteLLM's proxy configuration to ours;
* `files` and `probe`: the two modules here that touch the world.
"""

from fairlead.config.options import (
    Amount,
    Auth,
    Breaker,
    Budget,
    Cache,
    CacheScope,
    Config,
    Count,
    Fallbacks,
    Fraction,
    Hedge,
    Leases,
    Ledger,
    Limits,
    Logs,
    Model,
    ModelLimits,
    NodeLimits,
    Outages,
    Places,
    PriceOptions,
    Provider,
    ProviderType,
    Quota,
    Rate,
    RedisStore,
    Retry,
    RouteCache,
    Seconds,
    Secret,
    Server,
    ServerTls,
    Share,
    State,
    Storage,
    Target,
    Tenant,
    Timeouts,
    TokenRate,
    UpstreamTls,
)
from fairlead.config.semantic_options import SemanticAudit, SemanticCache, SemanticJudge
from fairlead.config.signal_options import SignalDrift, SignalReasks, Signals

__all__ = [
    "Amount",
    "Auth",
    "Breaker",
    "Budget",
    "Cache",
    "CacheScope",
    "Config",
    "Count",
    "Fallbacks",
    "Fraction",
    "Hedge",
    "Leases",
    "Ledger",
    "Limits",
    "Logs",
    "Model",
    "ModelLimits",
    "NodeLimits",
    "Outages",
    "Places",
    "PriceOptions",
    "Provider",
    "ProviderType",
    "Quota",
    "Rate",
    "RedisStore",
    "Retry",
    "RouteCache",
    "Seconds",
    "Secret",
    "SemanticAudit",
    "SemanticCache",
    "SemanticJudge",
    "Server",
    "ServerTls",
    "Share",
    "SignalDrift",
    "SignalReasks",
    "Signals",
    "State",
    "Storage",
    "Target",
    "Tenant",
    "Timeouts",
    "TokenRate",
    "UpstreamTls",
]
