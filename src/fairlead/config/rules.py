"""What the types of the options cannot say.

Names must exist, options must belong to the provider's type, limits must not
contradict each other, a fallback must end somewhere; `tenant_rules` has those
of tenants and limits, `cache_rules` those of the cache. Pure: a `Config` in,
`Fault`s out, in the order of the sections. Whether files, variables and
upstreams exist is left to who uses them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from fairlead.config import (
    alert_rules,
    cache_rules,
    price_rules,
    secrets,
    signal_rules,
    telemetry_rules,
    tenant_rules,
    vault_rules,
)
from fairlead.config.fault import ADD_MODEL, Fault, Path, nearest, route_of
from fairlead.config.options import (
    Config,
    Model,
    Outages,
    Provider,
    Secret,
    Server,
    ServerTls,
    Storage,
    UpstreamTls,
)

_PROVIDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_REGION: Final = re.compile(r"[a-z0-9-]{1,40}\Z")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_OWN_HEADERS: Final = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
        "expect",
    }
)
_SECRET_HEADER: Final = re.compile(r"(^|[-_])(api-?key|key|token|secret|password|authorization|cookie)\Z")
_NEEDS_URL: Final = {
    "openai-compatible": "for example `https://api.example.com/v1`",
    "azure": "for example `https://NAME.openai.azure.com`",
}
_ONLY_FOR: Final = {
    "region": ("bedrock",),
    "access_key_id": ("bedrock",),
    "secret_access_key": ("bedrock",),
    "session_token": ("bedrock",),
    "api_version": ("azure", "anthropic"),
}
_FALLBACK_KINDS: Final = ("any", "context_window", "content_policy", "cost_cap")


def faults(config: Config) -> list[Fault]:
    """Every broken rule of a configuration."""
    found = list(_server(config.server))
    for name, provider in config.providers.items():
        found += _provider(name, provider)
    for name, model in config.models.items():
        found += _model(name, model, config.providers)
    found += _fallbacks(config.models)
    found += _storage(config.storage)
    found += tenant_rules.faults(config)
    found += cache_rules.faults(config)
    found += _outages(config.outages)
    found += telemetry_rules.faults(config, url_fault)
    found += alert_rules.faults(config.alerts, metrics=config.telemetry.metrics)
    found += price_rules.faults(config)
    found += signal_rules.faults(config)
    found += vault_rules.faults(config.vault, url_fault)
    return found


def _storage(storage: Storage) -> Iterator[Fault]:
    if storage.database is not None and (wrong := secrets.fault(storage.database.reference)):
        yield Fault(("storage", "database"), *wrong)


def url_fault(url: str) -> str | None:
    """Why `url` is no address of an API, without repeating it; None when it is one."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "expected a URL; its host or port is not valid"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "expected a URL that begins with `http://` or `https://` and names a host"
    if parts.username is not None or parts.password is not None:
        return "a URL must not hold credentials; use `api_key`"
    if "?" in url or "#" in url:
        return "a URL must have no query (`?`) and no fragment (`#`)"
    if not url.isascii() or any(char <= " " or char == "\x7f" or char in '"<>\\^`{|}' for char in url):
        return "a URL must not hold spaces or special characters"
    return None


def _server(server: Server) -> Iterator[Fault]:
    if not server.host or any(char <= " " for char in server.host):
        yield Fault(("server", "host"), "expected an address or host name")
    if server.tls is not None:
        yield from _tls(server.tls, ("server", "tls"))


def _tls(tls: ServerTls | UpstreamTls, path: Path) -> Iterator[Fault]:
    if (tls.cert is None) != (tls.key is None):
        missing = "key" if tls.key is None else "cert"
        yield Fault(path, f"`cert` and `key` go together; `{missing}` is missing")
    for name in tls.__struct_fields__:
        if getattr(tls, name) == "":
            yield Fault((*path, name), "expected text, got an empty one")


def _provider(name: str, provider: Provider) -> Iterator[Fault]:
    path: Path = ("providers", name)
    if not _PROVIDER_NAME.match(name):
        yield Fault(path, "a provider's name is letters, digits, `.`, `_` and `-`, at most 64")
    if provider.base_url is not None:
        if message := url_fault(provider.base_url):
            yield Fault((*path, "base_url"), message)
    elif provider.type in _NEEDS_URL:
        hint = _NEEDS_URL[provider.type]
        yield Fault(path, f"`base_url` is missing; type `{provider.type}` has no default", hint)
    if provider.type == "azure" and provider.api_version is None and _dated_azure(provider.base_url):
        hint = "or let `base_url` end with `/openai/v1`, Azure's API without versions"
        yield Fault(path, "`api_version` is missing; this Azure URL needs one", hint)
    if provider.type == "bedrock":
        yield from _bedrock(provider, path)
    for option, types in _ONLY_FOR.items():
        if getattr(provider, option) is not None and provider.type not in types:
            meant = " and ".join(f"`{kind}`" for kind in types)
            yield Fault((*path, option), f"has no meaning for type `{provider.type}`, only for {meant}")
    if provider.proxy is not None and provider.proxy != "none" and (message := url_fault(provider.proxy)):
        hint = "put a proxy with credentials in the HTTPS_PROXY variable; `none` disables proxies"
        yield Fault((*path, "proxy"), message.replace("; use `api_key`", ""), hint)
    if provider.tls is not None:
        yield from _tls(provider.tls, (*path, "tls"))
    yield from _headers(provider, (*path, "headers"))
    for secret_path, secret in secrets.references(provider, path):
        if wrong := secrets.fault(secret.reference):
            yield Fault(secret_path, *wrong)


def _dated_azure(base_url: str | None) -> bool:
    return base_url is not None and not base_url.rstrip("/").endswith("/v1")


def _bedrock(provider: Provider, path: Path) -> Iterator[Fault]:
    if provider.region is None:
        yield Fault(path, "`region` is missing; type `bedrock` has no default", "for example `us-east-1`")
    elif not _REGION.match(provider.region):
        yield Fault((*path, "region"), "not the name of a region", "for example `us-east-1`")
    key, secret = provider.access_key_id, provider.secret_access_key
    if (key is None) != (secret is None):
        missing = "access_key_id" if key is None else "secret_access_key"
        yield Fault(path, f"`access_key_id` and `secret_access_key` go together; `{missing}` is missing")
    elif key is None and provider.api_key is None:
        message = "credentials are missing; type `bedrock` needs `api_key`, or both `access_key_id` and"
        yield Fault(path, f"{message} `secret_access_key`")


def _headers(provider: Provider, path: Path) -> Iterator[Fault]:
    seen: set[str] = set()
    for header, value in provider.headers.items():
        lower = header.lower()
        where = (*path, header)
        if not _HEADER_NAME.match(header):
            yield Fault(where, "not a header name")
        elif lower in _OWN_HEADERS:
            yield Fault(where, "this header is the gateway's own and cannot be set")
        elif lower in seen:
            yield Fault(where, "this header is given twice, in different letter case")
        elif isinstance(value, Secret):
            pass
        elif _SECRET_HEADER.search(lower):
            hint = "write `env:NAME` or `file:PATH`; the whole header value belongs in the variable or file"
            yield Fault(where, "a literal secret must not stand in the file", hint)
        elif not value.isprintable() or not value.isascii() or value != value.strip():
            yield Fault(where, "a header's value is printable ASCII without spaces around it")
        seen.add(lower)


def _model(name: str, model: Model, providers: Mapping[str, Provider]) -> Iterator[Fault]:
    path: Path = ("models", name)
    if name.count("*") > 1:
        yield Fault(path, "a model's name has at most one `*`")
    if not name or not name.isprintable() or name != name.strip() or len(name) > 256:
        yield Fault(path, "a model's name is 1 to 256 printable characters without spaces around them")
    seen: dict[tuple[str, str | None], int] = {}
    for index, target in enumerate(model.targets):
        where = (*path, "targets", index)
        if target.provider not in providers:
            hint = nearest(target.provider, providers) or "add it under `providers`"
            yield Fault((*where, "provider"), f"no provider is named `{target.provider}`", hint)
        if target.model is not None and (not target.model.strip() or not target.model.isprintable()):
            yield Fault((*where, "model"), "expected the upstream's name of the model")
        first = seen.setdefault((target.provider, target.model), index)
        if first != index:
            hint = "give one target the sum of the weights"
            yield Fault(where, f"the same provider and model as targets[{first}]", hint)
    if all(target.weight == 0 for target in model.targets):
        yield Fault(
            (*path, "targets"), "every weight is 0, so nothing can answer", "leave `weight` out for 1"
        )
    if model.fallbacks.cost_cap and model.max_cost_usd is None:
        yield Fault((*path, "fallbacks", "cost_cap"), "has no effect without `max_cost_usd`")


def _fallbacks(models: Mapping[str, Model]) -> Iterator[Fault]:
    edges: dict[str, list[tuple[str, Path]]] = {name: [] for name in models}
    for name, model in models.items():
        for kind in _FALLBACK_KINDS:
            listed: list[str] = getattr(model.fallbacks, kind)
            for index, other in enumerate(listed):
                path = ("models", name, "fallbacks", kind, index)
                route = route_of(other, models)
                if route is None:
                    hint = nearest(other, [each for each in models if each != name]) or ADD_MODEL
                    yield Fault(path, f"no model is named `{other}`", hint)
                elif other in listed[:index]:
                    yield Fault(path, f"`{other}` is listed twice")
                elif route == name:
                    yield Fault(path, "a model cannot fall back to itself", "add another target instead")
                else:
                    edges[name].append((route, path))
    yield from _cycles(edges)


def _cycles(edges: Mapping[str, Iterable[tuple[str, Path]]]) -> Iterator[Fault]:
    """One fault for each fallback that leads back to a model already on its way."""
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        # Depth first without recursion: a chain may be as long as the file.
        way = {start: None}
        stack = [iter(edges[start])]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                done.add(way.popitem()[0])
                continue
            route, path = step
            if route in way:
                names = list(way)
                circle = " -> ".join([*names[names.index(route) :], route])
                yield Fault(path, f"fallbacks go round in a circle: {circle}")
            elif route not in done:
                way[route] = None
                stack.append(iter(edges[route]))


def _outages(outages: Outages) -> Iterator[Fault]:
    breaker, retry = outages.breaker, outages.retry
    if breaker.open_s > breaker.max_open_s:
        message = f"{breaker.open_s:g} is more than `max_open_s`, {breaker.max_open_s:g}"
        yield Fault(("outages", "breaker", "open_s"), message)
    if retry.backoff_s > retry.max_backoff_s:
        message = f"{retry.backoff_s:g} is more than `max_backoff_s`, {retry.max_backoff_s:g}"
        yield Fault(("outages", "retry", "backoff_s"), message)
