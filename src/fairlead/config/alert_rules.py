"""What the types of the section `alerts` cannot say.

Which options a rule's kind and a receiver's type need and take. Pure, as `rules` is.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from fairlead.config import secrets
from fairlead.config.alert_options import AlertReceiver, AlertRule, Alerts
from fairlead.config.fault import Fault, Path
from fairlead.config.kinds import Secret

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
_LABEL: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}\Z")
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}\Z")
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "burn": ("signal",),
    "threshold": ("metric",),
    "trend": ("over_s",),
}
_ONLY_FOR: Final[dict[str, tuple[str, ...]]] = {
    "signal": ("burn",),
    "objective": ("burn",),
    "windows": ("burn",),
    "budget_usd": ("burn",),
    "over_s": ("burn", "trend"),
    "metric": ("threshold", "drift", "cache_bound"),
    "above": ("threshold", "cache_bound"),
    "below": ("threshold",),
}
_RECEIVER_ONLY: Final[dict[str, tuple[str, ...]]] = {
    "hmac_key": ("webhook",),
    "token": ("webhook", "alertmanager"),
    "routing_key": ("pagerduty",),
}
_METADATA_NAMES: Final = frozenset({"metadata.google.internal", "metadata"})


def faults(alerts: Alerts | None, *, metrics: bool = True) -> list[Fault]:
    """Every broken rule of the section; `metrics` says whether requests are counted."""
    if alerts is None:
        return []
    found: list[Fault] = []
    if not metrics:
        blind = "have nothing to look at with `telemetry.metrics: false`"
        found.append(Fault(("alerts",), blind, "leave `telemetry.metrics` out"))
    for name, rule in alerts.rules.items():
        found += _rule(name, rule)
    for name, receiver in alerts.receivers.items():
        found += _receiver(name, receiver)
    for index, label in enumerate(alerts.group_by or ()):
        if not _LABEL.match(label):
            found.append(Fault(("alerts", "group_by", index), "expected the name of a label"))
    if alerts.dashboard_url is not None and (message := _literal_fault(alerts.dashboard_url)):
        found.append(Fault(("alerts", "dashboard_url"), message))
    return found


def address_fault(url: str) -> str | None:
    """Why a notification must not be sent to `url`, without repeating it; None when it may.

    Link-local addresses are where clouds keep the machine's credentials: nothing
    that receives alerts lives there.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "expected a URL; its host or port is not valid"
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return "expected a URL that begins with `http://` or `https://` and names a host"
    if parts.username is not None or parts.password is not None:
        return "a URL must not hold credentials"
    if not url.isascii() or any(char <= " " or char == "\x7f" or char in '"<>\\^`{|}' for char in url):
        return "a URL must not hold spaces or special characters"
    try:
        local = ipaddress.ip_address(host).is_link_local
    except ValueError:
        local = host.rstrip(".").lower() in _METADATA_NAMES
    return "a link-local address receives no alerts" if local else None


def _literal_fault(url: str) -> str | None:
    if "?" in url or "#" in url:
        return "a URL with a query may hold a secret; give the whole URL as `env:NAME` or `file:PATH`"
    return address_fault(url)


def _rule(name: str, rule: AlertRule) -> Iterator[Fault]:
    path: Path = ("alerts", "rules", name)
    if not _NAME.match(name):
        yield Fault(path, "a rule's name is letters, digits, `_` and `-`, at most 63")
    for option in _NEEDS.get(rule.kind, ()):
        if getattr(rule, option) is None:
            yield Fault(path, f"`{option}` is missing; a rule of kind `{rule.kind}` needs it")
    for option, kinds in _ONLY_FOR.items():
        if getattr(rule, option) is not None and rule.kind not in kinds:
            yield Fault((*path, option), f"has no effect on a rule of kind `{rule.kind}`")
    for index, label in enumerate(rule.by or ()):
        if not _LABEL.match(label):
            yield Fault((*path, "by", index), "expected the name of a label")
    for label in rule.match:
        if not _LABEL.match(label):
            yield Fault((*path, "match", label), "expected the name of a label")
    if rule.metric is not None and not _METRIC.match(rule.metric):
        yield Fault((*path, "metric"), "expected the name of a metric")
    if rule.kind == "burn":
        yield from _burn(rule, path)
    if rule.kind == "threshold" and (rule.above is None) == (rule.below is None):
        yield Fault(path, "expected one of `above` and `below`")


def _burn(rule: AlertRule, path: Path) -> Iterator[Fault]:
    latency = rule.signal in ("ttft", "itl")
    if latency and rule.over_s is None:
        yield Fault(path, f"`over_s` is missing; the signal `{rule.signal}` needs it")
    if rule.over_s is not None and not latency:
        yield Fault((*path, "over_s"), f"has no effect on the signal `{rule.signal}`")
    if rule.signal == "cost" and rule.budget_usd is None:
        yield Fault(path, "`budget_usd` is missing; the signal `cost` needs it")
    if rule.budget_usd is not None and rule.signal != "cost":
        yield Fault((*path, "budget_usd"), f"has no effect on the signal `{rule.signal}`")
    if rule.objective is not None and rule.signal in ("cost", "budget"):
        yield Fault((*path, "objective"), f"has no effect on the signal `{rule.signal}`")
    if rule.severity is not None:
        yield Fault((*path, "severity"), "for `burn` each of the `windows` has its own")
    if rule.windows is not None and not rule.windows:
        yield Fault((*path, "windows"), "expected at least one pair", "leave it out for the default")
    for index, pair in enumerate(rule.windows or ()):
        if pair.short_s >= pair.long_s:
            yield Fault((*path, "windows", index), "`short_s` must be less than `long_s`")


def _receiver(name: str, receiver: AlertReceiver) -> Iterator[Fault]:
    path: Path = ("alerts", "receivers", name)
    if not _NAME.match(name):
        yield Fault(path, "a receiver's name is letters, digits, `_` and `-`, at most 63")
    for option, types in _RECEIVER_ONLY.items():
        if getattr(receiver, option) is not None and receiver.type not in types:
            yield Fault((*path, option), f"has no effect on a receiver of type `{receiver.type}`")
    if receiver.type == "pagerduty" and receiver.routing_key is None:
        yield Fault(path, "`routing_key` is missing; PagerDuty needs it")
    url = receiver.url
    if url is None:
        if receiver.type != "pagerduty":
            yield Fault(path, f"`url` is missing; the type `{receiver.type}` has no default")
    elif isinstance(url, Secret):
        if wrong := secrets.fault(url.reference):
            yield Fault((*path, "url"), *wrong)
    elif receiver.type == "slack":
        hint = "write `env:NAME` or `file:PATH`"
        yield Fault((*path, "url"), "whoever knows a Slack webhook's URL may post: it is a secret", hint)
    elif message := _literal_fault(url):
        yield Fault((*path, "url"), message)
