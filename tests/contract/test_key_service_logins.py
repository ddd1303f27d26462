"""How key services are logged in to, and what the configuration says of them, against strict fakes."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import msgspec
import pytest
import trustme
from tests.contract.key_rigs import CONTEXT, PIN, hsm_options, opened, softhsm_token

from fairlead import config
from fairlead.config.kinds import Secret, UpstreamTls
from fairlead.config.vault_options import KeyServiceOptions, VaultKeys
from fairlead.errors import ConfigError, KeyRefused, KeyServiceUnavailable
from fairlead.net.client import Client
from fairlead.net.server import Server
from fairlead.testing_keys import FakeAwsKms, FakeAzureKeyVault, FakeGcpKms, FakeTransit
from fairlead.vault.keys.gcp_kms import GcpKms
from fairlead.vault.keys.http import HttpWire
from fairlead.vault.keys.opened import open_keys
from fairlead.vault.keys.port import new_key
from fairlead.vault.keys.tokens import Metadata, azure_post, google_post

__all__ = ["softhsm_token"]


def test_a_service_account_logs_in_once_and_again_when_its_token_ends(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeTransit() as server:
            server.create_key("models")
            server.roles["vault"] = "service-account-token"
            options = KeyServiceOptions(
                type="transit",
                url=server.url,
                key="models",
                auth="kubernetes",
                role="vault",
                jwt=Secret("env:JWT"),
            )
            secrets = {"JWT": "service-account-token"}
            async with opened({"first": options}, secrets, tmp_path) as keys:
                key = new_key()
                wrapped = await keys.default.wrap(key, CONTEXT)
                await keys.default.unwrap(wrapped, CONTEXT)

                assert [each.target for each in server.seen].count("/v1/auth/kubernetes/login") == 1

                # The server forgets the token: refused once, a new login, no failure.
                del server.tokens[next(each for each in server.tokens if each != server.token)]

                assert await keys.default.unwrap(wrapped, CONTEXT) == key
                assert [each.target for each in server.seen].count("/v1/auth/kubernetes/login") == 2

                server.roles.clear()
                server.tokens.clear()
                with pytest.raises(KeyRefused, match="login"):
                    await keys.default.unwrap(wrapped, CONTEXT)

    asyncio.run(main())


def test_a_token_that_was_renewed_is_used_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeTransit() as server:
            server.create_key("models")
            options = KeyServiceOptions(type="transit", url=server.url, key="models", token=Secret("env:T"))
            secrets = {"T": "expired"}
            async with opened({"first": options}, secrets, tmp_path) as keys:
                with pytest.raises(KeyRefused):
                    await keys.default.wrap(new_key(), CONTEXT)
                secrets["T"] = server.token

                assert (await keys.default.wrap(new_key(), CONTEXT)).version == "1"

    asyncio.run(main())


def test_a_missing_secret_is_an_unavailable_service(tmp_path: Path) -> None:
    async def main() -> None:
        client = Client()

        def resolve(secret: Secret) -> str:
            raise ConfigError("the environment variable `T` is not set")

        services = {
            "a": KeyServiceOptions(type="transit", url="http://127.0.0.1:1", key="k", token=Secret("env:T")),
            "b": KeyServiceOptions(
                type="aws-kms",
                url="http://127.0.0.1:1",
                key="arn:aws:kms:eu-west-1:111122223333:key/k",
                access_key_id=Secret("env:A"),
                secret_access_key=Secret("env:B"),
            ),
        }
        options = VaultKeys(services=services, default="a")
        keys = open_keys(options, tmp_path, client, resolve=resolve, proxy_for=lambda *_: None)
        for service in keys.services.values():
            with pytest.raises(KeyServiceUnavailable, match="not set"):
                await service.wrap(new_key(), CONTEXT)
        await client.close()

    asyncio.run(main())


def test_the_machines_own_identity_is_asked_once() -> None:
    async def main() -> None:
        client = Client()
        for server, post in ((FakeGcpKms(), google_post()), (FakeAzureKeyVault(), azure_post("client"))):
            async with server:
                clock = [0.0]
                wire = HttpWire(client, server.url, service="first", timeout_s=20.0)
                bearer = Metadata("first", wire, post, lambda clock=clock: clock[0])

                assert await bearer.token() == await bearer.token() == server.token
                assert len(server.seen) == 1

                clock[0] = 3599 - 119
                server.token = "renewed"

                assert await bearer.token() == "renewed"
                assert len(server.seen) == 2
        await client.close()

    asyncio.run(main())


def test_a_refused_token_of_the_machine_is_asked_for_again() -> None:
    async def main() -> None:
        client = Client()
        async with FakeGcpKms() as server:
            key = server.create_key()
            wire = HttpWire(client, server.url, service="first", timeout_s=20.0)
            service = GcpKms("first", wire, Metadata("first", wire, google_post()), key=key.name)
            wrapped = await service.wrap(new_key(), CONTEXT)
            server.token = "another"

            assert len(await service.unwrap(wrapped, CONTEXT)) == 32
        await client.close()

    asyncio.run(main())


def test_older_keys_still_open_and_rewrap_to_the_new_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeAwsKms() as server:
            old, new = server.create_key(), server.create_key()

            def options(key: str, *previous: str) -> KeyServiceOptions:
                return KeyServiceOptions(
                    type="aws-kms",
                    url=server.url,
                    key=key,
                    previous_keys=list(previous),
                    access_key_id=Secret("env:ID"),
                    secret_access_key=Secret("env:SECRET"),
                )

            secrets = {
                "ID": server.credentials.access_key_id,
                "SECRET": server.credentials.secret_access_key,
            }
            services = {"a": options(old.arn), "b": options(new.arn), "c": options(new.arn, old.arn)}
            async with opened(services, secrets, tmp_path) as keys:
                key, wrapped = await keys.find("a").generate(CONTEXT)
                with pytest.raises(KeyRefused, match="not configured"):
                    await keys.find("b").unwrap(wrapped, CONTEXT)
                moved = await keys.find("c").rewrap(wrapped, CONTEXT)

                assert moved.key_id == new.arn
                assert await keys.find("b").unwrap(moved, CONTEXT) == key

    asyncio.run(main())


def test_warnings_name_what_an_operator_should_mend(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeTransit() as server:
            server.create_key("models", exportable=True).deletion_allowed = True
            options = KeyServiceOptions(type="transit", url=server.url, key="models", token=Secret("env:T"))
            async with opened({"first": options}, {"T": server.token}, tmp_path) as keys:
                said = await keys.default.describe()

                assert [text.split()[2:4] for text in said.warnings] == [["is", "exportable:"], ["may", "be"]]

    asyncio.run(main())


def test_certificates_are_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def main() -> None:
        fake = FakeTransit()
        fake.create_key("models")
        server = Server(fake, config.Server(port=0), ssl=context)
        await server.start("127.0.0.1", 0)
        unknown = KeyServiceOptions(
            type="transit", url=f"https://127.0.0.1:{server.port}", key="models", token=Secret("env:T")
        )
        known = msgspec.structs.replace(unknown, tls=UpstreamTls(ca=str(tmp_path / "ca.pem")))
        named = msgspec.structs.replace(
            unknown, tls=UpstreamTls(ca=str(tmp_path / "ca.pem"), server_name="other.example")
        )
        services = {"known": known, "unknown": unknown, "named": named}
        async with opened(services, {"T": fake.token}, tmp_path) as keys:
            for name in ("unknown", "named"):
                with pytest.raises(KeyServiceUnavailable):
                    await keys.find(name).wrap(new_key(), CONTEXT)
            assert fake.seen == []
            assert len((await keys.find("known").generate(CONTEXT))[0]) == 32
        await server.drain(0)

    asyncio.run(main())


def test_a_token_with_another_pin_or_label_or_key_is_refused(tmp_path: Path, softhsm_token: str) -> None:
    async def main() -> None:
        cases = (
            (hsm_options(softhsm_token, "nobody"), PIN, KeyRefused),
            (hsm_options("nobody", "models"), PIN, KeyServiceUnavailable),
            (hsm_options(softhsm_token, "models"), "wrong-pin", KeyRefused),
            (hsm_options(softhsm_token, "models", module="/nonexistent.so"), PIN, KeyServiceUnavailable),
        )
        for options, pin, expected in cases:
            async with opened({"first": options}, {"PIN": pin}, tmp_path) as keys:
                with pytest.raises(expected):
                    await keys.default.wrap(new_key(), CONTEXT)

    asyncio.run(main())


def test_a_key_that_could_leave_its_token_is_refused(tmp_path: Path, softhsm_token: str) -> None:
    import pkcs11

    async def main() -> None:
        options = hsm_options(softhsm_token, "loose")
        async with opened({"first": options}, {"PIN": PIN}, tmp_path) as keys:
            token = pkcs11.lib(str(options.module)).get_token(token_label=softhsm_token)
            with token.open(rw=True, user_pin=PIN) as session:
                session.generate_key(
                    pkcs11.KeyType.AES,
                    256,
                    label="loose",
                    store=True,
                    template={pkcs11.Attribute.EXTRACTABLE: True, pkcs11.Attribute.SENSITIVE: False},
                )
                with pytest.raises(KeyRefused, match="can be taken out"):
                    await keys.default.wrap(new_key(), CONTEXT)

    asyncio.run(main())
