"""Nothing is released without a durable entry before it; every refusal is one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from tests.unit.vault.audit.crashing import CrashingFolder

from fairlead.config.vault_policy_options import VaultAccess, VaultBudget, VaultPolicy
from fairlead.errors import (
    AuditUnavailable,
    BudgetExceeded,
    GrantRefused,
    InvalidRequest,
    StorageError,
    VaultDenied,
)
from fairlead.storage.migrate import migrate, migrations
from fairlead.storage.sqlite import SqliteDatabase
from fairlead.vault.access import Access, Circumstances
from fairlead.vault.approvals import Approval
from fairlead.vault.audit.checkpoint import Signer
from fairlead.vault.audit.event import Event
from fairlead.vault.audit.log import Log
from fairlead.vault.audit.verify import entries, verify
from fairlead.vault.db import BudgetStore, SpentStore
from fairlead.vault.grants import GrantKeys, GrantSigner
from fairlead.vault.policy import Request, State, digest
from fairlead.vault.principal import Principal
from fairlead.vault.ref import Ref

REF = Ref(tenant="acme", name="fraud/scorer", version="7")
READY = State(approved=True, digest="d" * 64)
SERVER = Principal(id="sa:prod/scorer", kind="workload", tenant="acme", workload="pod=p")
ADMIN = Principal(id="key:admin", kind="key", tenant="acme")
OTHER = Principal(id="key:other", kind="key", tenant="acme")
STRANGER = Principal(id="key:stranger", kind="key", tenant="acme")
SIGNER = Signer("vault.test/audit", b"\x07" * 32)
GRANTS = GrantSigner(b"\x05" * 32)


def policy(*purposes: Any, to: list[str]) -> VaultPolicy:
    return VaultPolicy(purposes=list(purposes), principals=to, tenants=["acme"])


OPTIONS = VaultAccess(
    policies={
        "serving": policy("serve", to=["sa:prod/*"]),
        "admins": policy("admin", "export", to=["key:admin", "key:other"]),
    },
    budgets={"sa:prod/scorer": VaultBudget(bytes=1000, window_s=1000)},
)


class World:
    def __init__(self) -> None:
        self.folder = CrashingFolder()
        self.now = 5000.0

    async def start(self) -> None:
        self.database = await SqliteDatabase.open(None)
        await migrate(self.database, migrations(), now=0.0, name="test")
        self.log = await Log.open(self.folder, SIGNER, lambda: self.now)
        ids = itertools.count()
        self.accounts, self.spent = BudgetStore(self.database), SpentStore(self.database)
        self.access = Access(
            OPTIONS, self.log, self.accounts, self.spent, GRANTS,
            clock=lambda: self.now, new_id=lambda: f"g{next(ids)}",
        )  # fmt: skip

    async def stop(self) -> None:
        await self.log.close()
        await self.database.close()

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in entries(self.folder)]

    async def taken(self) -> int:
        return (await self.accounts.account(SERVER.id)).taken_bytes


def story(told: Callable[[World], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        async def main() -> None:
            world = World()
            await world.start()
            try:
                await told(world)
            finally:
                await world.stop()
            assert verify(world.folder, SIGNER.verifier).ok

        asyncio.run(main())

    test.__name__ = told.__name__
    return test


def serve(principal: Principal = SERVER) -> Request:
    return Request(principal=principal, operation="serve", ref=REF)


def approval(operation: str, target: str, to_digest: str) -> Approval:
    return Approval(
        id="a1", by=OTHER, requester=ADMIN.id, operation=operation, target=target, digest=to_digest,
        made_at=4000.0, expires_at=6000.0,
    )  # fmt: skip


@story
async def test_a_grant_is_recorded_redeemed_and_finished(world: World) -> None:
    grant = await world.access.ask(serve(), READY, 400, Circumstances(source="10.0.0.1", request_id="r\n1"))
    assert world.folder.synced == world.folder.seen
    claims = await world.access.redeem(grant, SERVER, REF, "serve", READY)
    await world.access.finish(claims, 100)

    assert await world.taken() == 400, "who had the key may have read it all"
    granted, redeemed, finished = world.events
    assert (granted.kind, granted.rule, granted.grant, granted.size_bytes) == (
        "grant",
        "serving",
        claims.id,
        400,
    )
    assert (granted.source, granted.request_id, granted.workload) == ("10.0.0.1", "r\\n1", "pod=p")
    assert (redeemed.kind, redeemed.outcome, redeemed.grant) == ("read", "allowed", claims.id)
    assert (finished.kind, finished.outcome, finished.size_bytes) == ("read", "done", 100)
    assert all(grant not in str(event) for event in world.events), "no signature in the log"


@story
async def test_every_refusal_is_an_entry(world: World) -> None:
    with pytest.raises(VaultDenied):
        await world.access.ask(serve(STRANGER), READY, 1)
    with pytest.raises(VaultDenied, match="quarantined"):
        await world.access.ask(serve(), msgspec.structs.replace(READY, quarantined=True), 1)
    await world.access.ask(serve(), READY, 900)
    with pytest.raises(BudgetExceeded):
        await world.access.ask(serve(), READY, 900)
    grant = await world.access.ask(serve(), READY, 1)
    with pytest.raises(GrantRefused):
        await world.access.redeem(grant, STRANGER, REF, "serve", READY)
    with pytest.raises(GrantRefused):
        await world.access.redeem(
            grant, SERVER, REF, "serve", msgspec.structs.replace(READY, digest="e" * 64)
        )
    with pytest.raises(VaultDenied, match="quarantined"):
        await world.access.redeem(
            grant, SERVER, REF, "serve", msgspec.structs.replace(READY, quarantined=True)
        )

    kinds = [event.kind for event in world.events]
    assert kinds == ["refusal", "refusal", "grant", "refusal", "grant", "refusal", "refusal", "refusal"]
    assert [event.rule for event in world.events if event.kind == "refusal"] == [
        "default", "state", "serving", "grant", "grant", "grant",
    ]  # fmt: skip


@story
async def test_without_a_log_nothing_is_released_and_nothing_is_spent(world: World) -> None:
    grant = await world.access.ask(serve(), READY, 100)
    world.folder.fail_write = [0, 20, 0, 0]
    with pytest.raises(AuditUnavailable):
        await world.access.ask(serve(), READY, 300)
    with pytest.raises(AuditUnavailable):
        await world.access.redeem(grant, SERVER, REF, "serve", READY)
    with pytest.raises(AuditUnavailable):
        await world.access.ask(serve(STRANGER), READY, 1)
    with pytest.raises(AuditUnavailable):
        await world.access.perform(Request(principal=ADMIN, operation="shred", ref=REF), READY, "shred")

    assert await world.taken() == 100
    assert [event.kind for event in world.events] == ["grant"]


@story
async def test_without_the_state_store_nothing_is_released(world: World) -> None:
    grant = await world.access.ask(serve(), READY, 100)
    await world.database.close()
    with pytest.raises(StorageError):
        await world.access.ask(serve(), READY, 100)
    with pytest.raises(StorageError):
        await world.access.redeem(grant, SERVER, REF, "serve", READY)

    assert [event.kind for event in world.events] == ["grant", "failure", "failure"]


@story
async def test_concurrent_grants_spend_the_budget_exactly(world: World) -> None:
    asked = [world.access.ask(serve(), READY, 70) for _ in range(30)]
    answers = await asyncio.gather(*asked, return_exceptions=True)

    given = [answer for answer in answers if isinstance(answer, str)]
    assert len(given) == 1000 // 70
    assert all(isinstance(answer, str | BudgetExceeded) for answer in answers)
    assert await world.taken() == len(given) * 70
    keys = GrantKeys([GRANTS.public_key])
    recorded = {event.grant for event in world.events if event.kind == "grant"}
    assert {keys.read(grant).id for grant in given} == recorded
    assert len(world.events) == 30


@story
async def test_an_export_needs_a_second_person_each_time(world: World) -> None:
    asked = Request(principal=ADMIN, operation="export", ref=REF)
    with pytest.raises(VaultDenied, match="second person"):
        await world.access.ask(asked, READY, 10)
    approved = msgspec.structs.replace(asked, approvals=(approval("export", str(REF), READY.digest),))
    assert await world.access.ask(approved, READY, 10)
    with pytest.raises(VaultDenied, match="used before"):
        await world.access.ask(approved, READY, 10)

    assert [event.kind for event in world.events] == ["refusal", "grant", "refusal"]
    assert world.events[1].approvals == ("a1",)


@story
async def test_rules_change_with_a_second_person_for_exactly_these(world: World) -> None:
    rules = msgspec.structs.replace(
        OPTIONS, policies={**OPTIONS.policies, "more": policy("serve", to=["key:stranger"])}
    )
    others = msgspec.structs.replace(OPTIONS, policies={"one": policy("serve", to=["*"])})
    before = world.access.policies.digest
    yes = approval("policy", "tenant acme", digest(rules))
    asked = Request(principal=ADMIN, operation="policy", tenant="acme", approvals=(yes,))
    with pytest.raises(VaultDenied):
        await world.access.change(asked, others)
    broken = msgspec.structs.replace(OPTIONS, policies={"one": policy("serve", to=["nobody"])})
    with pytest.raises(InvalidRequest):
        await world.access.change(asked, broken)
    cheaper = msgspec.structs.replace(rules, budgets={})
    elsewhere = VaultPolicy(purposes=["serve"], principals=["*"], tenants=["acme", "other"])
    wider = msgspec.structs.replace(rules, policies={**rules.policies, "wide": elsewhere})
    for more in (cheaper, wider):
        with pytest.raises(InvalidRequest, match="more than the rules of one tenant"):
            await world.access.change(asked, more)
    with pytest.raises(VaultDenied):
        await world.access.ask(serve(STRANGER), READY, 1)
    await world.access.change(asked, rules)
    assert await world.access.ask(serve(STRANGER), READY, 1)

    changed = next(event for event in world.events if event.kind == "policy")
    assert (changed.digest, changed.policies, changed.approvals) == (digest(rules), before, ("a1",))
    assert world.access.policies.digest == digest(rules)


@story
async def test_a_grant_can_be_taken_back(world: World) -> None:
    grant = await world.access.ask(serve(), READY, 10)
    claims = GrantKeys([GRANTS.public_key]).read(grant)
    with pytest.raises(VaultDenied):
        await world.access.revoke(serve(STRANGER), claims)
    assert (await world.access.redeem(grant, SERVER, REF, "serve", READY)).id == claims.id
    await world.access.revoke(serve(ADMIN), claims)
    with pytest.raises(GrantRefused):
        await world.access.redeem(grant, SERVER, REF, "serve", READY)
    await world.spent.forget(claims.expires_at + 30.0)
    assert await world.spent.is_revoked(claims.id)
    await world.spent.forget(claims.expires_at + 61.0)
    assert not await world.spent.is_revoked(claims.id)

    assert [event.kind for event in world.events] == ["grant", "refusal", "read", "revoke", "refusal"]


@story
async def test_bytes_come_back_only_for_what_was_never_redeemed(world: World) -> None:
    keys = GrantKeys([GRANTS.public_key])
    unused, used = [await world.access.ask(serve(), READY, size) for size in (300, 400)]
    await world.access.redeem(used, SERVER, REF, "serve", READY)
    for grant in (unused, used, unused):
        await world.access.revoke(serve(), keys.read(grant))

    assert await world.taken() == 400
    with pytest.raises(GrantRefused):
        await world.access.redeem(unused, SERVER, REF, "serve", READY)
    assert [event.rule for event in world.events if event.kind == "revoke"] == ["own grant"] * 3


@story
async def test_taking_back_and_redeeming_at_once_never_reads_what_is_not_spent(world: World) -> None:
    keys = GrantKeys([GRANTS.public_key])
    for _ in range(12):
        grant = await world.access.ask(serve(), READY, 80)
        before = await world.taken()
        redeemed, _ = await asyncio.gather(
            world.access.redeem(grant, SERVER, REF, "serve", READY),
            world.access.revoke(serve(), keys.read(grant)),
            return_exceptions=True,
        )
        spent = 80 + await world.taken() - before
        assert isinstance(redeemed, GrantRefused) or spent == 80
