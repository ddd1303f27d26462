"""What a start builds and a reload replaces. The gateway's clients and upstreams are in memory."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.unit.gateway.stage import CUT, Person, hello
from tests.unit.net import harness

from fairlead import config as cfg
from fairlead.app import Gateway, Worker, check_usable
from fairlead.config.parse import parse
from fairlead.errors import ConfigError
from fairlead.gateway.db import ensure_first_key
from fairlead.gateway.health import BreakerState

CONFIG = """\
server: {port: 0}
auth: {required: false}
providers:
  a: {type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
models: {m: {targets: [{provider: a}]}, n: {targets: [{provider: a}]}}
outages: {breaker: {failures: 2}}
"""
Scenario = Callable[[Gateway], Awaitable[None]]


def gateway(tmp_path: Path, text: str = CONFIG, environ: dict[str, str] | None = None) -> Gateway:
    return Gateway(parse(text, "test"), tmp_path, environ or {}, Worker())


def running(tmp_path: Path, scenario: Scenario, text: str = CONFIG) -> None:
    """Play a scenario with a gateway that was started, and stop it."""

    async def main() -> None:
        made = gateway(tmp_path, text)
        await made.start()
        try:
            await asyncio.wait_for(scenario(made), 20)
        finally:
            await made.drain()
            await made.stop()

    asyncio.run(main())


async def answered(person: Person, count: int) -> None:
    """Wait for a client's answers."""
    async with asyncio.timeout(10):
        while len(person.answers) < count:  # noqa: ASYNC110  # the event would be the gateway's own
            await asyncio.sleep(0.001)


async def ask(made: Gateway, body: Any = None, **options: Any) -> Person:
    """One request from a client in memory; nobody listens where the upstream would be."""
    clock = harness.ManualClock()
    person = Person(cast(harness.Stage, SimpleNamespace(clock=clock, server=made.server)))
    person.post(hello() if body is None else body, **options)
    await answered(person, 1)
    person.leave()
    await asyncio.sleep(0)
    clock.run()
    return person


def test_a_started_gateway_answers_and_a_stopped_one_has_written_its_records(tmp_path: Path) -> None:
    async def scenario(made: Gateway) -> None:
        assert made.server.port > 0
        person = await ask(made, hello(model="nobody"))
        assert person.last.status == 404

    running(tmp_path, scenario)

    async def look(made: Gateway) -> None:
        rows = await made.database.fetch("SELECT count(*) FROM requests")
        assert list(rows[0]) == [1]

    running(tmp_path, look)


def test_a_key_that_was_just_made_is_let_in(tmp_path: Path) -> None:
    async def scenario(made: Gateway) -> None:
        assert (await ask(made, hello(model="x"))).last.status == 401
        secret = await ensure_first_key(made.database, now=time.time())
        assert secret is not None
        await made.keys.poll()
        assert (await ask(made, hello(model="x"), key=secret)).last.status == 404

    running(tmp_path, scenario, CONFIG.replace("required: false", "required: true"))


def test_a_reload_takes_effect_and_keeps_what_is_known_of_targets(tmp_path: Path) -> None:
    async def scenario(made: Gateway) -> None:
        before = next(made.targets())
        before.breaker.fail(CUT, 1e12)
        before.breaker.fail(CUT, 1e12)
        assert await made.reload(parse(CONFIG.replace("n: {", "o: {"), "test")) == []
        after = list(made.targets())
        assert {target.breaker for target in after} == {before.breaker}
        assert {target.load_state for target in after} == {before.load_state}
        assert before.breaker.state is BreakerState.OPEN
        assert (await ask(made, hello(model="n"))).last.status == 404
        assert (await ask(made, hello(model="o"))).last.status == 503

    running(tmp_path, scenario)


def test_one_target_of_several_models_has_one_health(tmp_path: Path) -> None:
    async def scenario(made: Gateway) -> None:
        first, second = made.targets()
        assert first.breaker is second.breaker
        assert first.load_state is second.load_state

    running(tmp_path, scenario)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CONFIG.replace('9/v1"', '9/v1", api_key: "env:NOT_SET"'), "NOT_SET"),
        (CONFIG.replace('9/v1"', '9/v1", api_key: "file:/nowhere"'), "/nowhere"),
    ],
)
def test_a_reload_that_fails_leaves_everything_as_it_was(tmp_path: Path, text: str, message: str) -> None:
    text = text.replace("failures: 2", "failures: 1")

    async def scenario(made: Gateway) -> None:
        parts = made.parts
        with pytest.raises(ConfigError, match=message):
            await made.reload(parse(text, "test"))
        assert made.parts is parts
        assert made.routes.pipeline is parts.pipeline
        assert made.routes.passthrough is parts.passthrough
        breaker = next(made.targets()).breaker
        breaker.fail(CUT, 1e12)
        assert breaker.state is BreakerState.CLOSED  # two are allowed, as before

    running(tmp_path, scenario)


def test_a_certificate_that_cannot_be_read_stops_a_reload_before_it_changes_anything(tmp_path: Path) -> None:
    tls = "server: {port: 0, tls: {cert: CERT, key: KEY}}\n"

    async def main() -> None:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        _certificate(cert, key)
        text = CONFIG.replace("server: {port: 0}\n", tls).replace("CERT", str(cert)).replace("KEY", str(key))
        made = gateway(tmp_path / "state", text)
        await made.start()
        try:
            cert.write_text("no certificate")
            with pytest.raises(ConfigError, match="certificate"):
                await made.reload(parse(text.replace("failures: 2", "failures: 1"), "test"))
            breaker = next(made.targets()).breaker
            breaker.fail(CUT, 1e12)
            assert breaker.state is BreakerState.CLOSED
        finally:
            await made.drain()
            await made.stop()

    asyncio.run(main())


def _certificate(cert: Path, key: Path) -> None:
    import trustme

    issued = trustme.CA().issue_cert("gateway.test")
    issued.private_key_pem.write_to_path(str(key))
    issued.cert_chain_pems[0].write_to_path(str(cert))


def test_sections_that_need_a_restart_are_named(tmp_path: Path) -> None:
    async def scenario(made: Gateway) -> None:
        config = parse(CONFIG + "logs: {requests: true}\nledger: {retention_days: 1}\n", "test")
        assert await made.reload(config) == ["ledger", "logs"]
        assert await made.reload(config) == []

        text = CONFIG + "logs: {requests: true}\nledger: {retention_days: 1}\ncache: {%s}\n"
        assert await made.reload(parse(text % "scopes: {both: {tenants: [a]}}", "test")) == []
        assert await made.reload(parse(text % "max_bytes: 2000000", "test")) == ["cache"]

        with_alerts = text % "max_bytes: 2000000" + "alerts: {%s}\n"
        assert await made.reload(parse(with_alerts % "", "test")) == ["alerts"]
        assert await made.reload(parse(with_alerts % "interval_s: 1", "test")) == []

    running(tmp_path, scenario)


def test_a_port_that_is_taken_is_an_error_of_the_system(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            made = gateway(tmp_path, CONFIG.replace("port: 0", f"port: {port}"))
            with pytest.raises(OSError, match="in use"):
                await made.start()
            await made.stop()

    asyncio.run(main())


def test_a_missing_secret_stops_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        made = gateway(tmp_path, CONFIG.replace('9/v1"', '9/v1", api_key: "env:NOT_SET"'))
        with pytest.raises(ConfigError, match="NOT_SET"):
            await made.start()
        await made.keys.stop()
        await made.recorder.stop()
        await made.client.close()
        await made.database.close()

    asyncio.run(main())


def test_requests_are_cut_when_the_time_to_drain_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        text = CONFIG.replace("{port: 0}", "{port: 0, drain_s: 0.05}")
        with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
            port = silent.getsockname()[1]
            made = gateway(tmp_path, text.replace(":9/v1", f":{port}/v1"))
            await made.start()
            clock = harness.ManualClock()
            person = Person(cast(harness.Stage, SimpleNamespace(clock=clock, server=made.server)))
            person.post(hello())
            await asyncio.wait_for(made.drain(), 10)
            clock.run()
            assert person.closed
            assert made.parts.pipeline.in_flight == 0
            await made.stop()

    asyncio.run(main())


def test_metrics_and_readiness_are_there_from_the_start(tmp_path: Path) -> None:
    async def scenario(made: Gateway) -> None:
        clock = harness.ManualClock()
        person = Person(cast(harness.Stage, SimpleNamespace(clock=clock, server=made.server)))
        for path in ("/readyz", "/metrics"):
            person.get(path)
            await answered(person, 1 + (path == "/metrics"))
        assert person.statuses == [200, 200]
        assert b'fairlead_breaker_state{target="a/*"} 0' in person.last.body
        person.leave()
        await asyncio.sleep(0)
        clock.run()

    running(tmp_path, scenario)


def test_a_configuration_without_models_is_of_no_use() -> None:
    with pytest.raises(ConfigError, match="no models"):
        check_usable(cfg.Config())
    check_usable(parse(CONFIG, "test"))
