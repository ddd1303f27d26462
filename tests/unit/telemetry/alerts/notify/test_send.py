"""Sending over the wire: what answers mean, what is never followed, what is never told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.telemetry.alerts.notes import NOW, note

from fairlead.config.alert_options import AlertReceiver
from fairlead.config.kinds import Secret
from fairlead.errors import ConfigError
from fairlead.net.client import Client
from fairlead.telemetry.alerts.notify.retry import Answer, Result
from fairlead.telemetry.alerts.notify.send import Sender
from fairlead.testing import Close, ReadRequest, ScriptedUpstream, Send, Stall, answer


def resolve(secret: Secret) -> str:
    if secret.reference == "env:MISSING":
        raise ConfigError("the environment variable `MISSING` is not set")
    return "0123456789-secret"


def send(*script: Any, receiver: Callable[[int], AlertReceiver] | None = None) -> tuple[Answer, list[Any]]:
    """What came of one notification, and the requests that the receiver saw."""

    async def main() -> tuple[Answer, list[Any]]:
        client = Client()
        try:
            async with ScriptedUpstream(list(script)) as upstream:
                made = receiver or (
                    lambda port: AlertReceiver(type="webhook", url=f"http://127.0.0.1:{port}/x")
                )
                sender = Sender(client, resolve=resolve, proxy_for=lambda *_: None, now=lambda: NOW)
                return await sender.send(made(upstream.port), note()), list(upstream.requests)
        finally:
            await client.close()

    return asyncio.run(main())


def test_a_notification_is_posted() -> None:
    found, (request,) = send(ReadRequest(), Send(answer(b"ok")), Close())

    assert found == Answer(result=Result.SENT, status=200)
    assert (request.method, request.path) == ("POST", "/x")
    assert json.loads(request.body)["status"] == "firing"


def test_a_refusal_is_told_with_the_receivers_words() -> None:
    found, _ = send(ReadRequest(), Send(answer(b"bad \x1b[31mkey", status=400)), Close())

    assert found.result is Result.REFUSED
    assert "answered 400: bad  [31mkey" in found.detail


def test_a_receiver_that_is_busy_says_when_to_come_back() -> None:
    found, _ = send(ReadRequest(), Send(answer(b"", status=429, headers=["retry-after: 17"])), Close())

    assert (found.result, found.retry_after_s) == (Result.RETRY, 17.0)


def test_no_redirect_is_followed() -> None:
    script = Send(answer(b"", status=307, headers=["location: http://169.254.169.254/latest/meta-data"]))
    found, requests = send(ReadRequest(), script, Close())

    assert found.result is Result.REFUSED
    assert "redirects, which is not followed" in found.detail
    assert len(requests) == 1


def test_a_receiver_that_hangs_costs_its_time_limit() -> None:
    found, _ = send(
        ReadRequest(),
        Stall(),
        receiver=lambda port: AlertReceiver(type="webhook", url=f"http://127.0.0.1:{port}/", timeout_s=0.1),
    )

    assert found.result is Result.RETRY


def test_nobody_there_is_tried_again() -> None:
    found, _ = send(receiver=lambda _: AlertReceiver(type="webhook", url="http://127.0.0.1:1/"))

    assert found.result is Result.RETRY


def test_a_huge_answer_is_not_read() -> None:
    found, _ = send(ReadRequest(), Send(answer(b"x" * 1_000_000, status=500)), Close())

    assert found.result is Result.RETRY
    assert len(found.detail) < 300


def test_secrets_that_a_receiver_quotes_are_not_told() -> None:
    found, (request,) = send(
        ReadRequest(),
        Send(answer(b"wrong key 0123456789-secret", status=403)),
        Close(),
        receiver=lambda port: AlertReceiver(
            type="pagerduty", url=f"http://127.0.0.1:{port}/e", routing_key=Secret("env:KEY")
        ),
    )

    assert json.loads(request.body)["routing_key"] == "0123456789-secret"
    assert "0123456789-secret" not in found.detail
    assert "[secret]" in found.detail


def test_a_secret_that_is_missing_may_be_there_later() -> None:
    found, requests = send(
        receiver=lambda port: AlertReceiver(type="slack", url=Secret("env:MISSING")),
    )

    assert found.result is Result.RETRY
    assert "MISSING" in found.detail
    assert requests == []


@pytest.mark.parametrize("url", ["http://169.254.169.254/x", "http://metadata.google.internal/", "file:///x"])
def test_some_addresses_are_never_asked(url: str) -> None:
    found, _ = send(receiver=lambda _: AlertReceiver(type="webhook", url=url))

    assert found.result is Result.RETRY
    assert "the receiver's URL" in found.detail
