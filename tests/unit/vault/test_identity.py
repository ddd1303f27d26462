"""Tokens of ServiceAccounts: RS256 and ES256, verified strictly, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from fairlead.config.vault_policy_options import VaultIssuer
from fairlead.errors import FairleadError, Forbidden, IdentityUnavailable, Unauthenticated
from fairlead.vault import jwt
from fairlead.vault.identity import MAX_AGE_S, REFRESH_S, ReviewedToken, TokenVerifier, of_key, reviewed
from fairlead.vault.principal import Principal

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ISSUER = VaultIssuer(issuer="https://cluster.test", audience="fairlead-vault", namespaces={"prod": "acme"})
NOW = 10_000.0


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def rsa_jwk(key: rsa.RSAPrivateKey = RSA, **more: Any) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": "r", "n": number(public.n), "e": number(public.e)} | more


def ec_jwk(**more: Any) -> dict[str, Any]:
    public = EC.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "kid": "e",
        "x": number(public.x, 32),
        "y": number(public.y, 32),
    } | more


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys or (rsa_jwk(), ec_jwk()))}).encode()


def claims(**changed: Any) -> dict[str, Any]:
    base = {
        "iss": "https://cluster.test", "sub": "system:serviceaccount:prod:scorer", "aud": ["fairlead-vault"],
        "iat": NOW - 100, "nbf": NOW - 100, "exp": NOW + 500,
        "kubernetes.io": {
            "namespace": "prod", "serviceaccount": {"name": "scorer", "uid": "u-1"},
            "pod": {"name": "scorer-7d", "uid": "u-2"},
        },
    }  # fmt: skip
    return {name: value for name, value in (base | changed).items() if value is not None}


def signed(body: bytes, alg: str = "RS256", **header: Any) -> str:
    head = {"alg": alg, "kid": "e" if alg == "ES256" else "r", "typ": "JWT"} | header
    text = f"{b64(json.dumps({k: v for k, v in head.items() if v is not None}).encode())}.{b64(body)}"
    if alg == "ES256":
        r, s = decode_dss_signature(EC.sign(text.encode(), ec.ECDSA(SHA256())))
        return f"{text}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
    return f"{text}.{b64(RSA.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def token(alg: str = "RS256", **changed: Any) -> str:
    return signed(json.dumps(claims(**changed)).encode(), alg)


class Issuer:
    """Where keys are fetched."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.document = jwks(*keys)
        self.fetched = 0
        self.fails: Exception | None = None
        self.now = NOW

    async def fetch(self) -> bytes:
        self.fetched += 1
        if self.fails:
            raise self.fails
        return self.document

    def verifier(self, options: VaultIssuer = ISSUER) -> TokenVerifier:
        return TokenVerifier(options, self.fetch, lambda: self.now)


def principal(text: str, *keys: dict[str, Any], options: VaultIssuer = ISSUER) -> Principal:
    return asyncio.run(Issuer(*keys).verifier(options).principal(text))


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_a_workload_is_who_its_token_says(alg: str) -> None:
    assert principal(token(alg)) == Principal(
        id="sa:prod/scorer", kind="workload", tenant="acme", workload="pod=scorer-7d uid=u-1"
    )


def test_an_api_key_is_who_the_gateway_says() -> None:
    assert of_key("3f8a01Bc", "acme").id == "key:3f8a01Bc"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://cluster.test/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": []},
        {"aud": None},
        {"exp": NOW - 31},
        {"exp": None},
        {"exp": "never"},
        {"exp": NOW + 8000},
        {"nbf": NOW + 31},
        {"iat": NOW + 31},
        {"iat": None},
        {"sub": "system:serviceaccount:prod:other"},
        {"sub": "system:serviceaccount:prod:scorer:x"},
        {"sub": "admin", "kubernetes.io": None},
        {"kubernetes.io": {"namespace": "dev", "serviceaccount": {"name": "scorer"}}},
        {"kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "../x"}}},
    ],
)
def test_a_claim_that_is_not_right_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        principal(token(**changed))


@pytest.mark.parametrize(
    "changed", [{"exp": NOW - 29, "iat": NOW - 400}, {"nbf": NOW + 29}, {"aud": "fairlead-vault"}]
)
def test_clocks_may_differ_a_little_and_an_audience_may_be_one(changed: dict[str, Any]) -> None:
    assert principal(token(**changed)).id == "sa:prod/scorer"


def test_a_namespace_of_no_tenant_has_no_workloads() -> None:
    elsewhere = {"namespace": "dev", "serviceaccount": {"name": "scorer"}}
    with pytest.raises(Forbidden):
        principal(token(sub="system:serviceaccount:dev:scorer", **{"kubernetes.io": elsewhere}))


def test_no_algorithm_but_those_listed() -> None:
    body = json.dumps(claims()).encode()
    public = jwks(rsa_jwk())
    for alg in ("none", "None", "HS256", "RS512", "PS256", "rs256", "ES256K"):
        with pytest.raises(Unauthenticated):
            principal(signed(body, alg))
    # The old trick: the public key as the secret of a MAC.
    head = b64(json.dumps({"alg": "HS256", "kid": "r"}).encode())
    mac = hmac.new(public, f"{head}.{b64(body)}".encode(), hashlib.sha256).digest()
    with pytest.raises(Unauthenticated):
        principal(f"{head}.{b64(body)}.{b64(mac)}")
    with pytest.raises(Unauthenticated):
        principal(token("RS256").rpartition(".")[0] + ".")
    with pytest.raises(Unauthenticated):
        principal(token("RS256"), options=msgspec.structs.replace(ISSUER, algorithms=["ES256"]))


def test_a_header_brings_no_key_and_no_extension() -> None:
    body = json.dumps(claims()).encode()
    other = rsa.generate_private_key(65537, 2048)
    for header in (
        {"crit": ["exp"]},
        {"b64": False},
        {"crit": None, "b64": True},
        {"typ": "JWE"},
        {"kid": 7},
    ):
        with pytest.raises(Unauthenticated):
            principal(signed(body, **header))
    with pytest.raises(Unauthenticated):
        principal(signed(body, jwk=rsa_jwk(), jku="https://evil.test"), rsa_jwk(other))


@pytest.mark.parametrize(
    "jwk",
    [
        rsa_jwk(use="enc"),
        rsa_jwk(key_ops=["encrypt"]),
        rsa_jwk(alg="RS512"),
        rsa_jwk(kid="other"),
        rsa_jwk(rsa.generate_private_key(65537, 1024)),
        rsa_jwk(n="AA"),
        rsa_jwk(kty="oct", k="AAAA"),
        rsa_jwk(e=None),
    ],
)
def test_a_key_that_is_for_something_else_signs_nothing(jwk: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        principal(token(), jwk)


def test_without_a_kid_there_must_be_one_key() -> None:
    body = json.dumps(claims()).encode()

    assert principal(signed(body, kid=None)).id == "sa:prod/scorer"
    with pytest.raises(Unauthenticated):
        principal(signed(body, kid=None), rsa_jwk(kid="a"), rsa_jwk(kid="b"))


def test_a_member_named_twice_is_refused() -> None:
    body = (
        json.dumps(claims()).replace('"sub":', '"sub": "system:serviceaccount:prod:admin", "sub":').encode()
    )
    with pytest.raises(Unauthenticated):
        principal(signed(body))


TOKENS = {alg: token(alg) for alg in ("RS256", "ES256")}


@given(
    st.sampled_from(["RS256", "ES256"]),
    st.integers(0, 2000),
    st.characters(min_codepoint=1, max_codepoint=200),
)
def test_no_character_of_a_token_can_be_changed(alg: str, at: int, character: str) -> None:
    whole = TOKENS[alg]
    at %= len(whole)
    changed = whole[:at] + character + whole[at + 1 :]
    if changed != whole:
        with pytest.raises(Unauthenticated):
            principal(changed)


@given(st.binary(max_size=80))
def test_what_is_no_key_set_is_a_value_error(raw: bytes) -> None:
    try:
        assert jwt.keys_of(raw) == ()
    except ValueError:
        pass


def test_keys_are_fetched_for_an_unknown_kid_but_not_at_every_turn() -> None:
    async def story() -> None:
        issuer = Issuer(ec_jwk())
        verifier = issuer.verifier()
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                await verifier.principal(token())
        assert issuer.fetched == 1
        issuer.document, issuer.now = jwks(), NOW + 11
        assert (await verifier.principal(token())).tenant == "acme"
        assert issuer.fetched == 2
        issuer.now += REFRESH_S + 1
        issuer.fails = OSError("down")
        assert (await verifier.principal(token())).tenant == "acme", "known keys count for a while"
        issuer.now = NOW + 11 + MAX_AGE_S + 1
        with pytest.raises(IdentityUnavailable):
            await verifier.principal(token(exp=issuer.now + 60, iat=issuer.now))

    asyncio.run(story())


@pytest.mark.parametrize("fails", [OSError("refused"), FairleadError("down"), TimeoutError()])
def test_an_issuer_that_was_never_reached_identifies_nobody(fails: Exception) -> None:
    issuer = Issuer()
    issuer.fails = fails

    with pytest.raises(IdentityUnavailable):
        asyncio.run(issuer.verifier().principal(token()))


def test_what_the_cluster_reviewed_is_believed_for_its_audience() -> None:
    good = ReviewedToken(
        authenticated=True,
        username="system:serviceaccount:prod:scorer",
        uid="u-1",
        audiences=("fairlead-vault",),
    )

    assert reviewed(good, ISSUER).id == "sa:prod/scorer"
    for changed in (
        {"authenticated": False}, {"audiences": ()}, {"audiences": ("other",)}, {"username": "admin"},
        {"username": "system:serviceaccount:prod:scorer\nx"},
    ):  # fmt: skip
        with pytest.raises(Unauthenticated):
            reviewed(msgspec.structs.replace(good, **changed), ISSUER)
    with pytest.raises(Forbidden):
        reviewed(msgspec.structs.replace(good, username="system:serviceaccount:dev:scorer"), ISSUER)
