from __future__ import annotations

import asyncio

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import InvalidRequest, KeyRefused, KeyServiceUnavailable, Tampered, VaultError
from fairlead.testing_keys import FakeKeyService
from fairlead.vault.keys import envelope
from fairlead.vault.keys.envelope import Envelope
from fairlead.vault.keys.port import new_key
from fairlead.vault.keys.recovery import Identity, Recipient

CONTEXT = {"fairlead:tenant": "acme", "fairlead:model": "scorer", "fairlead:version": "7"}


def _recovery() -> tuple[Recipient, Identity]:
    private = X25519PrivateKey.generate()
    return Recipient(private.public_key()), Identity(private)


def test_both_recipients_open_it() -> None:
    recipient, identity = _recovery()
    service = FakeKeyService("prod")

    async def main() -> None:
        key, made = await envelope.create(service, [recipient], CONTEXT)
        read = Envelope.decode(made.encode())

        assert read == made
        assert read.encode() == made.encode()
        assert read.services == ("prod",)
        assert read.recovery_keys == (recipient.key_id,)
        assert await envelope.open_with(read, service, CONTEXT) == key
        service.down = True
        assert envelope.recover(read, identity, CONTEXT) == key
        assert key not in made.encode()

    asyncio.run(main())


@given(st.sampled_from(sorted(CONTEXT)), st.text("abc789", min_size=1, max_size=4))
def test_another_context_opens_nothing(fact: str, value: str) -> None:
    recipient, identity = _recovery()
    service = FakeKeyService()
    wrong = {**CONTEXT, fact: CONTEXT[fact] + value}

    async def main() -> None:
        _, made = await envelope.create(service, [recipient], CONTEXT)
        with pytest.raises(KeyRefused):
            await envelope.open_with(made, service, wrong)
        with pytest.raises(KeyRefused):
            await envelope.rewrap(made, service, wrong)
        with pytest.raises(KeyRefused):
            envelope.recover(made, identity, wrong)

    asyncio.run(main())


def test_a_recipient_moved_from_another_version_is_noticed() -> None:
    """The same service wraps both, so only the commitment tells that the key is not this version's."""
    recipient, identity = _recovery()
    service = FakeKeyService()

    async def main() -> None:
        _, one = await envelope.create(service, [recipient], CONTEXT)
        _, other = await envelope.create(service, [recipient], CONTEXT)
        spliced = msgspec.structs.replace(one, recipients=other.recipients)
        with pytest.raises(Tampered):
            await envelope.open_with(spliced, service, CONTEXT)
        with pytest.raises(Tampered):
            envelope.recover(spliced, identity, CONTEXT)
        with pytest.raises(Tampered):
            await envelope.rewrap(spliced, service, CONTEXT)

    asyncio.run(main())


def test_rewrap_leaves_the_recovery_key_and_the_data_key() -> None:
    recipient, identity = _recovery()
    service = FakeKeyService()

    async def main() -> None:
        key, made = await envelope.create(service, [recipient], CONTEXT)
        await service.rotate()
        moved = await envelope.rewrap(made, service, CONTEXT)
        service.disabled.add("1")

        assert [each.version for each in moved.recipients] == ["2", "1"]
        assert moved.recipients[1] == made.recipients[1]
        assert moved.commitment == made.commitment
        assert await envelope.open_with(moved, service, CONTEXT) == key
        assert envelope.recover(moved, identity, CONTEXT) == key
        with pytest.raises(KeyRefused):
            await envelope.open_with(made, service, CONTEXT)

    asyncio.run(main())


def test_a_rewrap_that_would_not_open_is_not_returned() -> None:
    service = FakeKeyService()

    async def main() -> None:
        _, made = await envelope.create(service, [], CONTEXT)
        service.answers = new_key()
        with pytest.raises(Tampered):
            await envelope.rewrap(made, service, CONTEXT)

    asyncio.run(main())


def test_a_recovered_key_is_addressed_to_a_new_service() -> None:
    """The drill: the old service is lost for good."""
    recipient, identity = _recovery()
    new_recipient, new_identity = _recovery()
    lost, new = FakeKeyService("lost"), FakeKeyService("new")

    async def main() -> None:
        key, made = await envelope.create(lost, [recipient], CONTEXT)
        with pytest.raises(KeyRefused, match="not wrapped by"):
            await envelope.open_with(made, new, CONTEXT)
        moved = await envelope.readdress(
            envelope.recover(made, identity, CONTEXT), new, [new_recipient], CONTEXT
        )

        assert await envelope.open_with(moved, new, CONTEXT) == key
        assert envelope.recover(moved, new_identity, CONTEXT) == key
        assert moved.commitment == made.commitment
        with pytest.raises(KeyRefused):
            envelope.recover(moved, identity, CONTEXT)

    asyncio.run(main())


@pytest.mark.parametrize("down", [True, False])
def test_without_the_service_nothing_is_made(down: bool) -> None:
    recipient, _ = _recovery()
    service = FakeKeyService()
    service.down, service.denies = down, not down

    async def main() -> None:
        with pytest.raises(KeyServiceUnavailable if down else KeyRefused):
            await envelope.create(service, [recipient], CONTEXT)

    asyncio.run(main())


def test_recipients_are_few_and_different() -> None:
    recipient, _ = _recovery()

    async def main() -> None:
        for recovery in ([recipient, recipient], [_recovery()[0] for _ in range(16)]):
            with pytest.raises(InvalidRequest):
                await envelope.create(FakeKeyService(), recovery, CONTEXT)

    asyncio.run(main())


@given(st.data())
def test_a_damaged_envelope_is_refused_and_never_gives_another_key(data: st.DataObject) -> None:
    recipient, _ = _recovery()
    service = FakeKeyService()

    async def main() -> None:
        key, made = await envelope.create(service, [recipient], CONTEXT)
        encoded = made.encode()
        at = data.draw(st.integers(0, len(encoded) - 1))
        changed = encoded[:at] + bytes([data.draw(st.integers(0, 255))]) + encoded[at + 1 :]
        try:
            opened = await envelope.open_with(Envelope.decode(changed), service, CONTEXT)
        except VaultError:
            return
        assert opened == key  # what changed was of the other recipient, or nothing

    asyncio.run(main())


def test_what_is_no_envelope_is_refused() -> None:
    for text in (
        b"",
        b"{}",
        b"[]",
        b'{"format":"fairlead-envelope/2"}',
        b"\xff",
        b'{"commitment":"","recipients":[]}',
    ):
        with pytest.raises(Tampered):
            Envelope.decode(text)
