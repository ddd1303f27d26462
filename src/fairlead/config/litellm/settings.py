"""LiteLLM's `litellm_settings`, `router_settings` and `general_settings`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from fairlead.config.litellm.notes import Notes, Options, Plain

Strategy = Literal["least-loaded", "weighted", "prefix-affinity"]

_BY_LOAD: Final = "becomes `least-loaded`: load is what is in flight, not tokens a minute"
_STRATEGIES: Final[dict[str, tuple[Strategy, str]]] = {
    "simple-shuffle": ("weighted", ""),
    "least-busy": ("least-loaded", ""),
    "latency-based-routing": ("least-loaded", "becomes `least-loaded`: latency and load together"),
    "usage-based-routing": ("least-loaded", _BY_LOAD),
    "usage-based-routing-v2": ("least-loaded", _BY_LOAD),
    "cost-based-routing": ("least-loaded", "becomes `least-loaded`: give dearer targets a higher `priority`"),
}
_LITELLM_REASONS: Final = {
    "drop_params": "what a target cannot carry is refused by name, never dropped",
    "modify_params": "requests are not rewritten to suit a target",
    "cache": "the response cache is not part of this version",
    "cache_params": "the response cache is not part of this version",
    "success_callback": "callbacks are not run; see `/metrics` and the ledger",
    "failure_callback": "callbacks are not run; see `/metrics` and the ledger",
    "callbacks": "callbacks are not run; see `/metrics` and the ledger",
    "service_callbacks": "callbacks are not run; see `/metrics` and the ledger",
    "ssl_verify": "certificates are verified; set `providers.NAME.tls` where they should not be",
    "max_budget": "budgets are not part of this version",
    "budget_duration": "budgets are not part of this version",
    "default_team_settings": "callbacks are not run; see `/metrics` and the ledger",
    "force_ipv4": "IPv6 and IPv4 are both tried (happy eyeballs)",
    "max_fallbacks": "fallbacks end by themselves: they cannot go in a circle",
    "request_timeout": "expected a number of seconds",
    "num_retries": "expected a number",
}
_ROUTER_REASONS: Final = {
    "redis_host": "breakers and load are kept in each process, on purpose",
    "redis_port": "breakers and load are kept in each process, on purpose",
    "redis_password": "breakers and load are kept in each process, on purpose",
    "redis_url": "breakers and load are kept in each process, on purpose",
    "retry_policy": "what is retried follows from the kind of failure",
    "allowed_fails_policy": "what counts as a failure follows from its kind",
    "enable_tag_filtering": "routing by tags is not supported",
    "tag_filtering_match_any": "routing by tags is not supported",
    "provider_budget_config": "budgets are not part of this version",
    "routing_strategy_args": "the strategy has no parameters here",
    "optional_pre_call_checks": "`strategy: prefix-affinity` keeps a prompt's beginning on one target",
    "assistants_config": "the Assistants API is not translated",
}
_GENERAL_REASONS: Final = {
    "master_key": "keys are made by `fairlead keys create` and kept as hashes",
    "database_url": "state is kept in `state.dir`, or in Postgres with `storage.database`",
    "store_model_in_db": "models are in this file only",
    "alerting": "alerts are not part of this version; `/metrics` has what they need",
    "alerting_threshold": "alerts are not part of this version; `/metrics` has what they need",
    "max_parallel_requests": "limits per key are not part of this version",
    "global_max_parallel_requests": "set `max_concurrency` of targets",
    "background_health_checks": "the circuit breaker finds out by real requests and probes",
    "health_check_interval": "the circuit breaker finds out by real requests and probes",
    "custom_auth": "custom code is not run",
    "enable_jwt_auth": "requests are authenticated by API key",
    "litellm_jwtauth": "requests are authenticated by API key",
    "pass_through_endpoints": "only the documented endpoints are proxied",
    "store_prompts_in_spend_logs": "the ledger never holds prompts",
}  # fmt: skip
_FALLBACKS: Final = {
    "fallbacks": "any",
    "context_window_fallbacks": "context_window",
    "content_policy_fallbacks": "content_policy",
}


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """Other models for one model (every model when `model` is None)."""

    path: str
    kind: str
    model: str | None
    others: tuple[str, ...]


class Settings(msgspec.Struct, kw_only=True):
    """What the three sections say, in our terms; None where they say nothing."""

    strategy: Strategy = "weighted"
    retries: int | None = None
    backoff_s: float | None = None
    timeout_s: float | None = None
    stream_timeout_s: float | None = None
    allowed_fails: int | None = None
    cooldown_s: float | None = None
    breaker: bool = True
    max_parallel: int | None = None
    aliases: dict[str, tuple[str, str]] = {}
    """Alias to (path, model)."""
    fallbacks: list[Fallback] = []
    max_body_bytes: int | None = None
    retention_days: int | None = None
    debug: bool = False


def read_settings(root: Options) -> Settings:
    """The three sections, every option of theirs noted."""
    settings = Settings()
    litellm, router = root.section("litellm_settings"), root.section("router_settings")
    # LiteLLM lets the router's own settings win.
    for section in (litellm, router):
        _common(section, settings)
    _litellm(litellm, settings)
    _router(router, settings)
    _general(root.section("general_settings"), settings)
    litellm.finish(_LITELLM_REASONS, "no counterpart")
    router.finish(_ROUTER_REASONS, "no counterpart")
    _variables(root)
    return settings


def _common(section: Options, settings: Settings) -> None:
    """Options that may stand in `litellm_settings` and in `router_settings`."""
    notes = section.notes
    retries = notes.number(section.take("num_retries"))
    if retries is not None and retries >= 0:
        settings.retries = int(retries)
        notes.approximated(
            section.at("num_retries"), "attempts are counted for a whole request, all targets together"
        )
    timeout = _seconds(section, "request_timeout") or _seconds(section, "timeout")
    settings.timeout_s = timeout or settings.timeout_s
    settings.stream_timeout_s = _seconds(section, "stream_timeout") or settings.stream_timeout_s
    fails = notes.number(section.take("allowed_fails"))
    if fails is not None and fails >= 0:
        settings.allowed_fails = int(fails)
        notes.approximated(section.at("allowed_fails"), "failures in a row, not in a minute")
    settings.cooldown_s = _seconds(section, "cooldown_time") or settings.cooldown_s
    for option, kind in _FALLBACKS.items():
        settings.fallbacks.extend(_fallbacks(section, option, kind))
    defaults = section.take("default_fallbacks")
    if (others := _texts(defaults)) is not None:
        path = section.at("default_fallbacks")
        settings.fallbacks.append(Fallback(path=path, kind="any", model=None, others=others))
        notes.approximated(path, "written into each model that has no fallbacks of its own")


def _litellm(section: Options, settings: Settings) -> None:
    notes = section.notes
    for option in ("set_verbose", "debug"):
        if section.take(option) is True:
            settings.debug = True
            notes.approximated(section.at(option), "`logs.level: debug`")
    if section.take("json_logs") is not None:
        notes.mapped(section.at("json_logs"), "logs are always JSON")
    for option in ("turn_off_message_logging", "redact_user_api_key_info", "redact_messages_in_exceptions"):
        if section.take(option) is not None:
            notes.mapped(section.at(option), "bodies and keys are never logged")
    aliases = section.section("model_alias_map")
    for alias in aliases.left():
        _alias(aliases, alias, settings)


def _router(section: Options, settings: Settings) -> None:
    notes = section.notes
    strategy = section.take("routing_strategy")
    if strategy is not None:
        path = section.at("routing_strategy")
        known = _STRATEGIES.get(str(strategy))
        if known is None:
            notes.not_mapped(path, "this strategy has no counterpart; `weighted` is used")
        else:
            settings.strategy = known[0]
            notes.approximated(path, known[1]) if known[1] else notes.mapped(path)
    settings.backoff_s = _seconds(section, "retry_after")
    if section.take("disable_cooldowns") is True:
        settings.breaker = False
        notes.mapped(section.at("disable_cooldowns"))
    if section.take("enable_pre_call_checks") is not None:
        notes.mapped(section.at("enable_pre_call_checks"), "a target's `context_window` is always respected")
    parallel = notes.positive(section.take("default_max_parallel_requests"))
    if parallel is not None:
        settings.max_parallel = max(1, int(parallel))
        notes.approximated(section.at("default_max_parallel_requests"), "counted per worker process")
    aliases = section.section("model_group_alias")
    for alias in aliases.left():
        _alias(aliases, alias, settings)


def _general(section: Options, settings: Settings) -> None:
    notes = section.notes
    size = notes.positive(section.take("max_request_size_mb"))
    if size is not None:
        settings.max_body_bytes = max(1024, int(size * 1024 * 1024))
        notes.mapped(section.at("max_request_size_mb"))
    period = section.take("maximum_spend_logs_retention_period")
    days = re.fullmatch(r"([1-9][0-9]{0,4})d", period) if isinstance(period, str) else None
    if days is not None:
        settings.retention_days = int(days[1])
        notes.mapped(section.at("maximum_spend_logs_retention_period"))
    elif period is not None:
        notes.not_mapped(section.at("maximum_spend_logs_retention_period"), "only whole days can be kept")
    section.finish(_GENERAL_REASONS, "no counterpart")


def _variables(root: Options) -> None:
    section = root.section("environment_variables")
    for name in section.left():
        section.take(name)
        root.notes.not_mapped(
            section.at(name), "values of variables are not copied: set it where the gateway runs"
        )


def _alias(aliases: Options, alias: str, settings: Settings) -> None:
    value = aliases.take(alias)
    model = value.get("model") if isinstance(value, dict) else value
    path = aliases.at(alias)
    if not isinstance(model, str):
        aliases.notes.not_mapped(path, "expected the name of a model")
        return
    settings.aliases[alias] = (path, model)
    if isinstance(value, dict) and value.get("hidden"):
        aliases.notes.approximated(path, "the alias is listed by `/v1/models`")
    else:
        aliases.notes.mapped(path)


def _fallbacks(section: Options, option: str, kind: str) -> Iterator[Fallback]:
    value = section.take(option)
    if value is None:
        return
    for index, entry in enumerate(value if isinstance(value, list) else [value]):
        path = f"{section.at(option)}[{index}]" if isinstance(value, list) else section.at(option)
        if not isinstance(entry, dict):
            section.notes.not_mapped(path, "expected a model's name and a list of others")
            continue
        for model, listed in entry.items():
            others = _texts(listed)
            if others is None:
                section.notes.not_mapped(f"{path}.{model}", "only names of models can be listed")
                continue
            everything = model == "*"
            yield Fallback(
                path=f"{path}.{model}", kind=kind, model=None if everything else model, others=others
            )
            if everything:
                section.notes.approximated(path, "written into each model that has no fallbacks of its own")
            else:
                section.notes.mapped(f"{path}.{model}")


def _texts(value: Plain) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not value:
        return None
    texts = [item for item in value if isinstance(item, str)]
    return tuple(dict.fromkeys(texts)) if len(texts) == len(value) else None


def _seconds(section: Options, option: str) -> float | None:
    notes: Notes = section.notes
    value = section.take(option)
    seconds = notes.positive(value)
    if seconds is not None:
        notes.mapped(section.at(option))
    elif value is not None:
        notes.not_mapped(section.at(option), "expected a number of seconds above 0")
    return seconds
