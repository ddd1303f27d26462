"""Who we are towards a key service: bearer tokens, by reference or from where we run.

A configured token is resolved at every use, so a file that an agent renews is
always the newest. Google's and Azure's machines, and their Kubernetes
services, give tokens to whoever runs on them; such a token is kept until
shortly before it expires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import quote

import msgspec

from fairlead.errors import ConfigError, KeyServiceUnavailable
from fairlead.vault.keys.http import Post, T, Wire, decoded

GOOGLE_METADATA: Final = "http://metadata.google.internal"
AZURE_METADATA: Final = "http://169.254.169.254"
_EARLY_S: Final = 120.0
"""A token that ends sooner than this is not used any more."""


class Bearer(Protocol):
    """Gives the token of the next request."""

    async def token(self) -> str:
        """A token that holds for at least a while.

        Raises:
            KeyServiceUnavailable: there is none.
        """
        ...

    def forget(self, token: str) -> bool:
        """A service refused this token; True when another attempt would use another one."""
        ...


class Configured:
    """A token by reference."""

    def __init__(self, service: str, resolve: Callable[[], str]) -> None:
        """`resolve` gives the token's value, or raises ConfigError."""
        self._service = service
        self._resolve = resolve

    async def token(self) -> str:
        return resolved(self._service, self._resolve)

    def forget(self, token: str) -> bool:
        try:
            return self._resolve() != token
        except ConfigError:
            return False


class _Given(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: int | str = 0


class Metadata:
    """A token that the machine's metadata service gives."""

    def __init__(
        self, service: str, wire: Wire, post: Post, clock: Callable[[], float] | None = None
    ) -> None:
        """Ask `wire` with `post`; `clock` counts seconds, the loop's when left out."""
        self._service = service
        self._wire = wire
        self._post = post
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._token: str | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def token(self) -> str:
        async with self._asking:
            if self._token is None or self._clock() >= self._until:
                self._token = None
                answer = await self._wire.ask(self._post)
                if not answer.fine:
                    raise KeyServiceUnavailable(
                        f"{self._service}: the metadata service gave no token, but {answer.status}"
                    )
                given = decoded(answer, _Given, self._service)
                try:
                    self._until = self._clock() + float(given.expires_in) - _EARLY_S
                except ValueError:
                    self._until = 0.0
                self._token = given.access_token
            return self._token

    def forget(self, token: str) -> bool:
        if token == self._token:
            self._token = None
        return True


def google_post() -> Post:
    """Asks Google's metadata service for the token of the default service account."""
    return Post(
        method="GET",
        target="/computeMetadata/v1/instance/service-accounts/default/token",
        headers=((b"metadata-flavor", b"Google"),),
    )


def azure_post(client_id: str | None) -> Post:
    """Asks Azure's metadata service for a managed identity's token to Key Vault."""
    target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=" + quote(
        "https://vault.azure.net", safe=""
    )
    if client_id is not None:
        target += "&client_id=" + quote(client_id, safe="")
    return Post(method="GET", target=target, headers=((b"metadata", b"true"),))


def resolved(service: str, resolve: Callable[[], T]) -> T:
    """What needs a secret; one that is missing may be there at the next attempt.

    Raises:
        KeyServiceUnavailable: it is not there.
    """
    try:
        return resolve()
    except ConfigError as error:
        raise KeyServiceUnavailable(f"{service}: {error.message}") from error
