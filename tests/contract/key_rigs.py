"""Key services with somebody behind them: fakes over HTTP, a key file, a token, memory."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from fairlead.config.kinds import Secret
from fairlead.config.vault_options import KeyServiceOptions, VaultKeys
from fairlead.net.client import Client
from fairlead.testing_keys import FakeAwsKms, FakeAzureKeyVault, FakeGcpKms, FakeKeyService, FakeTransit
from fairlead.testing_keys.server import FakeServer
from fairlead.vault.keys.keyfile import KeyFile
from fairlead.vault.keys.local import LocalKeys
from fairlead.vault.keys.opened import Keys, open_keys
from fairlead.vault.keys.port import KeyService

CONTEXT = {"fairlead:tenant": "acme", "fairlead:model": "fraud/scorer", "fairlead:version": "7"}
SOFTHSM = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "hsm-test-pin"


class Rig(msgspec.Struct, frozen=True):
    """A service, the server behind it if there is one, and ways to change what it does."""

    service: KeyService
    other: KeyService
    """A service of the same kind with another key."""
    server: FakeServer | None
    rotate: Callable[[], Awaitable[object]]
    disable: Callable[[], object] | None
    """Lets no key be unwrapped any more, the way an operator would."""


Open = Callable[[Path], AbstractAsyncContextManager[Rig]]


@contextlib.asynccontextmanager
async def opened(
    services: dict[str, KeyServiceOptions], secrets: dict[str, str], directory: Path
) -> AsyncIterator[Keys]:
    """Services as a configuration would open them; secrets are `env:` references."""
    client = Client()

    def resolve(secret: Secret) -> str:
        return secrets[secret.reference.removeprefix("env:")]

    options = VaultKeys(services=services, default=next(iter(services)))
    keys = open_keys(options, directory, client, resolve=resolve, proxy_for=lambda *_: None)
    try:
        yield keys
    finally:
        await keys.close()
        await client.close()


async def _did(_: object) -> None:
    """For changes that take no time."""


@contextlib.asynccontextmanager
async def memory(_: Path) -> AsyncIterator[Rig]:
    service = FakeKeyService()
    yield Rig(service, FakeKeyService(), None, service.rotate, lambda: service.disabled.update("123"))


@contextlib.asynccontextmanager
async def key_file(directory: Path, *, passphrase: str | None = None) -> AsyncIterator[Rig]:
    files = [KeyFile(directory / f"keys-{number}.json", passphrase, log_n=4) for number in (1, 2)]
    first, other = (LocalKeys(file.path.stem, functools.partial(_same, file)) for file in files)
    await first.create()
    await other.create()

    def disable() -> None:
        files[0].rotate("2026-01-02T00:00:00Z")
        files[0].disable(1)

    yield Rig(first, other, None, first.rotate, disable)


def _same(file: KeyFile) -> KeyFile:
    return file


@contextlib.asynccontextmanager
async def transit(directory: Path, *, derived: bool = False) -> AsyncIterator[Rig]:
    async with FakeTransit(namespace="team/ml") as server:
        for name in ("models", "others"):
            server.create_key(name, derived=derived)
        options = [
            KeyServiceOptions(
                type="transit",
                url=server.url,
                key=name,
                namespace="team/ml",
                binding="derived-key" if derived else None,
                token=Secret("env:TOKEN"),
                timeout_s=20.0,
            )
            for name in ("models", "others")
        ]

        def disable() -> None:
            server.keys["models"].min_decryption_version = 100

        async with opened(
            {"first": options[0], "other": options[1]}, {"TOKEN": server.token}, directory
        ) as keys:
            service = keys.find("first")
            yield Rig(service, keys.find("other"), server, service.rotate, disable)  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def aws(directory: Path) -> AsyncIterator[Rig]:
    async with FakeAwsKms() as server:
        made = [server.create_key(), server.create_key()]
        options = [
            KeyServiceOptions(
                type="aws-kms",
                url=server.url,
                key=key.arn,
                access_key_id=Secret("env:ID"),
                secret_access_key=Secret("env:SECRET"),
                timeout_s=20.0,
            )
            for key in made
        ]
        secrets = {
            "ID": server.credentials.access_key_id,
            "SECRET": server.credentials.secret_access_key,
        }
        async with opened({"first": options[0], "other": options[1]}, secrets, directory) as keys:
            service = keys.find("first")
            yield Rig(
                service,
                keys.find("other"),
                server,
                service.rotate,  # type: ignore[attr-defined]
                lambda: setattr(made[0], "state", "Disabled"),
            )


@contextlib.asynccontextmanager
async def gcp(directory: Path) -> AsyncIterator[Rig]:
    async with FakeGcpKms() as server:
        made = [server.create_key("models"), server.create_key("others")]
        options = [
            KeyServiceOptions(
                type="gcp-kms", url=server.url, key=key.name, token=Secret("env:TOKEN"), timeout_s=20.0
            )
            for key in made
        ]
        async with opened(
            {"first": options[0], "other": options[1]}, {"TOKEN": server.token}, directory
        ) as keys:
            yield Rig(
                keys.find("first"),
                keys.find("other"),
                server,
                lambda: _did(made[0].rotate()),
                lambda: made[0].states.__setitem__(slice(None), ["DISABLED"] * len(made[0].states)),
            )


@contextlib.asynccontextmanager
async def azure(directory: Path) -> AsyncIterator[Rig]:
    async with FakeAzureKeyVault() as server:
        made = [server.create_key("models"), server.create_key("others")]
        options = [
            KeyServiceOptions(
                type="azure-key-vault", url=server.url, key=name, token=Secret("env:TOKEN"), timeout_s=20.0
            )
            for name in server.keys
        ]
        async with opened(
            {"first": options[0], "other": options[1]}, {"TOKEN": server.token}, directory
        ) as keys:
            yield Rig(
                keys.find("first"),
                keys.find("other"),
                server,
                lambda: _did(made[0].rotate()),
                lambda: made[0].disabled.update(made[0].versions),
            )


@pytest.fixture(scope="session")
def softhsm_token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The label of a fresh token of Debian's softhsm2, a software HSM with its real PKCS#11 library."""
    if not SOFTHSM.exists():
        pytest.skip("softhsm2 is not installed")
    directory = tmp_path_factory.mktemp("softhsm")
    (directory / "tokens").mkdir()
    conf = directory / "softhsm2.conf"
    conf.write_text(
        f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    before = os.environ.get("SOFTHSM2_CONF")
    # The library reads it once, when this process first loads it.
    os.environ["SOFTHSM2_CONF"] = str(conf)
    subprocess.run(
        [
            "softhsm2-util",
            "--init-token",
            "--free",
            "--label",
            "fairlead",
            "--so-pin",
            "so-pin",
            "--pin",
            PIN,
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    yield "fairlead"
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


def hsm_options(token_label: str, key: str, **more: object) -> KeyServiceOptions:
    """A service on the token."""
    options = KeyServiceOptions(
        type="pkcs11",
        module=str(SOFTHSM),
        token_label=token_label,
        key=key,
        pin=Secret("env:PIN"),
        timeout_s=20.0,
    )
    return msgspec.structs.replace(options, **more)


_LABELS = itertools.count(1)


@contextlib.asynccontextmanager
async def pkcs11(directory: Path, token_label: str) -> AsyncIterator[Rig]:
    number = next(_LABELS)
    options = [hsm_options(token_label, f"models-{number}"), hsm_options(token_label, f"others-{number}")]
    async with opened({"first": options[0], "other": options[1]}, {"PIN": PIN}, directory) as keys:
        for each in keys.services.values():
            await each.rotate()  # type: ignore[attr-defined]
        service = keys.find("first")
        yield Rig(service, keys.find("other"), None, service.rotate, None)  # type: ignore[attr-defined]
