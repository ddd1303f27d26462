"""The one order in which the vault lets anybody at anything.

    ask      decide -> approval used up -> budget reserved -> entry durable -> grant signed
    redeem   grant checked -> state asked anew -> bytes spent -> not revoked -> entry durable -> key unwrapped
    perform  decide -> approval used up -> entry durable -> the caller acts

Every refusal is an entry, too. Whatever cannot be recorded is refused: when
`append` raises, nothing was signed and nothing may be unwrapped, and what had
been reserved is given back. What is used up or revoked lies in the state
store; when that cannot be asked, its error ends the call, and nothing is
released either. Who has held a key may have read everything: bytes come back
only for a grant that was taken back before it was redeemed, never because a
client says that it has read less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from fairlead.config.vault_policy_options import AccessPurpose, VaultAccess
from fairlead.errors import (
    FairleadError,
    GrantRefused,
    InvalidRequest,
    RateLimited,
    StorageError,
    VaultDenied,
)
from fairlead.vault import budgets
from fairlead.vault.audit.event import Event, Kind, clipped
from fairlead.vault.audit.log import Position
from fairlead.vault.db import BudgetStore, SpentStore
from fairlead.vault.grants import Claims, GrantKeys, GrantSigner
from fairlead.vault.policy import Decision, Policies, Request, State, affected, against_state, decide, digest
from fairlead.vault.principal import Principal
from fairlead.vault.ref import Ref, parse_ref

READING: Final = ("serve", "train", "export")


class Recorder(Protocol):
    """The audit log, as far as it is needed here."""

    async def append(self, event: Event) -> Position:
        """Record an event durably, or raise AuditUnavailable."""
        ...


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What else the audit should know of a request. Untrusted; it decides nothing."""

    source: str = ""
    request_id: str = ""
    recipient: str = ""
    """Fingerprint of the key that an export is sealed to."""


class Access:
    """Decides, counts, records and signs."""

    def __init__(
        self,
        options: VaultAccess,
        log: Recorder,
        accounts: BudgetStore,
        spent: SpentStore,
        signer: GrantSigner,
        *,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        """`clock` is Unix seconds; `new_id` makes ids that nobody can guess.

        Raises:
            InvalidRequest: the options hold a rule that cannot be.
        """
        self._options = options
        self._policies = Policies(options)
        self._log = log
        self._accounts = accounts
        self._spent = spent
        self._signer = signer
        self._keys = GrantKeys([signer.public_key])
        self._clock = clock
        self._new_id = new_id

    @property
    def policies(self) -> Policies:
        """The rules in force."""
        return self._policies

    async def ask(
        self, request: Request, state: State, size_bytes: int, about: Circumstances | None = None
    ) -> str:
        """A grant for reading a version of `size_bytes`, for its operation's purpose.

        Raises:
            VaultDenied: the rules, the state or a missing second person forbid it.
            RateLimited: the principal's budget does; its subclasses say whether waiting helps.
            AuditUnavailable: it cannot be recorded.
            StorageError: the state store cannot be asked.
        """
        if request.operation not in READING or request.ref is None:
            raise ValueError("grants are for reading a version")
        purpose: AccessPurpose = request.operation
        about = about or Circumstances()
        decision = await self._allowed(request, state, size_bytes, about)
        now, grant = self._clock(), self._new_id()
        budget = budgets.budget_of(self._options, request.principal)
        if budget is not None:
            try:
                await self._accounts.reserve(request.principal.id, budget, grant, size_bytes, now)
            except (RateLimited, StorageError) as error:
                event = self._event("refusal", request, state, decision, about)
                await self._log.append(_failed(msgspec.structs.replace(event, size_bytes=size_bytes), error))
                raise
        claims = Claims(
            id=grant,
            key_id=self._signer.key_id,
            principal=request.principal.id,
            ref=str(request.ref),
            digest=state.digest,
            purpose=purpose,
            issued_at=int(now),
            expires_at=int(now) + self._options.grant_ttl_s,
            size_bytes=size_bytes,
        )
        event = self._event("grant", request, state, decision, about)
        event = msgspec.structs.replace(
            event, grant=grant, size_bytes=size_bytes, expires_at_ms=claims.expires_at * 1000
        )
        try:
            await self._log.append(event)
        except BaseException:
            # Nobody was given anything; a settlement that fails leaves it spent, which is the safe side.
            if budget is not None:
                await self._accounts.settle(request.principal.id, budget, grant, 0, now)
            raise
        return self._signer.sign(claims)

    async def redeem(
        self,
        grant: str,
        principal: Principal,
        ref: Ref,
        purpose: AccessPurpose,
        state: State,
        about: Circumstances | None = None,
    ) -> Claims:
        """What a grant says, after it was recorded that it was used. Then the key may be unwrapped.

        Raises:
            GrantRefused: the grant is not for this, or was taken back.
            VaultDenied: the version has been quarantined or shredded since.
            AuditUnavailable: it cannot be recorded.
            StorageError: the state store cannot be asked.
        """
        about = about or Circumstances()
        now = self._clock()
        event = Event(
            kind="read",
            at_ms=int(now * 1000),
            outcome="allowed",
            principal=principal.id,
            operation=purpose,
            tenant=ref.tenant,
            ref=str(ref),
            digest=state.digest,
            policies=self._policies.digest,
            workload=principal.workload,
            source=clipped(about.source),
            request_id=clipped(about.request_id),
            recipient=clipped(about.recipient),
        )
        try:
            claims = self._keys.check(
                grant, principal=principal.id, ref=ref, digest=state.digest, purpose=purpose, now=now
            )
            wrong = against_state(purpose, state) if purpose in READING else "a grant is for reading"
            if wrong:
                raise VaultDenied(f"{principal.id} may not {purpose} {ref}: {wrong}")
            # Spent first and then asked whether it is revoked, as `_take_back` revokes first and then gives
            # back: whichever way the two meet, what is read is spent.
            await self._settle(claims, claims.size_bytes)
            if await self._spent.is_revoked(claims.id):
                raise GrantRefused("revoked")
        except StorageError as error:
            await self._log.append(_failed(event, error))
            raise
        except VaultDenied as error:
            why = error.reason if isinstance(error, GrantRefused) else error.message
            refusal = msgspec.structs.replace(
                event, kind="refusal", outcome="refused", rule="grant", reasons=(clipped(why, 2048),)
            )
            await self._log.append(refusal)
            raise
        await self._log.append(
            msgspec.structs.replace(event, grant=claims.id, size_bytes=claims.size_bytes, rule="grant")
        )
        return claims

    async def finish(self, claims: Claims, read_bytes: int) -> None:
        """Record that a client says it has read so much under a redeemed grant. Gives nothing back."""
        ref = parse_ref(claims.ref)
        event = Event(
            kind="read",
            at_ms=int(self._clock() * 1000),
            principal=claims.principal,
            operation=claims.purpose,
            tenant=ref.tenant,
            ref=claims.ref,
            digest=claims.digest,
            grant=claims.id,
            size_bytes=read_bytes,
        )
        await self._log.append(event)

    async def perform(
        self, request: Request, state: State, kind: Kind, about: Circumstances | None = None
    ) -> Decision:
        """Let an operation that releases nothing happen, after it was recorded. Raises as `ask` does."""
        about = about or Circumstances()
        decision = await self._allowed(request, state, 0, about)
        await self._log.append(self._event(kind, request, state, decision, about))
        return decision

    async def revoke(self, request: Request, claims: Claims, about: Circumstances | None = None) -> None:
        """Take a grant back; whoever it was made for may, and who has `revoke` on its version.

        Bytes that were reserved for it come back unless it was redeemed. Raises as `ask` does.
        """
        target = msgspec.structs.replace(request, operation="revoke", ref=parse_ref(claims.ref))
        state = State(digest=claims.digest)
        if request.principal.id == claims.principal:
            own = Decision(allowed=True, rule="own grant")
            event = self._event("revoke", target, state, own, about or Circumstances())
            await self._log.append(msgspec.structs.replace(event, grant=claims.id))
        else:
            await self.perform(target, state, "revoke", about)
        await self._spent.revoke(claims.id, claims.expires_at + 60.0)
        await self._settle(claims, 0)

    async def change(
        self, request: Request, options: VaultAccess, about: Circumstances | None = None
    ) -> Policies:
        """Put other rules in force for a tenant, with the approval of a second person for exactly these.

        Raises:
            InvalidRequest: they hold a rule that cannot be, or change more than this tenant's rules.
            VaultDenied: as `ask`, and so for the other errors.
        """
        policies = Policies(options)
        if request.operation != "policy":
            raise ValueError("rules are changed by the operation `policy`")
        same = msgspec.structs.replace(options, roles=self._options.roles, policies=self._options.policies)
        if same != self._options or not affected(self._options, options) <= {request.tenant}:
            raise InvalidRequest(
                "this would change more than the rules of one tenant",
                hint="budgets, issuers, and policies of several tenants are changed in the configuration",
            )
        await self.perform(request, State(digest=digest(options)), "policy", about)
        self._options, self._policies = options, policies
        return policies

    async def _settle(self, claims: Claims, read_bytes: int) -> None:
        budget = self._options.budgets.get(claims.principal) or self._options.budgets.get("*")
        if budget is not None:
            await self._accounts.settle(claims.principal, budget, claims.id, read_bytes, self._clock())

    async def _allowed(
        self, request: Request, state: State, size_bytes: int, about: Circumstances
    ) -> Decision:
        """The decision that allows it, its approvals used up; a refusal is recorded and raised."""
        now = self._clock()
        decision = decide(request, self._policies, state, now)
        if decision.allowed:
            ends = {approval.id: approval.expires_at for approval in request.approvals}
            for approval in decision.approvals:
                if not await self._use(approval, ends[approval], request, state, about):
                    decision = Decision(
                        allowed=False,
                        rule="second-person",
                        reasons=("the approval was used before",),
                        may_know=True,
                    )
        if not decision.allowed:
            event = self._event("refusal", request, state, decision, about)
            await self._log.append(msgspec.structs.replace(event, outcome="refused", size_bytes=size_bytes))
            raise decision.refusal(request)
        return decision

    async def _use(
        self, approval: str, expires_at: float, request: Request, state: State, about: Circumstances
    ) -> bool:
        try:
            return await self._spent.use(approval, expires_at)
        except StorageError as error:
            undecided = Decision(allowed=False, rule="second-person")
            await self._log.append(_failed(self._event("failure", request, state, undecided, about), error))
            raise

    def _event(
        self, kind: Kind, request: Request, state: State, decision: Decision, about: Circumstances
    ) -> Event:
        ref = request.ref
        return Event(
            kind=kind,
            at_ms=int(self._clock() * 1000),
            outcome="allowed",
            principal=request.principal.id,
            operation=request.operation,
            tenant=ref.tenant if ref else request.tenant,
            ref=str(ref) if ref else "",
            digest=state.digest,
            rule=decision.rule,
            reasons=tuple(clipped(reason, 2048) for reason in decision.reasons[:16]),
            policies=self._policies.digest,
            approvals=tuple(clipped(approval) for approval in decision.approvals),
            recipient=clipped(about.recipient),
            workload=request.principal.workload,
            source=clipped(about.source),
            request_id=clipped(about.request_id),
        )


def _failed(event: Event, error: FairleadError) -> Event:
    """The entry of what the budget refused, or a store that cannot be asked."""
    broken = isinstance(error, StorageError)
    return msgspec.structs.replace(
        event,
        kind="failure" if broken else "refusal",
        outcome="failed" if broken else "refused",
        reasons=(clipped(error.message, 2048),),
    )
