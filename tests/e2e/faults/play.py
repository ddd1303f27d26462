"""Plays rows of the fault table against a running gateway, and says what was seen."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import trustme
from tests.e2e.faults.gateway import Gateway, running
from tests.e2e.faults.scenarios import GATEWAYS, SCENARIOS, Scenario
from tests.e2e.faults.shapes import PROVIDER_TYPES, SPARE, TOKENS, Shape
from tests.e2e.faults.wire import Wire, ask

from fairlead.testing import ReadRequest, Repeat, ScriptedUpstream, Send

FALLBACK: Final = ("The", " fallback", " answers")
_AT_ONCE: Final = 6
"""Rows played at the same time: enough to overlap their waits, too few to fill two cores."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one row in one dialect."""

    saw: str
    waited_s: float
    attempts: tuple[str, ...]
    outcome: str
    breaker: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One row in one dialect."""

    scenario: Scenario
    shape: Shape

    @property
    def id(self) -> str:
        return f"{self.scenario.name} [{self.shape.name}]"

    @property
    def key(self) -> str:
        """The name of its model and its provider."""
        words = "".join(sign if sign.isalnum() else "-" for sign in f"{self.scenario.name}-{self.shape.name}")
        return words.lower()


CASES: Final = tuple(
    Case(scenario=scenario, shape=shape) for scenario in SCENARIOS for shape in scenario.shapes
)


async def play(cases: Sequence[Case], directory: Path) -> dict[str, Seen | BaseException]:
    """Play cases, those of one gateway together; what went wrong with one is kept for its test."""
    found: dict[str, Seen | BaseException] = {}
    for name, settings in GATEWAYS.items():
        chosen = [case for case in cases if case.scenario.gateway == name]
        if not chosen:
            continue
        async with _upstreams(chosen, directory) as models:
            with running({**settings, **models}) as gateway:
                turns = asyncio.Semaphore(_AT_ONCE)
                seen = await asyncio.gather(
                    *(_one(gateway, case, turns) for case in chosen), return_exceptions=True
                )
        found |= {case.id: result for case, result in zip(chosen, seen, strict=True)}
    return found


async def _one(gateway: Gateway, case: Case, turns: asyncio.Semaphore) -> Seen:
    async with turns:
        wire = await ask(gateway.port, case.shape, case.key, case.scenario.headers)
        breaker = (await gateway.target(case.key))["state"]
    record = await gateway.record(wire.headers["x-request-id"])
    return Seen(
        saw=words(wire),
        waited_s=wire.ended_s,
        attempts=attempts_of(record),
        outcome=record["outcome"],
        breaker=breaker,
    )


def words(wire: Wire) -> str:
    """What a client saw, in words that do not depend on the dialect."""
    if not wire.status:
        return "the connection reset" if wire.was_reset else "the connection closed"
    reading = wire.reading()
    said = [str(wire.status)]
    if not wire.streamed and reading.error:
        said[0] += f" `{reading.error}`"
        if "retry-after" in wire.headers:
            said.append(f"retry after {wire.headers['retry-after']} s")
        if wire.headers.get("x-should-retry") == "false":
            said.append("do not retry")
    else:
        if reading.heartbeats:
            said.append("heartbeats")
        answers = {
            "".join(TOKENS): "",
            "".join(SPARE): " of the spare",
            "".join(FALLBACK): " of the fallback",
        }
        full = reading.text in answers and reading.finish and (reading.marked or not wire.streamed)
        if full and not reading.error and wire.complete and not reading.torn:
            said.append("whole answer" + answers[reading.text])
            return ", ".join(said)
        said.append(f"{reading.tokens} token{'s' * (reading.tokens != 1)}")
        if reading.finish:
            said.append(f"finish `{reading.finish}`")
        if reading.error:
            said.append(f"error `{reading.error}`")
        if reading.after_error:
            said.append(f"{reading.after_error} events after it")
        if reading.torn:
            said.append("a torn event")
        if wire.complete and wire.streamed:
            said.append("proper end")
    if not wire.complete:
        said.append("cut off")
    return ", ".join(said)


def attempts_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """How each attempt of a record ended."""
    return tuple(_attempt(attempt) for attempt in record.get("attempts", ()))


def _attempt(attempt: Mapping[str, Any]) -> str:
    failure = attempt.get("failure")
    if failure is not None:
        return str(failure["kind"])
    return "ok" if attempt.get("first_token_s") is not None else "given up"


# --- the upstreams ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _upstreams(cases: Sequence[Case], directory: Path) -> AsyncIterator[dict[str, Any]]:
    """Start what the cases ask; yields the `providers` and `models` of the configuration."""
    providers: dict[str, Any] = {}
    models: dict[str, Any] = {}
    authority = trustme.CA()
    (directory / "ca.pem").write_bytes(authority.cert_pem.bytes())
    async with contextlib.AsyncExitStack() as stack:
        helpers: dict[tuple[Shape, tuple[str, ...]], str] = {}

        async def helper(shape: Shape, tokens: tuple[str, ...]) -> str:
            """The base URL of a healthy upstream that many cases share."""
            if (shape, tokens) not in helpers:
                script = (Repeat((ReadRequest(), Send(shape.whole(tokens)))),)
                upstream = await stack.enter_async_context(ScriptedUpstream(script))
                helpers[shape, tokens] = f"{upstream.base_url}/v1"
            return helpers[shape, tokens]

        for case in cases:
            scenario, shape, key = case.scenario, case.shape, case.key
            kind: dict[str, Any] = {"type": PROVIDER_TYPES[shape.dialect]}
            provider: dict[str, Any] = {**kind, **scenario.provider}
            if scenario.address == "refused":
                provider["base_url"] = f"http://127.0.0.1:{stack.enter_context(deaf_port())}/v1"
            elif scenario.address == "full":
                provider["base_url"] = f"http://127.0.0.1:{stack.enter_context(full_port())}/v1"
            elif scenario.address == "unknown":
                provider["base_url"] = "http://nobody.invalid/v1"
            else:
                context = _certificate(scenario.tls, authority) if scenario.tls else None
                upstream = ScriptedUpstream(*scenario.does(shape), ssl=context)
                await stack.enter_async_context(upstream)
                provider["base_url"] = f"{upstream.base_url}/v1"
                if scenario.tls and scenario.tls != "unknown authority":
                    provider["tls"] = {"ca": str(directory / "ca.pem")}
            providers[key] = provider
            targets: list[dict[str, Any]] = [{"provider": key, "model": "m"}]
            if scenario.spare:
                providers[f"{key}-spare"] = {**kind, "base_url": await helper(shape, SPARE)}
                targets.append({"provider": f"{key}-spare", "model": "m", "priority": 1})
            options = msgspec.json.decode(msgspec.json.encode(scenario.model).replace(b"{key}", key.encode()))
            models[key] = {"targets": targets, **options}
            if "fallbacks" in options:
                providers[f"{key}-other"] = {**kind, "base_url": await helper(shape, FALLBACK)}
                models[f"{key}-other"] = {"targets": [{"provider": f"{key}-other", "model": "m"}]}
        yield {"providers": providers, "models": models}


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """A port whose backlog is full: connecting to it neither succeeds nor fails."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(sock.getsockname())
        yield sock.getsockname()[1]


def _certificate(fault: str, authority: trustme.CA) -> ssl.SSLContext:
    names = ["elsewhere.example"] if fault == "wrong name" else ["127.0.0.1"]
    now = datetime.datetime.now(datetime.UTC)
    expired = now - datetime.timedelta(days=1)
    certificate = authority.issue_cert(
        *names,
        not_before=now - datetime.timedelta(days=10),
        not_after=expired if fault == "expired" else now + datetime.timedelta(days=1),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
