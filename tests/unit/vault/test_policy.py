"""Who may do what: every operation for every role in every state, against a model of thirty lines."""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.vault_policy_options import VaultAccess, VaultPolicy, VaultRole, VaultWhen
from fairlead.errors import InvalidRequest
from fairlead.vault.approvals import Approval
from fairlead.vault.policy import OPERATIONS, Decision, Policies, Request, State, affected, decide, digest
from fairlead.vault.principal import Principal
from fairlead.vault.ref import Ref, parse_ref

NOW = 1_772_366_400.0  # Sunday, 2026-03-01 12:00 UTC
REF = Ref(tenant="acme", name="fraud/scorer", version="7")


def key(name: str, tenant: str = "acme", person: str = "") -> Principal:
    return Principal(id=f"key:{name}", kind="key", tenant=tenant, person=person)


def workload(name: str, tenant: str = "acme") -> Principal:
    return Principal(id=f"sa:{name}", kind="workload", tenant=tenant)


def policy(*purposes: Any, **more: Any) -> VaultPolicy:
    return VaultPolicy(purposes=list(purposes), tenants=more.pop("tenants", ["acme"]), **more)


PEOPLE = {
    "server": workload("prod/scorer"),
    "trainer": key("trainer"),
    "lab": key("lab"),
    "exporter": key("exporter"),
    "publisher": key("publisher"),
    "admin": key("admin"),
    "owner": key("owner"),
    "barred": key("barred"),
    "stranger": key("stranger"),
    "foreigner": key("foreigner", tenant="other"),
    "guest": key("guest", tenant="other"),
}
ACCESS = VaultAccess(
    roles={"owners": VaultRole(members=["key:owner", "key:barred", "key:foreigner"])},
    policies={
        "serving": policy("serve", principals=["sa:prod/*"], when=VaultWhen(workload=True)),
        "training": policy("train", principals=["key:trainer"]),
        "lab": policy("serve", "train", principals=["key:lab"], unapproved=True),
        "exporting": policy("export", principals=["key:exporter"]),
        "publishing": policy("publish", principals=["key:publisher"]),
        "admins": policy("admin", principals=["key:admin"]),
        "owners": policy("serve", "train", "export", "publish", "admin", roles=["owners"]),
        "no-barred": policy("export", "admin", principals=["key:barred"], effect="deny"),
        "guests": policy("serve", principals=["key:guest"], across_tenants=True),
        "elsewhere": policy("admin", principals=["tenant:acme"], tenants=["other"]),
    },
)
POLICIES = Policies(ACCESS)
STATES = [
    State(exists=exists, approved=approved, quarantined=quarantined, shredded=shredded, digest="d")
    for exists, approved, quarantined, shredded in itertools.product((True, False), repeat=4)
]

# --- the model: what the table in docs/vault-access.md says, as sets --------------------------------

MAY = {
    "server": {"serve"},
    "trainer": {"train"},
    "lab": {"serve", "train"},
    "exporter": {"export"},
    "publisher": {"publish"},
    "admin": {"admin"},
    "owner": {"serve", "train", "export", "publish", "admin"},
    "barred": {"serve", "train", "publish"},
    "guest": {"serve"},
}
RELEASES = {"serve", "train", "export"}
SAME = {"serve", "train", "export", "publish"}
UNBOUND = {"revoke", "audit", "policy"}


def model(operation: str, who: str, state: State, approver: str | None) -> bool:
    mine = MAY.get(who, set())
    if operation == "show":
        return bool(mine) and state.exists
    if (operation if operation in SAME else "admin") not in mine:
        return False
    if operation == "publish":
        return not state.exists
    if operation not in UNBOUND and not state.exists:
        return False
    if operation in RELEASES:
        if state.quarantined or state.shredded:
            return False
        if not state.approved and who != "lab":
            return False
    if operation in {"export", "policy"}:
        return approver is not None and approver != who and "admin" in MAY.get(approver, set())
    return True


# ----------------------------------------------------------------------------------------------------


def approval(operation: str, target: str, by: Principal, requester: str, **more: Any) -> Approval:
    facts: dict[str, Any] = {
        "id": "a1", "by": by, "requester": requester, "operation": operation, "target": target, "digest": "d",
        "made_at": NOW - 10, "expires_at": NOW + 10,
    }  # fmt: skip
    return Approval(**(facts | more))


def request(operation: Any, who: Principal, approvals: tuple[Approval, ...] = (), ref: Ref = REF) -> Request:
    if OPERATIONS[operation].whole_tenant:
        return Request(principal=who, operation=operation, tenant=ref.tenant, approvals=approvals)
    return Request(principal=who, operation=operation, ref=ref, approvals=approvals)


def test_the_matrix_is_the_models() -> None:
    count = allowed = 0
    approvers: list[str | None] = [None, *PEOPLE]
    for operation, (who, principal), state in itertools.product(OPERATIONS, PEOPLE.items(), STATES):
        for approver in approvers if OPERATIONS[operation].second_person else [None]:
            asked = request(operation, principal)
            if approver is not None:
                given_by = approval(operation, asked.target, PEOPLE[approver], principal.id)
                asked = request(operation, principal, (given_by,))
            decision = decide(asked, POLICIES, state, NOW)
            expected = model(operation, who, state, approver)
            assert decision.allowed == expected, (operation, who, state, approver, decision)
            assert decision.rule
            assert decision.allowed or decision.reasons
            assert (decision.approvals == ("a1",)) == (expected and OPERATIONS[operation].second_person)
            count, allowed = count + 1, allowed + expected
    assert count > 4000
    assert 200 < allowed < count / 2


def test_without_policies_nobody_may_do_anything() -> None:
    for operation, principal, state in itertools.product(OPERATIONS, PEOPLE.values(), STATES):
        assert not decide(request(operation, principal), Policies(VaultAccess()), state, NOW).allowed


def test_a_stranger_cannot_tell_what_exists() -> None:
    for operation in OPERATIONS:
        asked = request(operation, PEOPLE["stranger"])
        said = {str(decide(asked, POLICIES, state, NOW).refusal(asked)) for state in STATES}
        assert len(said) == 1, operation


def test_who_may_know_is_told_why() -> None:
    asked = request("serve", PEOPLE["server"])

    for state, why in (
        (State(exists=True, approved=False), "nobody has approved"),
        (State(exists=True, approved=True, quarantined=True), "quarantined"),
        (State(exists=True, approved=True, shredded=True), "shredded"),
    ):
        assert why in str(decide(asked, POLICIES, state, NOW).refusal(asked))


@pytest.mark.parametrize("order", [1, -1])
def test_a_denial_wins_wherever_it_stands(order: int) -> None:
    rules = {
        "yes": policy("serve", principals=["*"]),
        "no": policy("serve", principals=["sa:prod/scorer"], effect="deny", models=["fraud/*"]),
    }
    policies = Policies(VaultAccess(policies=dict(list(rules.items())[::order])))
    ready = State(approved=True)

    assert decide(request("serve", PEOPLE["server"]), policies, ready, NOW).rule == "no"
    other = Ref(tenant="acme", name="spam/scorer", version="7")
    assert decide(request("serve", PEOPLE["server"], ref=other), policies, ready, NOW).rule == "yes"
    assert decide(request("serve", PEOPLE["trainer"]), policies, ready, NOW).rule == "yes"


def test_a_denial_of_anything_denies_what_concerns_everything() -> None:
    rules = {"yes": policy("admin", principals=["key:admin"])}
    narrow = {"no": policy("admin", principals=["key:admin"], effect="deny", models=["secret/**"])}
    some = {"yes": policy("admin", principals=["key:admin"], models=["fraud/**"])}
    asked = request("audit", PEOPLE["admin"])

    assert decide(asked, Policies(VaultAccess(policies=rules)), State(), NOW).allowed
    assert not decide(asked, Policies(VaultAccess(policies=rules | narrow)), State(), NOW).allowed
    assert not decide(asked, Policies(VaultAccess(policies=some)), State(), NOW).allowed


TRICKS = [
    "vault://acme/fraud/../secret/model@7", "vault://acme/fraud/%2e%2e/secret@7", "vault://acme/fraud%2fscorer@7",
    "vault://acme/Fraud/scorer@7", "vault://acme/fraud/scorer.@7", "vault://acme/fraud/scorer/@7",
    "vault://acme/fraud//scorer@7", "vault://acme/./fraud/scorer@7", "vault://acme/fraud/scorer@7#8",
    "vault://acme/fraud/scorer#@7", "vault://acme/fraud/scorer@7?x", "vault://acme/fraud/sc\u00f6rer@7",
    unicodedata.normalize("NFD", "vault://acme/fraud/sc\u00f6rer@7"), "vault://acme/fraud/\uff53corer@7",
    "vault://acme\\fraud/scorer@7", "vault://acme/fraud/scorer@7\n", "vault://acme/fraud/scorer@7\0",
    "vault://acme/fraud/scorer@", "vault://acme/fraud/*@7", "vault://acme/**@*", "VAULT://acme/fraud/scorer@7",
    "vault://acme/fraud/scorer@7@8", "vault://acme/ fraud/scorer@7", "vault:///fraud/scorer@7",
]  # fmt: skip


@pytest.mark.parametrize("text", TRICKS)
def test_a_path_trick_never_becomes_a_request(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_ref(text)


@given(
    st.text(alphabet="fraudscoe/.%2@#*A\u00e9e\u0301\\ ", max_size=30),
    st.sampled_from(["7", "*", "7.", "7#"]),
)
def test_only_the_exact_name_is_matched(name: str, version: str) -> None:
    policies = Policies(
        VaultAccess(
            policies={"one": policy("serve", principals=["*"], models=["fraud/scorer"], versions=["7"])}
        )
    )
    try:
        ref = parse_ref(f"vault://acme/{name}@{version}")
    except InvalidRequest:
        return
    allowed = decide(request("serve", PEOPLE["server"], ref=ref), policies, State(approved=True), NOW).allowed

    assert allowed == (ref == REF)


@pytest.mark.parametrize(
    "name",
    ["Fraud", "fraud/", "/fraud", "a//b", "..", "a..b", "a.", "**/a", "a**", "a*b*", "ä", "%2e", "", "a b"],
)
def test_a_pattern_that_no_name_can_match_is_an_error(name: str) -> None:
    with pytest.raises(InvalidRequest):
        Policies(VaultAccess(policies={"one": policy("serve", principals=["*"], models=[name])}))


@pytest.mark.parametrize(
    ("when", "now", "holds"),
    [
        (VaultWhen(not_before="2026-03-01T12:00:00Z"), NOW, True),
        (VaultWhen(not_before="2026-03-01T12:00:01Z"), NOW, False),
        (VaultWhen(not_after="2026-03-01T12:00:00Z"), NOW, False),
        (VaultWhen(not_after="2026-03-01T13:00:01+01:00"), NOW, True),
        (VaultWhen(days=["sun"]), NOW, True),
        (VaultWhen(days=["sat", "mon"]), NOW, False),
        (VaultWhen(hours="12:00-12:01"), NOW, True),
        (VaultWhen(hours="08:00-12:00"), NOW, False),
        (VaultWhen(hours="22:00-12:01"), NOW, True),
        (VaultWhen(hours="22:00-12:00"), NOW, False),
        (VaultWhen(workload=True), NOW, False),
    ],
)
def test_conditions_hold_or_do_not(when: VaultWhen, now: float, holds: bool) -> None:
    allow = Policies(VaultAccess(policies={"p": policy("serve", principals=["*"], when=when)}))
    deny = Policies(
        VaultAccess(
            policies={
                "all": policy("serve", principals=["*"]),
                "p": policy("serve", principals=["*"], when=when, effect="deny"),
            }
        )
    )
    asked = request("serve", PEOPLE["trainer"])

    assert decide(asked, allow, State(approved=True), now).allowed is holds
    assert decide(asked, deny, State(approved=True), now).allowed is not holds


@pytest.mark.parametrize(
    "change",
    [
        {"operation": "policy"},
        {"target": "vault://acme/fraud/scorer@8"},
        {"digest": "e"},
        {"digest": ""},
        {"requester": "key:owner"},
        {"by": key("exporter")},
        {"by": key("admin", person="eve")},
        {"by": key("admin", tenant="other")},
        {"by": key("trainer")},
        {"made_at": NOW + 1},
        {"expires_at": NOW},
    ],
)
def test_an_approval_is_for_one_thing_by_another_person_and_ends(change: dict[str, Any]) -> None:
    exporter = key("exporter", person="eve")
    state = State(approved=True, digest="d")
    good = approval("export", str(REF), key("admin", person="bob"), exporter.id)
    bad = msgspec.structs.replace(good, **change)

    def ask(*approvals: Approval) -> Decision:
        return decide(request("export", exporter, approvals), POLICIES, state, NOW)

    assert ask(good).allowed
    assert ask(bad).rule == "second-person"
    assert ask(bad, good).approvals == ("a1",)


def test_an_approval_ends_with_the_right_to_give_it() -> None:
    """The rules are asked at the time of use, not when the approval was given."""
    rules = dict(ACCESS.policies)
    del rules["admins"]
    asked = request(
        "export", PEOPLE["exporter"], (approval("export", str(REF), PEOPLE["admin"], "key:exporter"),)
    )
    state = State(approved=True, digest="d")

    assert decide(asked, POLICIES, state, NOW).allowed
    assert not decide(asked, Policies(VaultAccess(policies=rules, roles=ACCESS.roles)), state, NOW).allowed


def test_an_operation_about_a_tenant_takes_no_version_and_the_other_way_round() -> None:
    for operation in OPERATIONS:
        whole = OPERATIONS[operation].whole_tenant
        wrong = Request(
            principal=PEOPLE["owner"], operation=operation, tenant="acme", ref=REF if whole else None
        )
        assert not decide(wrong, POLICIES, State(approved=True), NOW).allowed


def test_rules_have_a_digest_of_what_they_say() -> None:
    assert POLICIES.digest == digest(ACCESS)
    assert digest(VaultAccess(roles=ACCESS.roles)) != digest(ACCESS)
    assert digest(VaultAccess(policies=ACCESS.policies, roles=ACCESS.roles, grant_ttl_s=10)) == digest(ACCESS)


def test_a_change_affects_the_tenants_of_what_it_changes() -> None:
    def changed(**policies: VaultPolicy | None) -> VaultAccess:
        merged = {name: one for name, one in (ACCESS.policies | policies).items() if one is not None}
        return VaultAccess(roles=ACCESS.roles, policies=merged)

    roles = VaultAccess(roles={"owners": VaultRole(members=["key:x"])}, policies=ACCESS.policies)

    assert affected(ACCESS, ACCESS) == frozenset()
    assert affected(ACCESS, changed(elsewhere=None)) == {"other"}
    assert affected(ACCESS, changed(lab=policy("serve", principals=["*"], tenants=["b"]))) == {"acme", "b"}
    assert affected(ACCESS, roles) == {"acme"}
