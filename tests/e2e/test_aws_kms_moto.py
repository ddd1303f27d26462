"""The client of AWS KMS against moto's server, where that does what KMS does, and against boto3.

moto lets disabled keys and those that wait for their deletion decrypt, so
states of keys are for the strict fake alone (tests/contract).
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fairlead.config.kinds import Secret
from fairlead.config.vault_options import KeyServiceOptions, VaultKeys
from fairlead.errors import KeyRefused
from fairlead.net.client import Client
from fairlead.testing_keys import FakeAwsKms
from fairlead.vault.keys import envelope
from fairlead.vault.keys.opened import Keys, open_keys
from fairlead.vault.keys.port import new_key

pytest.importorskip("moto", reason="moto is not installed")
boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")

CONTEXT = {"fairlead:tenant": "acme", "fairlead:model": "fraud/scorer", "fairlead:version": "7"}


@pytest.fixture(scope="module")
def moto_url() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, "moto's server ended"
                assert time.monotonic() < give_up, "moto's server did not start"
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(timeout=30)


def _boto(
    url: str, access_key_id: str = "AKIATEST", secret: str = "secret", region: str = "eu-central-1"
) -> Any:
    return boto3.client(
        "kms",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
    )


@asynccontextmanager
async def _opened(
    url: str, *keys: str, access_key_id: str = "AKIATEST", secret: str = "secret"
) -> AsyncIterator[Keys]:
    services = {
        f"kms-{number}": KeyServiceOptions(
            type="aws-kms",
            url=url,
            key=key,
            access_key_id=Secret("env:ID"),
            secret_access_key=Secret("env:SECRET"),
            timeout_s=20.0,
        )
        for number, key in enumerate(keys)
    }
    client = Client()
    values = {"env:ID": access_key_id, "env:SECRET": secret}
    options = VaultKeys(services=services, default="kms-0")
    opened = open_keys(
        options,
        Path("/nonexistent"),
        client,
        resolve=lambda secret: values[secret.reference],
        proxy_for=lambda *_: None,
    )
    try:
        yield opened
    finally:
        await client.close()


def test_moto_gives_keys_back_under_their_context_only(moto_url: str) -> None:
    arn = _boto(moto_url).create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]

    async def main() -> None:
        async with _opened(moto_url, arn) as keys:
            service = keys.default
            for key, wrapped in [await service.generate(CONTEXT), await _wrapped(service)]:
                assert await service.unwrap(wrapped, CONTEXT) == key
                with pytest.raises(KeyRefused):
                    await service.unwrap(wrapped, {**CONTEXT, "fairlead:version": "8"})
                changed = wrapped.blob[:-1] + bytes([wrapped.blob[-1] ^ 1])
                with pytest.raises(KeyRefused):
                    await service.unwrap(msgspec.structs.replace(wrapped, blob=changed), CONTEXT)
            assert (await service.describe()).usable

    asyncio.run(main())


def test_moto_re_encrypts_after_an_on_demand_rotation(moto_url: str) -> None:
    arn = _boto(moto_url).create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]

    async def main() -> None:
        async with _opened(moto_url, arn) as keys:
            key, made = await envelope.create(keys.default, [], CONTEXT)
            await keys.default.rotate()  # type: ignore[attr-defined]
            moved = await envelope.rewrap(made, keys.default, CONTEXT)

            assert moved.recipients[0].blob != made.recipients[0].blob
            assert await envelope.open_with(moved, keys.default, CONTEXT) == key

    asyncio.run(main())


def test_moto_refuses_a_key_that_does_not_exist(moto_url: str) -> None:
    arn = _boto(moto_url).create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    missing = arn[:-4] + "0000"

    async def main() -> None:
        async with _opened(moto_url, arn, missing) as keys:
            with pytest.raises(KeyRefused):
                await keys.find("kms-1").generate(CONTEXT)
            with pytest.raises(KeyRefused):
                await keys.find("kms-1").describe()

    asyncio.run(main())


def test_boto3_and_the_client_open_each_others_keys(moto_url: str) -> None:
    boto = _boto(moto_url)
    arn = boto.create_key(KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["Arn"]
    theirs = secrets.token_bytes(32)
    blob = boto.encrypt(KeyId=arn, Plaintext=theirs, EncryptionContext=CONTEXT)["CiphertextBlob"]

    async def main() -> None:
        async with _opened(moto_url, arn) as keys:
            ours, wrapped = await keys.default.generate(CONTEXT)
            decrypted = boto.decrypt(KeyId=arn, CiphertextBlob=wrapped.blob, EncryptionContext=CONTEXT)

            assert decrypted["Plaintext"] == ours
            assert await keys.default.unwrap(msgspec.structs.replace(wrapped, blob=blob), CONTEXT) == theirs

    asyncio.run(main())


def test_boto3_takes_the_strict_fake_for_kms() -> None:
    """The fake is held against AWS's own client, with its signatures."""

    async def main() -> None:
        async with FakeAwsKms() as fake:
            key = fake.create_key()
            boto = _boto(fake.url, fake.credentials.access_key_id, fake.credentials.secret_access_key)

            def use() -> None:
                made = boto.generate_data_key(KeyId=key.arn, KeySpec="AES_256", EncryptionContext=CONTEXT)
                blob = made["CiphertextBlob"]
                opened = boto.decrypt(KeyId=key.arn, CiphertextBlob=blob, EncryptionContext=CONTEXT)
                assert opened["Plaintext"] == made["Plaintext"]
                with pytest.raises(boto.exceptions.InvalidCiphertextException):
                    boto.decrypt(KeyId=key.arn, CiphertextBlob=blob, EncryptionContext={"a": "b"})
                moved = boto.re_encrypt(
                    CiphertextBlob=blob,
                    SourceEncryptionContext=CONTEXT,
                    DestinationKeyId=key.arn,
                    DestinationEncryptionContext=CONTEXT,
                )
                assert moved["SourceKeyId"] == moved["KeyId"] == key.arn
                assert boto.describe_key(KeyId=key.arn)["KeyMetadata"]["KeyState"] == "Enabled"
                key.state = "Disabled"
                with pytest.raises(boto.exceptions.DisabledException):
                    boto.decrypt(KeyId=key.arn, CiphertextBlob=blob, EncryptionContext=CONTEXT)
                key.state = "PendingDeletion"
                with pytest.raises(boto.exceptions.KMSInvalidStateException):
                    boto.decrypt(KeyId=key.arn, CiphertextBlob=blob, EncryptionContext=CONTEXT)

            await asyncio.to_thread(use)

    asyncio.run(main())


async def _wrapped(service: Any) -> tuple[bytes, Any]:
    key = new_key()
    return key, await service.wrap(key, CONTEXT)
