"""Key services that are down, slow, broken, denying or lying: nothing is ever decrypted.

One row of the table a server's way to fail, one column an operation.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.contract.key_rigs import CONTEXT, Open, Rig, aws, azure, gcp, opened, transit

from fairlead.config.kinds import Secret
from fairlead.config.vault_options import KeyServiceOptions
from fairlead.errors import FairleadError, KeyRefused, KeyServiceUnavailable, Tampered
from fairlead.net.client import Client
from fairlead.testing_keys import (
    FakeAwsKms,
    FakeAzureKeyVault,
    FakeGcpKms,
    FakeKeyService,
    FakeTransit,
    Outage,
)
from fairlead.vault.keys import envelope
from fairlead.vault.keys.http import HttpWire, Post
from fairlead.vault.keys.port import KeyService, Wrapped, new_key

SERVERS: dict[str, Open] = {"transit": transit, "aws": aws, "gcp": gcp, "azure": azure}
OUTAGES = [each for each in Outage if each not in (Outage.NONE, Outage.SLOW)]

OPERATIONS: dict[str, Callable[[KeyService, Wrapped], Awaitable[object]]] = {
    "generate": lambda service, _: service.generate(CONTEXT),
    "wrap": lambda service, _: service.wrap(new_key(), CONTEXT),
    "unwrap": lambda service, wrapped: service.unwrap(wrapped, CONTEXT),
    "rewrap": lambda service, wrapped: service.rewrap(wrapped, CONTEXT),
    "describe": lambda service, _: service.describe(),
}


def _on(kind: str, directory: Path, check: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        async with SERVERS[kind](directory) as rig:
            await check(rig)

    asyncio.run(main())


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("outage", OUTAGES)
def test_a_failing_service_gives_nothing(kind: str, outage: Outage, tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        assert rig.server is not None
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        rig.server.fail(outage)
        for operation in OPERATIONS.values():
            with pytest.raises(KeyServiceUnavailable) as raised:
                await operation(rig.service, wrapped)
            assert raised.value.status == 503
            assert raised.value.exit_status != 0
        rig.server.fail(Outage.NONE)

        assert len(await rig.service.unwrap(wrapped, CONTEXT)) == 32

    _on(kind, tmp_path, check)


def test_a_slow_service_is_given_up_in_time(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeTransit() as server:
            server.create_key("models")
            patient, hasty = (
                KeyServiceOptions(
                    type="transit", url=server.url, key="models", token=Secret("env:T"), timeout_s=timeout_s
                )
                for timeout_s in (20.0, 0.1)
            )
            async with opened({"a": patient, "b": hasty}, {"T": server.token}, tmp_path) as keys:
                wrapped = await keys.find("a").wrap(new_key(), CONTEXT)
                server.fail(Outage.SLOW)
                for operation in OPERATIONS.values():
                    async with asyncio.timeout(20):
                        with pytest.raises(KeyServiceUnavailable):
                            await operation(keys.find("b"), wrapped)

    asyncio.run(main())


@pytest.mark.parametrize("kind", SERVERS)
def test_nothing_listens(kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with SERVERS[kind](tmp_path) as rig:
            wrapped = await rig.service.wrap(new_key(), CONTEXT)
            assert rig.server is not None
            await rig.server.__aexit__(None, None, None)
            with pytest.raises(KeyServiceUnavailable):
                await rig.service.unwrap(wrapped, CONTEXT)

    asyncio.run(main())


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("outage", [Outage.DOWN, Outage.BUSY, Outage.BROKEN])
def test_a_short_outage_is_got_over(kind: str, outage: Outage, tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        assert rig.server is not None
        key = new_key()
        wrapped = await rig.service.wrap(key, CONTEXT)
        rig.server.fail(outage, times=2)

        assert await rig.service.unwrap(wrapped, CONTEXT) == key

    _on(kind, tmp_path, check)


def test_what_changes_the_service_is_not_repeated() -> None:
    async def main() -> None:
        async with FakeTransit() as server:
            client = Client()
            wire = HttpWire(client, server.url, service="first", timeout_s=20.0)
            server.fail(Outage.DOWN)
            with pytest.raises(KeyServiceUnavailable):
                await wire.ask(Post(target="/v1/transit/keys/models/rotate", repeatable=False))
            once = len(server.seen)
            with pytest.raises(KeyServiceUnavailable):
                await wire.ask(Post(target="/v1/transit/decrypt/models"))

            assert (once, len(server.seen)) == (1, 4)
            await client.close()

    asyncio.run(main())


# --- denying -------------------------------------------------------------------------------------


def _deny_all(server: object) -> None:
    if isinstance(server, FakeTransit):
        server.tokens[server.token] = frozenset()
    elif isinstance(server, FakeAwsKms):
        server.denied = {"Decrypt", "Encrypt", "GenerateDataKey", "ReEncrypt", "DescribeKey"}
    elif isinstance(server, FakeGcpKms):
        server.denied = {"encrypt", "decrypt", ""}
    elif isinstance(server, FakeAzureKeyVault):
        server.denied = {"wrapkey", "unwrapkey"}


def _change_credentials(server: object) -> None:
    if isinstance(server, FakeTransit):
        server.tokens.clear()
    elif isinstance(server, FakeAwsKms):
        server.credentials = type(server.credentials)(
            access_key_id=server.credentials.access_key_id, secret_access_key="another"
        )
    elif isinstance(server, FakeGcpKms | FakeAzureKeyVault):
        server.token = "another"


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("change", [_deny_all, _change_credentials])
def test_a_denying_service_gives_nothing(kind: str, change: Callable[[object], None], tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        change(rig.server)
        for name, operation in OPERATIONS.items():
            if kind == "azure" and change is _deny_all and name == "describe":
                continue  # reading a key's attributes is another permission there
            with pytest.raises(KeyRefused):
                await operation(rig.service, wrapped)

    _on(kind, tmp_path, check)


# --- lying ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("size", [32, 0, 31, 33])
def test_another_key_is_not_believed(kind: str, size: int, tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        key, made = await envelope.create(rig.service, [], CONTEXT)
        rig.server.answers = secrets.token_bytes(size)  # type: ignore[union-attr]
        with pytest.raises((Tampered, KeyRefused)):
            await envelope.open_with(made, rig.service, CONTEXT)
        with pytest.raises((Tampered, KeyRefused)):
            await envelope.rewrap(made, rig.service, CONTEXT)
        rig.server.answers = b"\0" * 32  # type: ignore[union-attr]
        with pytest.raises((Tampered, KeyRefused)):
            await rig.service.unwrap(made.recipients[0], CONTEXT)
        rig.server.answers = None  # type: ignore[union-attr]

        assert await envelope.open_with(made, rig.service, CONTEXT) == key

    _on(kind, tmp_path, check)


def test_an_answer_for_another_key_is_not_believed(tmp_path: Path) -> None:
    async def aws_check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        assert isinstance(rig.server, FakeAwsKms)
        rig.server.names_key = (await rig.other.describe()).key_id
        for name in ("generate", "wrap", "unwrap", "rewrap"):
            with pytest.raises(Tampered):
                await OPERATIONS[name](rig.service, wrapped)

    async def gcp_check(rig: Rig) -> None:
        assert isinstance(rig.server, FakeGcpKms)
        rig.server.names_key = (await rig.other.describe()).key_id
        with pytest.raises(Tampered):
            await rig.service.wrap(new_key(), CONTEXT)

    async def azure_check(rig: Rig) -> None:
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        assert isinstance(rig.server, FakeAzureKeyVault)
        rig.server.names_version = "0" * 32
        for name in ("wrap", "unwrap"):
            with pytest.raises(Tampered):
                await OPERATIONS[name](rig.service, wrapped)

    _on("aws", tmp_path, aws_check)
    _on("gcp", tmp_path, gcp_check)
    _on("azure", tmp_path, azure_check)


def test_checksums_of_google_are_checked(tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        server = rig.server
        assert isinstance(server, FakeGcpKms)
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        server.flips_answers = True
        for name in ("wrap", "unwrap"):
            with pytest.raises(Tampered):
                await OPERATIONS[name](rig.service, wrapped)
        server.flips_answers, server.flips_requests = False, True
        for name in ("wrap", "unwrap"):
            with pytest.raises(KeyRefused):
                await OPERATIONS[name](rig.service, wrapped)
        server.flips_requests, server.verifies = False, False
        with pytest.raises(KeyServiceUnavailable):
            await rig.service.wrap(new_key(), CONTEXT)

    _on("gcp", tmp_path, check)


# --- states of keys ------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["Disabled", "PendingDeletion", "PendingImport"])
def test_a_kms_key_that_is_not_enabled_does_nothing(state: str, tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        assert isinstance(rig.server, FakeAwsKms)
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        rig.server.keys[wrapped.key_id].state = state
        for name in ("generate", "wrap", "unwrap", "rewrap"):
            with pytest.raises(KeyRefused):
                await OPERATIONS[name](rig.service, wrapped)
        said = await rig.service.describe()

        assert not said.usable
        assert state in said.warnings[0]

    _on("aws", tmp_path, check)


def test_a_throttled_call_is_repeated_and_then_given_up(tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        assert isinstance(rig.server, FakeAwsKms)
        rig.server.throttles = 2
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        rig.server.throttles = 3
        with pytest.raises(KeyServiceUnavailable):
            await rig.service.unwrap(wrapped, CONTEXT)

    _on("aws", tmp_path, check)


def test_a_clock_that_is_wrong_is_refused_by_kms(tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        assert isinstance(rig.server, FakeAwsKms)
        rig.server.now = 0.0
        with pytest.raises(KeyRefused) as raised:
            await rig.service.wrap(new_key(), CONTEXT)

        assert "clock" in (raised.value.hint or "")

    _on("aws", tmp_path, check)


def test_a_deleted_transit_key_opens_nothing_and_none_is_made_instead(tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        assert isinstance(rig.server, FakeTransit)
        wrapped = await rig.service.wrap(new_key(), CONTEXT)
        rig.server.delete_key("models")
        for operation in OPERATIONS.values():
            with pytest.raises(KeyRefused):
                await operation(rig.service, wrapped)

    _on("transit", tmp_path, check)


def test_an_engine_without_associated_data_is_noticed(tmp_path: Path) -> None:
    """It binds nothing; the envelope's commitment does."""

    async def check(rig: Rig) -> None:
        assert isinstance(rig.server, FakeTransit)
        rig.server.ignores_associated_data = True
        _, made = await envelope.create(rig.service, [], CONTEXT)
        with pytest.raises(Tampered):
            await envelope.open_with(made, rig.service, {**CONTEXT, "fairlead:version": "8"})

    _on("transit", tmp_path, check)


def test_a_context_that_the_engine_would_ignore_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeTransit() as server:
            server.create_key("models")
            options = KeyServiceOptions(
                type="transit", url=server.url, key="models", token=Secret("env:T"), binding="derived-key"
            )
            async with opened({"first": options}, {"T": server.token}, tmp_path) as keys:
                with pytest.raises(KeyRefused, match="not derived"):
                    await keys.default.wrap(new_key(), CONTEXT)
                said = await keys.default.describe()

                assert not said.usable
                assert said.warnings

    asyncio.run(main())


# --- no secrets in errors --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SERVERS)
def test_no_error_holds_a_secret(kind: str, tmp_path: Path) -> None:
    async def check(rig: Rig) -> None:
        server = rig.server
        assert server is not None
        key = new_key()
        wrapped = await rig.service.wrap(key, CONTEXT)
        token = getattr(server, "token", None) or getattr(server, "credentials").secret_access_key  # noqa: B009
        texts: list[str] = []
        for outage in OUTAGES:
            server.fail(outage)
            try:
                await rig.service.unwrap(wrapped, CONTEXT)
            except FairleadError as error:
                texts += [repr(error), error.message, error.hint or "", repr(error.__cause__)]
        server.fail(Outage.NONE)

        assert texts
        assert not [text for text in texts if token in text or key.hex() in text]

    _on(kind, tmp_path, check)


def test_a_fake_in_memory_fails_as_told() -> None:
    async def main() -> None:
        service = FakeKeyService()
        wrapped = await service.wrap(new_key(), CONTEXT)
        service.down = True
        with pytest.raises(KeyServiceUnavailable):
            await service.unwrap(wrapped, CONTEXT)
        service.down, service.denies = False, True
        with pytest.raises(KeyRefused):
            await service.unwrap(wrapped, CONTEXT)

    asyncio.run(main())
