"""Builds the key services from the configuration. The one place that knows them all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from fairlead.config.kinds import Secret
from fairlead.config.vault_options import KeyServiceOptions, VaultKeys
from fairlead.errors import ConfigError, KeyServiceUnavailable
from fairlead.net.client import Client
from fairlead.net.sigv4 import Credentials
from fairlead.vault.keys.aws_kms import AwsKms, region_of
from fairlead.vault.keys.azure import AzureKeys
from fairlead.vault.keys.gcp_kms import GcpKms
from fairlead.vault.keys.http import HttpWire, Post
from fairlead.vault.keys.keyfile import KeyFile
from fairlead.vault.keys.local import LocalKeys
from fairlead.vault.keys.pkcs11 import Pkcs11Keys
from fairlead.vault.keys.port import KeyService
from fairlead.vault.keys.recovery import Recipient
from fairlead.vault.keys.tokens import (
    AZURE_METADATA,
    GOOGLE_METADATA,
    Bearer,
    Configured,
    Metadata,
    azure_post,
    google_post,
)
from fairlead.vault.keys.transit import KubernetesLogin, TransitKeys, namespace_headers

LOCAL: Final = "local"
"""The name of the service that there is without any configuration."""
KEY_FILE: Final = "vault-keys.json"
_POD_TOKEN: Final = Secret("file:/var/run/secrets/kubernetes.io/serviceaccount/token")
_MAX_PEM_BYTES: Final = 65_536

ProxyFor = Callable[[str, str, int], str | None]


class Keys:
    """The key services of a configuration."""

    def __init__(
        self, services: Mapping[str, KeyService], default: str, recovery: tuple[Recipient, ...]
    ) -> None:
        """Hold services by name; `default` wraps new keys."""
        self.services = MappingProxyType(dict(services))
        self.default = services[default]
        self.recovery = recovery

    def find(self, name: str) -> KeyService:
        """The service of this name.

        Raises:
            KeyServiceUnavailable: none is configured.
        """
        service = self.services.get(name)
        if service is None:
            raise KeyServiceUnavailable(
                f"no key service is named `{name[:64]}`",
                hint="the version was wrapped by it; configure it under `vault.keys.services`",
            )
        return service

    async def close(self) -> None:
        """Close what has sessions of its own; the HTTP client is its owner's."""
        for service in self.services.values():
            if isinstance(service, Pkcs11Keys):
                await service.close()


def open_keys(
    options: VaultKeys,
    state_dir: Path,
    client: Client,
    *,
    resolve: Callable[[Secret], str],
    proxy_for: ProxyFor,
    now: Callable[[], float] = time.time,
) -> Keys:
    """Build every service; nothing is asked and no secret is read yet.

    Args:
        options: the section `vault.keys`.
        state_dir: where the key file lies when nothing is configured.
        client: the HTTP client.
        resolve: gives a secret's value, or raises ConfigError.
        proxy_for: the environment's proxy for (scheme, host, port).
        now: Unix seconds.

    Raises:
        ConfigError: a recovery key cannot be read, or an extra is missing.
    """
    build = _Build(state_dir, client, resolve, proxy_for, now)
    recovery = tuple(Recipient.from_pem(_pem(path)) for path in options.recovery)
    if not options.services:
        return Keys({LOCAL: build.service(LOCAL, KeyServiceOptions(type="local"))}, LOCAL, recovery)
    services = {name: build.service(name, each) for name, each in options.services.items()}
    return Keys(services, options.default or next(iter(services)), recovery)


class _Build:
    """What every service is built with."""

    def __init__(
        self,
        state_dir: Path,
        client: Client,
        resolve: Callable[[Secret], str],
        proxy_for: ProxyFor,
        now: Callable[[], float],
    ) -> None:
        self._state_dir = state_dir
        self._client = client
        self._resolve = resolve
        self._proxy_for = proxy_for
        self._now = now

    def service(self, name: str, options: KeyServiceOptions) -> KeyService:
        """One service; the rules of the configuration have seen to it that what it needs is there."""
        match options.type:
            case "local":
                return LocalKeys(name, lambda: self._file(options), now=self._now)
            case "pkcs11":
                return Pkcs11Keys(
                    name,
                    module=_given(options.module),
                    token_label=_given(options.token_label),
                    key=_given(options.key),
                    pin=self._secret(options.pin),
                    timeout_s=options.timeout_s,
                )
            case "transit":
                return self._transit(name, options)
            case "aws-kms":
                key = _given(options.key)
                url = options.url or f"https://kms.{region_of(key)}.{_domain(key)}"
                return AwsKms(
                    name,
                    self._wire(name, options, url),
                    lambda: self._credentials(options),
                    key=key,
                    now=self._now,
                    previous_keys=tuple(options.previous_keys),
                )
            case "gcp-kms":
                return GcpKms(
                    name,
                    self._wire(name, options, options.url or "https://cloudkms.googleapis.com"),
                    self._bearer(name, options, GOOGLE_METADATA, google_post()),
                    key=_given(options.key),
                    previous_keys=tuple(options.previous_keys),
                )
            case "azure-key-vault":
                return AzureKeys(
                    name,
                    self._wire(name, options, _given(options.url)),
                    self._bearer(name, options, AZURE_METADATA, azure_post(options.role)),
                    url=_given(options.url),
                    key=_given(options.key),
                    previous_keys=tuple(options.previous_keys),
                )

    def _transit(self, name: str, options: KeyServiceOptions) -> TransitKeys:
        wire = self._wire(name, options, _given(options.url))
        headers = namespace_headers(options.namespace)
        bearer: Bearer
        if options.auth == "kubernetes":
            bearer = KubernetesLogin(
                name,
                wire,
                mount=options.auth_mount or "kubernetes",
                role=_given(options.role),
                jwt=self._secret(options.jwt or _POD_TOKEN),
                headers=headers,
                clock=lambda: asyncio.get_running_loop().time(),
            )
        else:
            bearer = Configured(name, self._secret(options.token))
        return TransitKeys(
            name,
            wire,
            bearer,
            key=_given(options.key),
            mount=options.mount or "transit",
            binding=options.binding or "associated-data",
            headers=headers,
            previous_keys=tuple(options.previous_keys),
        )

    def _bearer(self, name: str, options: KeyServiceOptions, metadata: str, post: Post) -> Bearer:
        if options.auth == "metadata":
            # The machine's own service, never through a proxy.
            wire = HttpWire(self._client, metadata, service=name, timeout_s=options.timeout_s)
            return Metadata(name, wire, post)
        return Configured(name, self._secret(options.token))

    def _wire(self, name: str, options: KeyServiceOptions, url: str) -> HttpWire:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        proxy = options.proxy or self._proxy_for(parts.scheme, parts.hostname or "", port)
        return HttpWire(
            self._client,
            url,
            service=name,
            timeout_s=options.timeout_s,
            tls=options.tls,
            proxy=None if proxy == "none" else proxy,
        )

    def _file(self, options: KeyServiceOptions) -> KeyFile:
        path = Path(options.path).expanduser() if options.path else self._state_dir / KEY_FILE
        passphrase = None if options.passphrase is None else self._resolve(options.passphrase)
        return KeyFile(path, passphrase)

    def _secret(self, secret: Secret | None) -> Callable[[], str]:
        assert secret is not None
        return lambda: self._resolve(secret)

    def _credentials(self, options: KeyServiceOptions) -> Credentials:
        token = options.session_token
        return Credentials(
            access_key_id=self._secret(options.access_key_id)(),
            secret_access_key=self._secret(options.secret_access_key)(),
            session_token=None if token is None else self._resolve(token),
        )


def _given(value: str | None) -> str:
    assert value is not None
    return value


def _domain(arn: str) -> str:
    return "amazonaws.com.cn" if arn.startswith("arn:aws-cn:") else "amazonaws.com"


def _pem(path: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(_MAX_PEM_BYTES)
    except OSError as error:
        raise ConfigError(f"cannot read the recovery key {path}: {error.strerror}") from error
