"""Puts the parts of an import together, and takes out what would break a rule."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fairlead.config import rules
from fairlead.config.fault import Fault, Path, route_of
from fairlead.config.litellm.deployments import Deployment, Providers, read_deployment
from fairlead.config.litellm.notes import Notes, Options, Plain
from fairlead.config.litellm.prefixes import implied_variables, wildcard_fault
from fairlead.config.litellm.settings import Fallback, Settings
from fairlead.config.options import (
    Breaker,
    Config,
    Fallbacks,
    Ledger,
    Logs,
    Model,
    Outages,
    Retry,
    Server,
    Target,
    Timeouts,
)
from fairlead.config.parse import path_text

_KINDS = ("any", "context_window", "content_policy", "cost_cap")


class _Group:
    """The deployments of one `model_name`."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.deployments: list[Deployment] = []
        self.fallbacks: dict[str, list[str]] = {}


class Draft:
    """A configuration under construction."""

    def __init__(self, notes: Notes, settings: Settings) -> None:
        self._notes = notes
        self._settings = settings
        self._providers = Providers()
        self._groups: dict[str, _Group] = {}
        self._origins: dict[Path, str] = {}

    def add_deployments(self, value: Plain) -> None:
        """Read `model_list`."""
        base = self._timeouts()
        self._providers.reserve(implied_variables(value))
        if value is not None and not isinstance(value, list):
            self._notes.not_mapped("model_list", "expected a list")
            return
        for index, item in enumerate(value or []):
            entry = Options(f"model_list[{index}]", item, self._notes)
            name = entry.take("model_name")
            if not isinstance(name, str) or not name:
                self._notes.not_mapped(entry.at("model_name"), "expected the name that clients ask for")
                continue
            params = item.get("litellm_params") if isinstance(item, dict) else None
            upstream = params.get("model") if isinstance(params, dict) else None
            if message := wildcard_fault(name, upstream):
                self._notes.not_mapped(entry.path, f"{message}; the deployment is left out")
                continue
            deployment = read_deployment(entry, self._providers, self._notes, base)
            if deployment is not None:
                self._notes.mapped(entry.at("model_name"))
                self._groups.setdefault(name, _Group(entry.path)).deployments.append(deployment)

    def add_routing(self) -> None:
        """Aliases and fallbacks, when all models are known."""
        for alias, (path, model) in self._settings.aliases.items():
            group = self._groups.get(model)
            if group is None or alias in self._groups:
                reason = "this name is a model already" if group else f"no model `{model}` was imported"
                self._notes.not_mapped(path, reason)
                continue
            copy = self._groups[alias] = _Group(path)
            copy.deployments = list(group.deployments)
        for fallback in self._settings.fallbacks:
            if fallback.model is not None:
                self._add_fallback(fallback.model, fallback.kind, fallback.others, fallback.path)
        for fallback in self._settings.fallbacks:
            if fallback.model is None:
                self._add_default(fallback)

    def _add_default(self, fallback: Fallback) -> None:
        """A fallback of every model, where it neither replaces one nor closes a circle."""
        for name, group in self._groups.items():
            if not group.fallbacks.get(fallback.kind) and name not in self._reachable(fallback.others):
                self._add_fallback(name, fallback.kind, fallback.others, fallback.path)

    def _reachable(self, names: Iterable[str]) -> set[str]:
        """Models that these names lead to by fallbacks, themselves included."""
        reached: set[str] = set()
        waiting = list(names)
        while waiting:
            route = route_of(waiting.pop(), self._groups)
            if route is not None and route not in reached:
                reached.add(route)
                for listed in self._groups[route].fallbacks.values():
                    waiting += listed
        return reached

    def _add_fallback(self, model: str, kind: str, others: tuple[str, ...], path: str) -> None:
        group = self._groups.get(model)
        if group is None:
            self._notes.not_mapped(path, f"no model `{model}` was imported")
            return
        listed = group.fallbacks.setdefault(kind, [])
        listed.extend(other for other in others if other not in listed)
        self._origins["models", model, "fallbacks", kind] = path

    def settle(self) -> Config:
        """The configuration, with everything taken out that breaks a rule."""
        for name, group in self._groups.items():
            self._origins["models", name] = group.path
        for name, path in self._providers.origin.items():
            self._origins["providers", name] = path
        config = Config(
            server=self._server(),
            providers=dict(self._providers.by_name),
            models={name: self._model(group) for name, group in self._groups.items()},
            outages=self._outages(),
            logs=Logs(level="debug") if self._settings.debug else Logs(),
            ledger=Ledger(retention_days=self._settings.retention_days)
            if self._settings.retention_days
            else Ledger(),
        )
        while faults := rules.faults(config):
            # From the last to the first, so that indexes stay right.
            for fault in sorted(faults, key=_position, reverse=True):
                self._notes.not_mapped(self._origin(fault.path), f"left out: {fault.message}")
                config = _without(config, fault.path)
        return config

    def _origin(self, path: Path) -> str:
        while path and path not in self._origins:
            path = path[:-1]
        return self._origins.get(path, path_text(path))

    def _model(self, group: _Group) -> Model:
        settings = self._settings
        return Model(
            targets=_targets(group.deployments, settings),
            strategy=settings.strategy,
            fallbacks=Fallbacks(
                any=group.fallbacks.get("any", []),
                context_window=group.fallbacks.get("context_window", []),
                content_policy=group.fallbacks.get("content_policy", []),
            ),
            timeouts=self._timeouts(),
        )

    def _timeouts(self) -> Timeouts:
        whole, stream = self._settings.timeout_s, self._settings.stream_timeout_s
        timeouts = Timeouts()
        if whole is not None:
            timeouts = msgspec.structs.replace(timeouts, headers_s=whole)
        if stream is not None:
            timeouts = msgspec.structs.replace(timeouts, first_token_s=stream, stall_s=stream)
        return timeouts

    def _server(self) -> Server:
        size = self._settings.max_body_bytes
        return Server(max_body_bytes=size) if size is not None else Server()

    def _outages(self) -> Outages:
        settings = self._settings
        breaker, retry = Breaker(enabled=settings.breaker), Retry()
        if settings.allowed_fails is not None:
            breaker = msgspec.structs.replace(breaker, failures=settings.allowed_fails + 1)
        if settings.cooldown_s is not None:
            longest = max(breaker.max_open_s, settings.cooldown_s)
            breaker = msgspec.structs.replace(breaker, open_s=settings.cooldown_s, max_open_s=longest)
        if settings.retries is not None:
            retry = msgspec.structs.replace(retry, max_attempts=min(20, settings.retries + 1))
        if settings.backoff_s is not None:
            longest = max(retry.max_backoff_s, settings.backoff_s)
            retry = msgspec.structs.replace(retry, backoff_s=settings.backoff_s, max_backoff_s=longest)
        return Outages(breaker=breaker, retry=retry)


def _targets(deployments: list[Deployment], settings: Settings) -> list[Target]:
    """The targets of one model; two of the same provider and model become one with both weights."""
    orders = [deployment.order for deployment in deployments if deployment.order is not None]
    ranks = {order: rank for rank, order in enumerate(sorted(set(orders)))}
    shares = _shares(deployments)
    merged: dict[tuple[str, str | None], Target] = {}
    for deployment, share in zip(deployments, shares, strict=True):
        target = deployment.target
        key = (target.provider, target.model)
        # Without an order a deployment comes after those that have one.
        rank = len(ranks) if deployment.order is None else ranks[deployment.order]
        concurrency = target.max_concurrency or settings.max_parallel
        known = merged.get(key)
        if known is None:
            merged[key] = msgspec.structs.replace(
                target, weight=share, priority=rank, max_concurrency=concurrency
            )
        else:
            merged[key] = msgspec.structs.replace(known, weight=known.weight + share)
    return list(merged.values())


def _shares(deployments: list[Deployment]) -> list[float]:
    """LiteLLM's rule: by `weight` where one has it, else by `rpm`, else by `tpm`, else alike."""
    if len(deployments) == 1:
        return [1.0]
    for values in (
        [deployment.weight for deployment in deployments],
        [deployment.rpm for deployment in deployments],
        [deployment.tpm for deployment in deployments],
    ):
        if any(value for value in values):
            return [value or 0.0 for value in values]
    return [1.0] * len(deployments)


def _position(fault: Fault) -> list[tuple[int, str]]:
    return [(step, "") if isinstance(step, int) else (-1, step) for step in fault.path]


def _without(config: Config, path: Path) -> Config:
    """The configuration without the entry that a fault is about."""
    section, name, *rest = path
    assert isinstance(name, str)
    if section == "providers":
        providers = dict(config.providers)
        provider = providers.get(name)
        if provider is not None and len(rest) == 2 and rest[0] == "headers":
            headers = {key: value for key, value in provider.headers.items() if key != rest[1]}
            providers[name] = msgspec.structs.replace(provider, headers=headers)
        else:
            providers.pop(name, None)
        return msgspec.structs.replace(config, providers=providers)
    assert section == "models"
    models = dict(config.models)
    model = models.get(name)
    if model is None:
        return config  # it went with a fault behind this one
    match rest:
        case ["targets", int(index), *_] if len(model.targets) > 1:
            targets = [target for at, target in enumerate(model.targets) if at != index]
            models[name] = msgspec.structs.replace(model, targets=targets)
        case ["fallbacks", str(kind), int(index)]:
            listed: list[str] = getattr(model.fallbacks, kind)
            left = [other for at, other in enumerate(listed) if at != index]
            changed = {each: getattr(model.fallbacks, each) for each in _KINDS} | {kind: left}
            models[name] = msgspec.structs.replace(model, fallbacks=Fallbacks(**changed))
        case _:
            del models[name]
    return msgspec.structs.replace(config, models=models)
