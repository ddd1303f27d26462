"""Who may do what with which version: default deny, explicit deny wins. Pure.

`decide` is handed everything: who asks (verified), for what, a parsed `Ref`,
the rules, what the version's state is, and the time. The order of its
questions is the order of what a caller may learn: whether a rule lets it near
the version at all comes first, and only then what the version is like.

What no rule can allow: reading what is quarantined, shredded or not there,
publishing over a version, exporting or changing rules without a second person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from fairlead.config import vault_policy_rules
from fairlead.config.vault_policy_options import (
    DAYS,
    PURPOSES,
    AccessPurpose,
    VaultAccess,
    VaultPolicy,
)
from fairlead.errors import InvalidRequest, VaultDenied
from fairlead.vault.approvals import Approval, why_not
from fairlead.vault.patterns import Pattern
from fairlead.vault.principal import Principal, matches
from fairlead.vault.ref import Ref

Operation = Literal[
    "show", "serve", "train", "export", "publish", "approve", "quarantine", "revoke", "rotate", "shred",
    "audit", "policy",
]  # fmt: skip


class Needs(msgspec.Struct, frozen=True):
    """What an operation asks for."""

    purposes: tuple[AccessPurpose, ...]
    """A rule for one of them is enough."""
    releases: bool = False
    """Plaintext leaves the vault."""
    exists: bool | None = True
    """The version must be there, must not be there, or neither matters."""
    second_person: bool = False
    whole_tenant: bool = False
    """It is about a tenant and not about one version."""


OPERATIONS: Final[Mapping[Operation, Needs]] = {
    "show": Needs(PURPOSES),
    "serve": Needs(("serve",), releases=True),
    "train": Needs(("train",), releases=True),
    "export": Needs(("export",), releases=True, second_person=True),
    "publish": Needs(("publish",), exists=False),
    "approve": Needs(("admin",)),
    "quarantine": Needs(("admin",)),
    "revoke": Needs(("admin",), exists=None),
    "rotate": Needs(("admin",)),
    "shred": Needs(("admin",)),
    "audit": Needs(("admin",), exists=None, whole_tenant=True),
    "policy": Needs(("admin",), exists=None, second_person=True, whole_tenant=True),
}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of a version."""

    exists: bool = True
    approved: bool = False
    quarantined: bool = False
    shredded: bool = False
    digest: str = ""
    """Its model digest; for a change of rules the digest of the new ones."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for what."""

    principal: Principal
    operation: Operation
    tenant: str = ""
    """For operations on a whole tenant; `ref` has it otherwise."""
    ref: Ref | None = None
    approvals: tuple[Approval, ...] = ()

    @property
    def target(self) -> str:
        """What it is about, as text."""
        return str(self.ref) if self.ref else f"tenant {self.tenant}"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, by which rule and why."""

    allowed: bool
    rule: str
    """The policy that decided; else `default`, or `state` and `second-person` for what no rule can allow."""
    reasons: tuple[str, ...] = ()
    may_know: bool = False
    """A rule lets the principal near: it may be told the reasons, and that the version exists."""
    approvals: tuple[str, ...] = ()
    """Approvals that it rests on. Acting on the decision uses them up."""

    def refusal(self, request: Request) -> VaultDenied:
        """The error for the caller: the same for what is forbidden and what does not exist."""
        asked = f"{request.principal.id} may not {request.operation} {request.target}"
        if self.may_know and self.reasons:
            return VaultDenied(f"{asked}: {self.reasons[0]}")
        return VaultDenied(asked, hint="somebody with `admin` can see why in the audit log")


class _Rule:
    """A policy, taken apart once."""

    __slots__ = (
        "_days",
        "_from",
        "_hours",
        "_models",
        "_tenants",
        "_until",
        "_versions",
        "_who",
        "name",
        "policy",
    )

    def __init__(self, name: str, policy: VaultPolicy, who: tuple[str, ...]) -> None:
        self.name = name
        self.policy = policy
        self._who = who
        self._tenants = frozenset(policy.tenants)
        self._models = tuple(Pattern(text) for text in policy.models)
        self._versions = tuple(Pattern(text) for text in policy.versions)
        when = policy.when
        self._from = vault_policy_rules.instant(when.not_before) if when.not_before else None
        self._until = vault_policy_rules.instant(when.not_after) if when.not_after else None
        self._days = frozenset(DAYS.index(day) for day in when.days)
        self._hours = vault_policy_rules.minutes(when.hours) if when.hours else None

    def covers(self, request: Request, purpose: AccessPurpose) -> bool:
        """Whether it is about this principal, purpose and target."""
        tenant = request.ref.tenant if request.ref else request.tenant
        return (
            tenant in self._tenants
            and purpose in self.policy.purposes
            and any(matches(pattern, request.principal) for pattern in self._who)
            and self._covers_target(request.ref)
        )

    def _covers_target(self, ref: Ref | None) -> bool:
        if ref is None:
            # Only a rule about everything allows what concerns everything; one about anything denies it.
            everything = any(one.is_everything for one in self._models) and "*" in self.policy.versions
            return everything or self.policy.effect == "deny"
        return any(one.matches(ref.name) for one in self._models) and any(
            one.matches(ref.version) for one in self._versions
        )

    def why_not_now(self, principal: Principal, now: float) -> str | None:
        """Which of its conditions does not hold; None when all do."""
        if self.policy.when.workload and principal.kind != "workload":
            return "it is for workloads only"
        if self._from is not None and now < self._from:
            return "it does not hold yet"
        if self._until is not None and now >= self._until:
            return "it does not hold any more"
        time = datetime.fromtimestamp(now, UTC)
        if self._days and time.weekday() not in self._days:
            return "it does not hold on this day"
        if self._hours is not None:
            start, end = self._hours
            minute = time.hour * 60 + time.minute
            within = start <= minute < end if start < end else minute >= start or minute < end
            if not within:
                return "it does not hold at this hour"
        return None


class Policies:
    """All rules, as they are at one time. Immutable: a change makes another."""

    __slots__ = ("digest", "rules")

    def __init__(self, access: VaultAccess) -> None:
        """Raises InvalidRequest for what the configuration would refuse."""
        for fault in vault_policy_rules.faults(access, ()):
            raise InvalidRequest(f"{'.'.join(map(str, fault.path))}: {fault.message}", hint=fault.hint)
        self.rules = tuple(
            _Rule(name, policy, _who(policy, access)) for name, policy in access.policies.items()
        )
        self.digest = digest(access)


def digest(access: VaultAccess) -> str:
    """The SHA-256 of roles and policies, for the audit and for who approves a change of them."""
    parts = {"roles": access.roles, "policies": access.policies}
    text = json.dumps(msgspec.to_builtins(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def affected(old: VaultAccess, new: VaultAccess) -> frozenset[str]:
    """The tenants whose rules are others in `new`, a changed role counting for all who use it."""
    roles = {name for name in {*old.roles, *new.roles} if old.roles.get(name) != new.roles.get(name)}
    found: set[str] = set()
    for name in {*old.policies, *new.policies}:
        before, after = old.policies.get(name), new.policies.get(name)
        for policy in (before, after):
            if policy is not None and (before != after or not roles.isdisjoint(policy.roles)):
                found.update(policy.tenants)
    return frozenset(found)


def decide(request: Request, policies: Policies, state: State, now: float) -> Decision:
    """Decide on one request.

    Args:
        request: who asks for what.
        policies: the rules.
        state: what is true of the version, or what a change of rules would bring.
        now: Unix seconds.
    """
    needs = OPERATIONS[request.operation]
    if (request.ref is None) != needs.whole_tenant or not (request.ref or request.tenant):
        return Decision(allowed=False, rule="default", reasons=("the operation is about something else",))
    ruled = _by_rules(request, policies, needs, state, now)
    if not ruled.allowed:
        return ruled
    wrong = against_state(request.operation, state)
    if wrong:
        return Decision(allowed=False, rule="state", reasons=(wrong,), may_know=True)
    return _with_second_person(request, policies, state, now, ruled) if needs.second_person else ruled


def _by_rules(request: Request, policies: Policies, needs: Needs, state: State, now: float) -> Decision:
    """What the rules alone say: allowed when they allow one of the purposes."""
    decisions = [_for_purpose(request, policies, needs, purpose, state, now) for purpose in needs.purposes]
    allowed = (one for one in decisions if one.allowed)
    # Of several refusals the one that tells most.
    return next(allowed, None) or max(decisions, key=lambda one: (one.may_know, one.rule != "default"))


def _for_purpose(
    request: Request, policies: Policies, needs: Needs, purpose: AccessPurpose, state: State, now: float
) -> Decision:
    """What the rules say of one purpose. Every rule is looked at: one that denies wins over all."""
    allowing: str | None = None
    near = False
    reasons: list[str] = []
    for rule in policies.rules:
        if not rule.covers(request, purpose):
            continue
        why = rule.why_not_now(request.principal, now)
        if rule.policy.effect == "deny":
            if why is None:
                return Decision(allowed=False, rule=rule.name, reasons=(f"`{rule.name}` denies it",))
            continue
        if why is None and not rule.policy.across_tenants and not _same_tenant(request):
            why = "it is for principals of the tenant only"
        elif why is None:
            near = True
            if needs.releases and not state.approved and not rule.policy.unapproved:
                why = "nobody has approved this version"
        if why is None:
            allowing = allowing or rule.name
        else:
            reasons.append(f"`{rule.name}`: {why}")
    if allowing is not None:
        return Decision(allowed=True, rule=allowing, may_know=True)
    told = tuple(reasons[:15]) or ("no policy allows it",)
    return Decision(allowed=False, rule="default", reasons=told, may_know=near)


def _same_tenant(request: Request) -> bool:
    tenant = request.ref.tenant if request.ref else request.tenant
    return request.principal.tenant == tenant


def against_state(operation: Operation, state: State) -> str | None:
    """What stands against an operation whatever the rules say; None when nothing does."""
    needs = OPERATIONS[operation]
    if needs.exists is True and not state.exists:
        return "there is no such version"
    if needs.exists is False and state.exists:
        return "a published version never changes"
    if needs.releases and state.shredded:
        return "the version was shredded"
    if needs.releases and state.quarantined:
        return "the version is quarantined"
    return None


def _with_second_person(
    request: Request, policies: Policies, state: State, now: float, ruled: Decision
) -> Decision:
    """The decision when an approval counts whose giver may, now, do what he approved."""
    reasons = []
    for approval in request.approvals[:15]:
        why = why_not(approval, request.principal, request.operation, request.target, state.digest, now)
        if why is None:
            # Approving is administration, of the same thing and by the same rules.
            asked = Request(principal=approval.by, operation="revoke", ref=request.ref)
            if request.ref is None:
                asked = Request(principal=approval.by, operation="audit", tenant=request.tenant)
            if _by_rules(asked, policies, OPERATIONS[asked.operation], state, now).allowed:
                return msgspec.structs.replace(ruled, approvals=(approval.id,))
            why = f"{approval.by.id} may not approve it"
        reasons.append(f"approval {approval.id[:80]}: {why}")
    needed = f"a second person must approve it: somebody else than {request.principal.id}, with `admin`"
    return Decision(allowed=False, rule="second-person", reasons=(needed, *reasons), may_know=True)


def _who(policy: VaultPolicy, access: VaultAccess) -> tuple[str, ...]:
    return (*policy.principals, *(member for role in policy.roles for member in access.roles[role].members))
