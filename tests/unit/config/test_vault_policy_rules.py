"""What `vault.access` may not say, and where it says so."""

from __future__ import annotations

import pytest

from fairlead.config import parse
from fairlead.config.vault_policy_options import VaultAccess
from fairlead.config.vault_policy_rules import faults, instant, is_pattern, is_who, minutes
from fairlead.errors import ConfigError

RULE = "{principals: ['*'], purposes: [serve], tenants: [acme]"


def access(text: str) -> VaultAccess:
    return parse.parse(f"vault: {{access: {text}}}", "fairlead.yaml").vault.access


def test_a_whole_section_is_read() -> None:
    read = access(
        "{roles: {team: {members: ['sa:prod/*', 'key:ab12']}}, policies: {serving:"
        " {roles: [team], purposes: [serve, train], tenants: [acme], models: ['fraud/**'],"
        " when: {workload: true, hours: '22:00-06:00', not_after: '2027-01-01T00:00:00Z'}}},"
        " budgets: {'*': {bytes: 1000, rate_bytes_per_s: 10, burst_bytes: 100}},"
        " issuers: {k: {issuer: 'https://k.test', audience: vault, namespaces: {prod: acme}}}}"
    )

    assert list(faults(read)) == []
    assert read.policies["serving"].versions == ["*"]
    assert read.issuers["k"].algorithms == ["RS256", "ES256"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("{roles: {team: {members: ['*']}}}", "vault.access.roles.team.members"),
        ("{roles: {team: {members: ['prod/x']}}}", "vault.access.roles.team.members"),
        ("{policies: {p: {purposes: [serve], tenants: [acme]}}}", "vault.access.policies.p"),
        ("{policies: {p: " + RULE + ", roles: [team]}}}", "vault.access.policies.p.roles"),
        (
            "{policies: {p: {principals: ['sa:x'], purposes: [serve], tenants: [acme]}}}",
            "policies.p.principals",
        ),
        ("{policies: {p: " + RULE + ", models: ['Fraud']}}}", "vault.access.policies.p.models"),
        ("{policies: {p: " + RULE + ", versions: ['a/b']}}}", "vault.access.policies.p.versions"),
        ("{policies: {p: " + RULE + ", versions: ['**']}}}", "vault.access.policies.p.versions"),
        ("{policies: {p: " + RULE + ", effect: deny, unapproved: true}}}", "policies.p.unapproved"),
        ("{policies: {p: " + RULE + ", effect: deny, across_tenants: true}}}", "policies.p.across_tenants"),
        ("{policies: {p: " + RULE + ", when: {not_before: tomorrow}}}}", "policies.p.when.not_before"),
        (
            "{policies: {p: " + RULE + ", when: {not_after: '2026-01-01T00:00:00'}}}}",
            "policies.p.when.not_after",
        ),
        (
            "{policies: {p: " + RULE + ", when: {not_before: '2027-01-01T00:00:00Z',"
            " not_after: '2026-01-01T00:00:00Z'}}}}",
            "policies.p.when.not_after",
        ),
        ("{policies: {p: " + RULE + ", when: {hours: '08:00-08:00'}}}}", "policies.p.when.hours"),
        ("{policies: {p: " + RULE + ", when: {hours: '8-18'}}}}", "policies.p.when.hours"),
        ("{policies: {p: {principals: ['*'], purposes: [serve], tenants: ['*']}}}", "policies.p.tenants"),
        ("{policies: {'a b': " + RULE + "}}}", "vault.access.policies"),
        ("{budgets: {'sa:prod/*': {bytes: 1}}}", "vault.access.budgets"),
        ("{budgets: {'*': {bytes: 1, burst_bytes: 1}}}", "burst_bytes"),
        ("{issuers: {k: {issuer: 'http://k', audience: v, namespaces: {prod: acme}}}}", "issuers.k.issuer"),
        (
            "{issuers: {k: {issuer: 'https://k', audience: v, jwks_url: 'http://k', namespaces: {a: acme}}}}",
            "issuers.k.jwks_url",
        ),
        (
            "{issuers: {k: {issuer: 'https://k', audience: v, namespaces: {Prod: acme}}}}",
            "issuers.k.namespaces",
        ),
        (
            "{issuers: {a: {issuer: 'https://k', audience: v, namespaces: {prod: acme}},"
            " b: {issuer: 'https://k', audience: v, namespaces: {dev: other}}}}",
            "vault.access.issuers",
        ),
    ],
)
def test_a_broken_rule_is_named_with_its_place(text: str, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        access(text)

    assert path in str(caught.value)


def test_forms() -> None:
    assert all(map(is_who, ["*", "tenant:acme", "key:a_B-1", "sa:prod/scorer", "sa:prod/*"]))
    assert not any(
        map(is_who, ["", "sa:*", "sa:prod", "sa:Prod/x", "key:", "key:a/b", "tenant:*", "sa:prod/x\n"])
    )
    assert all(map(is_pattern, ["**", "*", "a/**", "a-*/b", "*a"]))
    assert not any(map(is_pattern, ["", "/", "a/", "**/a", "a**", "*a*", "A", "a..", "%2e"]))
    assert instant("1970-01-01T00:00:10Z") == instant("1970-01-01T01:00:10+01:00") == 10.0
    assert instant("1970-01-01") is None
    assert minutes("08:30-23:59") == (510, 1439)
    assert minutes("08:30-24:00") is None
