"""What every key service does: those that need no other, fakes of the real ones, and a real token."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.contract.key_rigs import (
    CONTEXT,
    Open,
    Rig,
    aws,
    azure,
    gcp,
    key_file,
    memory,
    pkcs11,
    softhsm_token,
    transit,
)

from fairlead.errors import InvalidRequest, KeyRefused, VaultError
from fairlead.vault.keys import envelope
from fairlead.vault.keys.port import new_key

__all__ = ["softhsm_token"]

BACKENDS: dict[str, Open] = {
    "memory": memory,
    "machine key": key_file,
    "passphrase": functools.partial(key_file, passphrase="correct horse battery"),
    "transit": transit,
    "transit, derived": functools.partial(transit, derived=True),
    "aws": aws,
    "gcp": gcp,
    "azure": azure,
}
Check = Callable[[Rig], Awaitable[None]]
Run = Callable[[Check], str]


@pytest.fixture(params=[*BACKENDS, "pkcs11"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a check on one backend, and gives the backend's name."""
    name: str = request.param
    open_ = BACKENDS.get(name)
    if open_ is None:
        open_ = functools.partial(pkcs11, token_label=request.getfixturevalue("softhsm_token"))

    async def checked(check: Check) -> None:
        async with open_(tmp_path) as rig:
            await check(rig)

    def runner(check: Check) -> str:
        asyncio.run(checked(check))
        return name

    return runner


def test_a_key_comes_back_under_its_context_only(run: Run) -> None:
    async def check(rig: Rig) -> None:
        key = new_key()
        wrapped = await rig.service.wrap(key, CONTEXT)
        reordered = dict(reversed(CONTEXT.items()))

        assert await rig.service.unwrap(wrapped, CONTEXT) == key
        assert await rig.service.unwrap(wrapped, reordered) == key
        assert key not in wrapped.blob
        for name in CONTEXT:
            for wrong in ({**CONTEXT, name: "8"}, {k: v for k, v in CONTEXT.items() if k != name}):
                with pytest.raises(KeyRefused):
                    await rig.service.unwrap(wrapped, wrong)
        with pytest.raises(KeyRefused):
            await rig.service.unwrap(wrapped, {**CONTEXT, "more": "facts"})

    run(check)


def test_two_wraps_of_one_key_differ(run: Run) -> None:
    async def check(rig: Rig) -> None:
        key = new_key()

        assert (await rig.service.wrap(key, CONTEXT)).blob != (await rig.service.wrap(key, CONTEXT)).blob

    run(check)


def test_a_generated_key_is_new_and_opens(run: Run) -> None:
    async def check(rig: Rig) -> None:
        made = [await rig.service.generate(CONTEXT) for _ in range(3)]

        assert len({key for key, _ in made}) == 3
        for key, wrapped in made:
            assert len(key) == 32
            assert await rig.service.unwrap(wrapped, CONTEXT) == key

    run(check)


def test_nothing_is_wrapped_without_a_context(run: Run) -> None:
    async def check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        for context in ({}, {"": "x"}, {"x": ""}, {"x": "a\n"}, {"x": "y" * 9000}):
            with pytest.raises(InvalidRequest):
                await rig.service.wrap(new_key(), context)
            with pytest.raises(InvalidRequest):
                await rig.service.generate(context)
            with pytest.raises(InvalidRequest):
                await rig.service.unwrap(wrapped, context)

    run(check)


def test_only_keys_of_32_bytes_are_wrapped(run: Run) -> None:
    async def check(rig: Rig) -> None:
        for key in (b"", b"x" * 31, b"x" * 33):
            with pytest.raises(ValueError, match="32 bytes"):
                await rig.service.wrap(key, CONTEXT)

    run(check)


def test_a_changed_blob_does_not_open(run: Run) -> None:
    async def check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        blob = wrapped.blob
        changed = [blob[:-1], blob + b"\0", blob[1:], b"\0"]
        step = max(1, len(blob) // 40)
        changed += [blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :] for at in range(0, len(blob), step)]
        for each in changed:
            with pytest.raises(KeyRefused):
                await rig.service.unwrap(msgspec.structs.replace(wrapped, blob=each), CONTEXT)

    run(check)


def test_another_service_does_not_open_it(run: Run) -> None:
    async def check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        theirs = await rig.other.wrap(new_key(), CONTEXT)

        with pytest.raises(KeyRefused):
            await rig.other.unwrap(wrapped, CONTEXT)
        # Not even when the key's name is changed to one that the service has.
        with pytest.raises(KeyRefused):
            await rig.other.unwrap(
                msgspec.structs.replace(wrapped, key_id=theirs.key_id, version=theirs.version), CONTEXT
            )
        with pytest.raises(KeyRefused):
            await rig.service.unwrap(msgspec.structs.replace(wrapped, key_id="somebody/else"), CONTEXT)

    run(check)


def test_another_version_does_not_open_it(run: Run) -> None:
    async def check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        if not wrapped.version:
            assert wrapped.key_id.startswith("arn:"), "only KMS tells no version"
            return
        await rig.rotate()
        newer = await rig.service.wrap(new_key(), CONTEXT)
        for version in ("0", "99", newer.version):
            moved = msgspec.structs.replace(wrapped, version=version)
            if wrapped.key_id.startswith("projects/"):
                continue  # Google's ciphertext names its version itself
            with pytest.raises(KeyRefused):
                await rig.service.unwrap(moved, CONTEXT)

    run(check)


def test_rotation_leaves_old_keys_open_and_rewrap_moves_them(run: Run) -> None:
    async def check(rig: Rig) -> None:
        key = new_key()
        old = await rig.service.wrap(key, CONTEXT)
        await rig.rotate()
        moved = await rig.service.rewrap(old, CONTEXT)
        fresh = await rig.service.wrap(new_key(), CONTEXT)

        assert await rig.service.unwrap(old, CONTEXT) == key
        assert await rig.service.unwrap(moved, CONTEXT) == key
        assert moved.blob != old.blob
        assert moved.version == fresh.version
        assert moved.version != old.version or moved.key_id.startswith("arn:")
        assert (await rig.service.describe()).version in (fresh.version, "")

    run(check)


def test_rewrapping_under_another_context_is_refused(run: Run) -> None:
    async def check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        with pytest.raises(KeyRefused):
            await rig.service.rewrap(wrapped, {**CONTEXT, "fairlead:version": "8"})

    run(check)


def test_it_describes_itself(run: Run) -> None:
    async def check(rig: Rig) -> None:
        said = await rig.service.describe()
        wrapped = await rig.service.wrap(new_key(), CONTEXT)

        assert said.service == rig.service.name == wrapped.service
        assert said.key_id == wrapped.key_id
        assert said.version == wrapped.version
        assert said.usable
        assert said.warnings == ()

    run(check)


def test_a_disabled_key_opens_nothing(run: Run) -> None:
    async def check(rig: Rig) -> None:
        if rig.disable is None:
            pytest.skip("a token has no switch for a key")
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        rig.disable()
        with pytest.raises(KeyRefused):
            await rig.service.unwrap(wrapped, CONTEXT)
        with pytest.raises(KeyRefused):
            await rig.service.rewrap(wrapped, CONTEXT)

    run(check)


def test_an_envelope_opens_rewraps_and_is_bound(run: Run) -> None:
    async def check(rig: Rig) -> None:
        key, made = await envelope.create(rig.service, [], CONTEXT)
        await rig.rotate()
        moved = await envelope.rewrap(made, rig.service, CONTEXT)

        assert await envelope.open_with(moved, rig.service, CONTEXT) == key
        with pytest.raises(VaultError):
            await envelope.open_with(moved, rig.service, {**CONTEXT, "fairlead:tenant": "evil"})

    run(check)
