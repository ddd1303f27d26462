"""Who asks the vault: an API key or a workload, and the patterns that name them in rules.

    key:ID                  an API key of the gateway
    sa:NAMESPACE/NAME       a Kubernetes service account

A principal is made by `identity` from something that was verified, never from
what a request says of itself. Pure.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from fairlead.config.vault_policy_rules import ACCOUNT, KEY, NAMESPACE
from fairlead.errors import InvalidRequest

_ID: Final = re.compile(rf"{KEY}|sa:{NAMESPACE}/{ACCOUNT}")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, verified.

    Raises:
        InvalidRequest: the id is none of the two forms.
    """

    id: str
    kind: Literal["key", "workload"]
    tenant: str = ""
    """The tenant it belongs to; empty for none."""
    person: str = ""
    """Who is behind it, where that is known: two keys of one person are not two persons."""
    workload: str = ""
    """Pod and uids, for the audit."""

    def __post_init__(self) -> None:
        """Check that the id is of the kind."""
        prefix = "key:" if self.kind == "key" else "sa:"
        if not _ID.fullmatch(self.id) or not self.id.startswith(prefix):
            raise InvalidRequest(f"{self.id[:80]!a} names no principal")

    def is_same_person(self, other: Principal) -> bool:
        """Whether both are, as far as is known, one person."""
        return self.id == other.id or (self.person != "" and self.person == other.person)


def matches(pattern: str, principal: Principal) -> bool:
    """Whether a pattern names this principal."""
    if pattern == "*":
        return True
    if pattern.startswith("tenant:"):
        return principal.tenant != "" and principal.tenant == pattern[len("tenant:") :]
    if pattern.endswith("/*"):
        return principal.id.startswith(pattern[:-1])
    return principal.id == pattern
