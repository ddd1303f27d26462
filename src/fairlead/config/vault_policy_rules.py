"""What the types of `vault.access` cannot say: names of principals, patterns, times, and what goes together.

The forms themselves are here, so that the vault reads a rule exactly as the
configuration was checked. Pure, as `rules` is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from fairlead.config.fault import Fault, Path, nearest
from fairlead.config.vault_policy_options import VaultAccess, VaultBudget, VaultIssuer, VaultPolicy, VaultWhen

KEY: Final = r"key:[A-Za-z0-9_-]{1,64}"
NAMESPACE: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
ACCOUNT: Final = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
"""Names of Kubernetes: a DNS label and a DNS subdomain."""
_WHO: Final = re.compile(
    rf"\*|tenant:[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}|{KEY}|sa:{NAMESPACE}/(?:\*|{ACCOUNT})"
)
_ONE: Final = re.compile(rf"\*|{KEY}|sa:{NAMESPACE}/{ACCOUNT}")
_SEGMENT: Final = re.compile(r"[a-z0-9*][a-z0-9._*-]{0,127}")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOURS: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]-(?:[01][0-9]|2[0-3]):[0-5][0-9]")
_URL: Final = re.compile(r"https://[!-~]{1,500}")

WHO_HINT: Final = "write `key:ID`, `sa:NAMESPACE/NAME`, `sa:NAMESPACE/*`, `tenant:NAME` or `*`"
PATTERN_HINT: Final = (
    "names with `*` for a part of a segment, or `**` at the end for all segments that follow"
)
TIME_HINT: Final = "write it with its zone: `2026-03-01T00:00:00Z`"


def is_who(text: str) -> bool:
    """Whether a rule can name principals so."""
    return _WHO.fullmatch(text) is not None


def is_pattern(text: str) -> bool:
    """Whether this is a pattern that some name could match, with stars only where they may stand."""
    segments = text.split("/")
    if segments[-1] == "**":
        segments.pop()
    return all(
        _SEGMENT.fullmatch(segment) and segment.count("*") <= 1 and ".." not in segment and segment[-1] != "."
        for segment in segments
    )


def instant(text: str) -> float | None:
    """Unix seconds of a time with its zone; None when it is no such thing."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.timestamp() if time.tzinfo is not None else None


def minutes(hours: str) -> tuple[int, int] | None:
    """The minutes of the day at which `HH:MM-HH:MM` begins and ends; None when it is no such thing."""
    if not _HOURS.fullmatch(hours):
        return None
    start, _, end = hours.partition("-")
    first, last = (int(text[:2]) * 60 + int(text[3:]) for text in (start, end))
    return (first, last) if first != last else None


def faults(access: VaultAccess, path: Path = ("vault", "access")) -> Iterator[Fault]:
    """Every broken rule of the section."""
    for section in ("roles", "policies", "issuers"):
        yield from _names(getattr(access, section), (*path, section))
    for name, role in access.roles.items():
        for index, member in enumerate(role.members):
            if member == "*":
                yield Fault(
                    (*path, "roles", name, "members", index), "a role cannot have everybody as a member"
                )
            elif not is_who(member):
                yield Fault((*path, "roles", name, "members", index), "this names no principal", WHO_HINT)
    for name, policy in access.policies.items():
        yield from _policy(policy, access, (*path, "policies", name))
    for who, budget in access.budgets.items():
        yield from _budget(who, budget, (*path, "budgets", who))
    for name, issuer in access.issuers.items():
        yield from _issuer(issuer, (*path, "issuers", name))
    issuers = [issuer.issuer for issuer in access.issuers.values()]
    if len(set(issuers)) != len(issuers):
        yield Fault((*path, "issuers"), "two of them have the same `issuer`")


def _names(names: Iterable[str], path: Path) -> Iterator[Fault]:
    for name in names:
        if not _NAME.fullmatch(name):
            yield Fault((*path, name), "a name is letters, digits, `.`, `_` and `-`, at most 63")


def _issuer(issuer: VaultIssuer, path: Path) -> Iterator[Fault]:
    if not _URL.fullmatch(issuer.issuer):
        yield Fault((*path, "issuer"), "expected a URL that begins with `https://`")
    if issuer.jwks_url is not None and not _URL.fullmatch(issuer.jwks_url):
        yield Fault((*path, "jwks_url"), "keys are only believed over `https://`")
    for namespace in issuer.namespaces:
        if not re.fullmatch(NAMESPACE, namespace):
            yield Fault((*path, "namespaces", namespace), "this is no namespace of Kubernetes")
    yield from _names(issuer.namespaces.values(), (*path, "namespaces"))


def _policy(policy: VaultPolicy, access: VaultAccess, path: Path) -> Iterator[Fault]:
    if not policy.roles and not policy.principals:
        yield Fault(path, "this policy is for nobody: it has neither `roles` nor `principals`")
    yield from _names(policy.tenants, (*path, "tenants"))
    for index, role in enumerate(policy.roles):
        if role not in access.roles:
            yield Fault(
                (*path, "roles", index), f"there is no role `{role}`", nearest(role, access.roles) or "add it"
            )
    for index, who in enumerate(policy.principals):
        if not is_who(who):
            yield Fault((*path, "principals", index), "this names no principal", WHO_HINT)
    for index, text in enumerate(policy.models):
        if not is_pattern(text):
            yield Fault((*path, "models", index), "no name can match this", PATTERN_HINT)
    for index, text in enumerate(policy.versions):
        if "/" in text or text == "**" or not is_pattern(text):
            yield Fault((*path, "versions", index), "no version can match this", "`7`, `2026-*` or `*`")
    if policy.effect == "deny":
        for option in ("unapproved", "across_tenants"):
            if getattr(policy, option):
                yield Fault((*path, option), "this only widens what is allowed, and the policy denies")
    yield from _when(policy.when, (*path, "when"))


def _when(when: VaultWhen, path: Path) -> Iterator[Fault]:
    times = {}
    for option in ("not_before", "not_after"):
        text = getattr(when, option)
        if text is None:
            continue
        times[option] = instant(text)
        if times[option] is None:
            yield Fault((*path, option), "expected a time", TIME_HINT)
    start, end = times.get("not_before"), times.get("not_after")
    if start is not None and end is not None and start >= end:
        yield Fault((*path, "not_after"), "this is not after `not_before`")
    if when.hours is not None and minutes(when.hours) is None:
        yield Fault((*path, "hours"), "these are no hours", "`08:00-18:00`; leave it out for the whole day")


def _budget(who: str, budget: VaultBudget, path: Path) -> Iterator[Fault]:
    if not _ONE.fullmatch(who):
        yield Fault(
            path, "a budget is of one principal, or of each with `*`", "`key:ID` or `sa:NAMESPACE/NAME`"
        )
    if budget.burst_bytes is not None and budget.rate_bytes_per_s is None:
        yield Fault((*path, "burst_bytes"), "a burst goes with `rate_bytes_per_s`")
