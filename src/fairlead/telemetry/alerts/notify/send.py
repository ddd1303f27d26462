"""Sends notifications over the product's own HTTP client.

An edge. Each wait has a limit, an answer is read up to a bound, and no
redirect is followed: a receiver that answers with one has moved or is not what
it seems, and a secret in a body or a header must not travel on to another
host. URLs come from the configuration only, never from the control API.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from msgspec import structs

from fairlead import __version__
from fairlead.config.alert_options import AlertReceiver
from fairlead.config.alert_rules import address_fault
from fairlead.config.kinds import Secret
from fairlead.errors import ConfigError, FairleadError
from fairlead.net.client import Client
from fairlead.net.http1 import request, request_head
from fairlead.net.origin import Origin
from fairlead.net.proxy import absolute_form
from fairlead.telemetry.alerts.alert import Notification
from fairlead.telemetry.alerts.notify import RENDERERS
from fairlead.telemetry.alerts.notify.pagerduty import URL as PAGERDUTY_URL
from fairlead.telemetry.alerts.notify.post import Post, Settings
from fairlead.telemetry.alerts.notify.retry import Answer, Result, of_status

_MAX_ANSWER: Final = 65_536
_QUOTED: Final = 200


class Sender:
    """Sends to receivers, with secrets that are resolved at each sending, so that they can be changed."""

    def __init__(
        self,
        client: Client,
        *,
        resolve: Callable[[Secret], str],
        proxy_for: Callable[[str, str, int], str | None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Send with `client`.

        Args:
            client: opens the connections.
            resolve: gives a secret's value, or raises ConfigError.
            proxy_for: the environment's proxy for (scheme, host, port).
            now: Unix seconds, for signatures and dates.
        """
        self._client = client
        self._resolve = resolve
        self._proxy_for = proxy_for
        self._now = now

    async def send(
        self, receiver: AlertReceiver, notification: Notification, *, resend_s: float = 60.0
    ) -> Answer:
        """Send one notification once. Never raises: whatever went wrong is in the answer."""
        try:
            settings = self._settings(receiver, resend_s)
            post = RENDERERS[receiver.type](notification, settings, self._now())
            answer = await self._post(post, receiver.timeout_s)
            return structs.replace(answer, detail=_without_secrets(answer.detail, settings))
        except ConfigError as error:
            # A variable or file that is missing may be there at the next attempt.
            return Answer(result=Result.RETRY, detail=error.message)
        except FairleadError as error:
            return Answer(result=Result.RETRY, detail=error.message[:_QUOTED])

    def _settings(self, receiver: AlertReceiver, resend_s: float) -> Settings:
        url = receiver.url
        if url is None:
            url = PAGERDUTY_URL
        elif isinstance(url, Secret):
            url = self._resolve(url)
        if fault := address_fault(url):
            raise ConfigError(f"the receiver's URL: {fault}")

        def value(secret: Secret | None) -> str:
            return self._resolve(secret) if secret is not None else ""

        return Settings(
            url=url,
            hmac_key=value(receiver.hmac_key),
            token=value(receiver.token),
            routing_key=value(receiver.routing_key),
            resend_s=resend_s,
        )

    async def _post(self, post: Post, timeout_s: float) -> Answer:
        parts = urlsplit(post.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        origin = Origin(
            scheme=parts.scheme,
            host=host,
            port=port,
            proxy=self._proxy_for(parts.scheme, host, port),
            connect_timeout_s=min(timeout_s, 5.0),
            max_connections=20,
            idle_timeout_s=1.0,
        )
        prefix, headers = absolute_form(origin)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        head = request_head(
            "POST",
            prefix + path,
            origin.authority,
            (
                (b"user-agent", f"fairlead/{__version__}".encode()),
                (b"content-type", b"application/json"),
                (b"connection", b"close"),
                *headers,
                *post.headers,
            ),
        )
        deadline = asyncio.get_running_loop().time() + timeout_s
        connection = await self._client.connect(origin, deadline)
        try:
            connection.deadline = deadline
            connection.send(request(head, post.body))
            answer = await connection.head()
            body = b""
            if not 200 <= answer.status < 300:
                try:
                    body = await connection.read_all(_MAX_ANSWER)
                except FairleadError:
                    body = b""  # the status says enough
        finally:
            connection.abort()
        if 300 <= answer.status < 400:
            detail = f"{origin.label} redirects, which is not followed"
            return Answer(result=Result.REFUSED, status=answer.status, detail=detail)
        said = "".join(
            char if char.isprintable() else " " for char in body[:_QUOTED].decode("utf-8", "replace")
        ).strip()
        detail = f"{origin.label} answered {answer.status}" + (f": {said}" if said else "")
        return of_status(answer.status, detail, answer.headers.get(b"retry-after"), self._now())


def _without_secrets(text: str, settings: Settings) -> str:
    """A receiver may quote what it was sent, its own path or a key included."""
    parts = urlsplit(settings.url)
    for secret in (settings.hmac_key, settings.token, settings.routing_key, parts.path, parts.query):
        if len(secret) >= 6:
            text = text.replace(secret, "[secret]")
    return text
