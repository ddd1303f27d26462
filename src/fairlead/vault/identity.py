"""Who asks: from an API key that the gateway knows, or from a Kubernetes ServiceAccount's token.

A token is believed either because its issuer's public keys say so
(`TokenVerifier`, offline but for the keys) or because the cluster itself does
(`reviewed`, on the answer of a TokenReview). Both end in `sa:NAMESPACE/NAME`
of the tenant whose namespace it is. The subject and the `kubernetes.io` claims
must say the same; a token that is bound to nothing Kubernetes is no workload.

Keys are fetched when they are old or a token names one that is unknown, at
most every `MIN_REFRESH_S`. While the issuer cannot be asked, known keys count
for `MAX_AGE_S`; then nobody is believed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from fairlead.config.vault_policy_options import VaultIssuer
from fairlead.config.vault_policy_rules import ACCOUNT, NAMESPACE
from fairlead.errors import FairleadError, Forbidden, IdentityUnavailable, Unauthenticated
from fairlead.vault import jwt
from fairlead.vault.principal import Principal

REFRESH_S: Final = 300.0
MIN_REFRESH_S: Final = 10.0
MAX_AGE_S: Final = 3600.0
FETCH_TIMEOUT_S: Final = 5.0
_SUBJECT: Final = re.compile(rf"system:serviceaccount:({NAMESPACE}):({ACCOUNT})")
_SHOWN: Final = re.compile(r"[A-Za-z0-9./_-]{1,253}")


class ReviewedToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster answers to a TokenReview: its `status`."""

    authenticated: bool = False
    username: str = ""
    uid: str = ""
    audiences: tuple[str, ...] = ()
    extra: dict[str, list[str]] = {}


class TokenReview(Protocol):
    """Asks the cluster about a token: `authentication.k8s.io/v1`, kind TokenReview."""

    async def review(self, token: str, audience: str) -> ReviewedToken:
        """Its answer.

        Raises:
            IdentityUnavailable: the cluster cannot be asked.
        """
        ...


def of_key(key_id: str, tenant: str, person: str = "") -> Principal:
    """The principal of an API key that the gateway has authenticated."""
    return Principal(id=f"key:{key_id}", kind="key", tenant=tenant, person=person)


class TokenVerifier:
    """Verifies one issuer's tokens with its published keys."""

    def __init__(
        self, issuer: VaultIssuer, fetch: Callable[[], Awaitable[bytes]], clock: Callable[[], float]
    ) -> None:
        """`fetch` gives the issuer's JSON Web Key Set over verified TLS; `clock` is Unix seconds."""
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: tuple[jwt.Key, ...] = ()
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._turn = asyncio.Lock()

    async def principal(self, token: str) -> Principal:
        """The workload that a token is of.

        Raises:
            Unauthenticated: the token is not valid; the message says why.
            Forbidden: the workload's namespace belongs to no tenant.
            IdentityUnavailable: the issuer's keys are not known.
        """
        kid = jwt.key_id(token)
        await self._refresh(kid)
        now = self._clock()
        if now - self._fetched_at > MAX_AGE_S:
            raise IdentityUnavailable(f"the keys of {self._issuer.issuer} cannot be fetched")
        claims = jwt.verify(
            token,
            self._keys,
            issuer=self._issuer.issuer,
            audience=self._issuer.audience,
            algorithms=self._issuer.algorithms,
            now=now,
            skew_s=self._issuer.skew_s,
            max_lifetime_s=self._issuer.max_lifetime_s,
        )
        return _of_claims(claims, self._issuer.namespaces)

    async def _refresh(self, kid: str | None) -> None:
        if not self._is_due(kid):
            return
        async with self._turn:
            if not self._is_due(kid):
                return
            self._tried_at = self._clock()
            try:
                document = await asyncio.wait_for(self._fetch(), FETCH_TIMEOUT_S)
                self._keys = jwt.keys_of(document)
            except (FairleadError, OSError, ValueError):
                return  # what is known counts until it is too old
            self._fetched_at = self._clock()

    def _is_due(self, kid: str | None) -> bool:
        now = self._clock()
        if 0 <= now - self._tried_at < MIN_REFRESH_S:
            return False
        unknown = kid is not None and all(key.kid != kid for key in self._keys)
        return unknown or now - self._fetched_at > REFRESH_S


def reviewed(answer: ReviewedToken, issuer: VaultIssuer) -> Principal:
    """The workload of a token that the cluster has reviewed.

    Raises:
        Unauthenticated: the cluster does not know it, or it is for another audience, or of no workload.
        Forbidden: the workload's namespace belongs to no tenant.
    """
    # A cluster that knows no audiences answers without any; the token may then be for anybody.
    if not answer.authenticated or issuer.audience not in answer.audiences:
        raise Unauthenticated("the cluster does not accept the workload's token for this audience")
    pod = answer.extra.get("authentication.kubernetes.io/pod-name", [""])
    return _workload(answer.username, issuer.namespaces, _line(pod=pod[0] if pod else "", uid=answer.uid))


def _of_claims(claims: jwt.Claims, namespaces: Mapping[str, str]) -> Principal:
    bound = claims.kubernetes
    account, pod = bound.get("serviceaccount"), bound.get("pod")
    if not isinstance(account, dict) or not isinstance(bound.get("namespace"), str):
        raise Unauthenticated("the token is not of a Kubernetes ServiceAccount")
    if claims.sub != f"system:serviceaccount:{bound['namespace']}:{account.get('name')}":
        raise Unauthenticated("the token's subject and its claims name different workloads")
    named: Any = pod if isinstance(pod, dict) else {}
    return _workload(claims.sub, namespaces, _line(pod=named.get("name"), uid=account.get("uid")))


def _workload(subject: str, namespaces: Mapping[str, str], about: str) -> Principal:
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        raise Unauthenticated("the token is not of a Kubernetes ServiceAccount")
    namespace, name = match.groups()
    tenant = namespaces.get(namespace)
    if tenant is None:
        raise Forbidden(f"no tenant's workloads run in the namespace {namespace}")
    return Principal(id=f"sa:{namespace}/{name}", kind="workload", tenant=tenant, workload=about)


def _line(**facts: object) -> str:
    """Facts for the audit; what is not of the form of Kubernetes' names is left out."""
    return " ".join(
        f"{name}={value}"
        for name, value in facts.items()
        if isinstance(value, str) and _SHOWN.fullmatch(value)
    )
