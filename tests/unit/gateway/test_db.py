"""Keys in a store: made, changed, found again, in order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import pytest

from fairlead.errors import Conflict, InvalidRequest, NotFound, StorageError, Unauthenticated
from fairlead.gateway import db
from fairlead.gateway.auth import KeySnapshot
from fairlead.gateway.keys import ADMIN, Key, Scope, digest_of, id_in
from fairlead.storage.connect import open_database
from fairlead.storage.ports import Database

NOW = 1000.0


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def store(runner: asyncio.Runner) -> Iterator[Database]:
    store = runner.run(open_database(":memory:"))
    yield store
    runner.run(store.close())


def test_a_key_is_found_again_as_it_was_made(store: Database, runner: asyncio.Runner) -> None:
    scope = Scope(
        name="app \u2603",
        tenant="team-a",
        models=("gpt-*", "o1"),
        endpoints=("chat", ADMIN),
        ip_ranges=("10.0.0.0/8",),
        expires_at=NOW + 0.25,
    )
    issued = runner.run(db.create(store, scope, now=NOW))

    assert runner.run(db.list_keys(store)) == [issued.key]
    assert runner.run(db.find(store, issued.key.id)) == issued.key
    assert issued.key.scope() == scope


def test_the_secret_is_nowhere_in_the_store(store: Database, runner: asyncio.Runner) -> None:
    issued = runner.run(db.create(store, Scope(name="a"), now=NOW))

    (row,) = runner.run(store.fetch("SELECT * FROM api_keys"))

    assert issued.secret[11:] not in repr(row)
    assert digest_of(issued.secret).hex() in row


def test_two_keys_are_never_the_same(store: Database, runner: asyncio.Runner) -> None:
    secrets = {runner.run(db.create(store, Scope(name="a"), now=NOW)).secret for _ in range(20)}

    assert len(secrets) == 20


def test_a_scope_that_is_not_valid_is_not_kept(store: Database, runner: asyncio.Runner) -> None:
    with pytest.raises(InvalidRequest):
        runner.run(db.create(store, Scope(name=""), now=NOW))

    assert runner.run(db.list_keys(store)) == []


def test_revoking_ends_a_key_once(store: Database, runner: asyncio.Runner) -> None:
    key = runner.run(db.create(store, Scope(name="a"), now=NOW)).key

    assert runner.run(db.revoke(store, key.id, now=NOW + 1)) is True
    assert runner.run(db.revoke(store, key.id, now=NOW + 2)) is False
    assert runner.run(db.find(store, key.id)).revoked_at == NOW + 1


def test_rotation_keeps_the_scope_and_gives_the_old_key_its_grace(
    store: Database, runner: asyncio.Runner
) -> None:
    old = runner.run(
        db.create(store, Scope(name="a", models=("m*",), endpoints=("chat",), tenant="t"), now=NOW)
    )
    new = runner.run(db.rotate(store, old.key.id, now=NOW + 1, grace_s=60.0))

    assert new.key.scope() == old.key.scope()
    assert new.key.rotated_from == old.key.id
    assert new.secret != old.secret
    retiring = runner.run(db.find(store, old.key.id))
    assert retiring.revoked_at == NOW + 61
    assert (retiring.state(NOW + 60), retiring.state(NOW + 61)) == ("retiring", "revoked")


def test_a_key_in_its_grace_can_still_be_revoked_at_once(store: Database, runner: asyncio.Runner) -> None:
    old = runner.run(db.create(store, Scope(name="a"), now=NOW)).key
    runner.run(db.rotate(store, old.id, now=NOW, grace_s=3600.0))

    assert runner.run(db.revoke(store, old.id, now=NOW + 1)) is True
    assert runner.run(db.find(store, old.id)).revoked_at == NOW + 1


@pytest.mark.parametrize("before", ["revoked", "rotated", "expired"])
def test_a_key_that_ended_or_was_rotated_is_not_rotated(
    store: Database, runner: asyncio.Runner, before: str
) -> None:
    key = runner.run(db.create(store, Scope(name="a", expires_at=NOW + 10), now=NOW)).key
    if before == "revoked":
        runner.run(db.revoke(store, key.id, now=NOW))
    elif before == "rotated":
        runner.run(db.rotate(store, key.id, now=NOW, grace_s=5.0))

    with pytest.raises(Conflict):
        runner.run(db.rotate(store, key.id, now=NOW + (10 if before == "expired" else 1)))


@pytest.mark.parametrize("grace_s", [-1.0, math.inf, math.nan])
def test_a_grace_without_an_end_is_refused(store: Database, runner: asyncio.Runner, grace_s: float) -> None:
    key = runner.run(db.create(store, Scope(name="a"), now=NOW)).key

    with pytest.raises(InvalidRequest) as caught:
        runner.run(db.rotate(store, key.id, now=NOW, grace_s=grace_s))

    assert caught.value.param == "grace_s"
    assert runner.run(db.list_keys(store)) == [key]


def test_of_two_rotations_at_once_one_wins_and_its_grace_holds(
    store: Database, runner: asyncio.Runner
) -> None:
    key = runner.run(db.create(store, Scope(name="a"), now=NOW)).key

    async def scenario() -> list[object]:
        return await asyncio.gather(
            *(db.rotate(store, key.id, now=NOW, grace_s=100.0 - n) for n in range(5)), return_exceptions=True
        )

    results = runner.run(scenario())

    losers = [result for result in results if isinstance(result, Conflict)]
    assert len(losers) == 4
    winner = next(n for n, result in enumerate(results) if not isinstance(result, Conflict))
    assert len(runner.run(db.list_keys(store))) == 2
    assert runner.run(db.find(store, key.id)).revoked_at == NOW + 100.0 - winner


def test_what_is_not_there_is_not_found(store: Database, runner: asyncio.Runner) -> None:
    for call in (
        db.find(store, "zzzzzzzz"),
        db.revoke(store, "zzzzzzzz", now=NOW),
        db.rotate(store, "zzzzzzzz", now=NOW),
    ):
        with pytest.raises(NotFound, match="zzzzzzzz"):
            runner.run(call)


def test_every_change_is_seen_from_the_revision_before_it(store: Database, runner: asyncio.Runner) -> None:
    async def scenario() -> list[list[str]]:
        seen = []

        async def changes(since: int) -> int:
            seen.append(sorted(key.name for key in await db.changed_since(store, since)))
            return await db.revision(store)

        at = await changes(-1)
        a = (await db.create(store, Scope(name="a"), now=NOW)).key
        at = await changes(at)
        await db.create(store, Scope(name="b"), now=NOW)
        at = await changes(at)
        await db.revoke(store, a.id, now=NOW)
        at = await changes(at)
        await changes(at)
        await changes(-1)
        return seen

    assert runner.run(scenario()) == [[], ["a"], ["b"], ["a"], [], ["a", "b"]]


def test_a_rotation_shows_both_keys_as_changed(store: Database, runner: asyncio.Runner) -> None:
    old = runner.run(db.create(store, Scope(name="a"), now=NOW)).key
    at = runner.run(db.revision(store))
    new = runner.run(db.rotate(store, old.id, now=NOW)).key

    assert {key.id for key in runner.run(db.changed_since(store, at))} == {old.id, new.id}


def test_a_store_without_its_revision_row_is_an_error(store: Database, runner: asyncio.Runner) -> None:
    runner.run(store.execute("DELETE FROM api_key_revision"))

    with pytest.raises(StorageError):
        runner.run(db.revision(store))


def test_the_first_key_is_made_once_and_may_do_everything(store: Database, runner: asyncio.Runner) -> None:
    async def scenario() -> list[str | None]:
        return await asyncio.gather(*(db.ensure_first_key(store, now=NOW) for _ in range(6)))

    (secret,) = [secret for secret in runner.run(scenario()) if secret is not None]

    (key,) = runner.run(db.list_keys(store))
    assert key.id == id_in(secret)
    assert key.digest == digest_of(secret)
    assert (key.models, key.endpoints, key.expires_at) == (("*",), ("*", ADMIN), None)


def test_revoking_the_last_key_does_not_bring_a_first_key_back(
    store: Database, runner: asyncio.Runner
) -> None:
    key = runner.run(db.create(store, Scope(name="a"), now=NOW)).key
    runner.run(db.revoke(store, key.id, now=NOW))

    assert runner.run(db.ensure_first_key(store, now=NOW)) is None


@pytest.mark.parametrize(
    "damage",
    [
        "digest = 'not hexadecimal'",
        "models = 'gpt'",
        "endpoints = '[1]'",
        "ip_ranges = '[\"nowhere\"]'",
        "expires_at = 'soon'",
    ],
)
def test_a_damaged_row_is_a_revoked_key_and_harms_no_other(
    store: Database, runner: asyncio.Runner, damage: str
) -> None:
    broken = runner.run(db.create(store, Scope(name="a"), now=NOW))
    sound = runner.run(db.create(store, Scope(name="b"), now=NOW))
    runner.run(store.execute(f"UPDATE api_keys SET {damage} WHERE id = ?", (broken.key.id,)))

    keys: list[Key] = runner.run(db.changed_since(store, -1))
    snapshot = KeySnapshot(keys, 1)

    assert {key.id: key.state(NOW) for key in keys} == {broken.key.id: "revoked", sound.key.id: "active"}
    assert snapshot.authenticate({b"x-api-key": sound.secret.encode()}, NOW).key.id == sound.key.id
    with pytest.raises(Unauthenticated):
        snapshot.authenticate({b"x-api-key": broken.secret.encode()}, NOW)
