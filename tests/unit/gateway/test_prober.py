"""Open breakers are probed in the background, and a probe's late answer changes nothing that is newer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.unit.gateway.stage import CUT, DROP, Stage

from fairlead.gateway.health import BreakerState
from fairlead.gateway.prober import Prober
from fairlead.testing import answer
from fairlead.types import FailureKind

ENGINE = """\
providers: {a: {type: TYPE, base_url: "http://a.test/v1"}}
models: {m: {targets: [{provider: a}]}, other: {targets: [{provider: a}]}}
outages: {breaker: {failures: 1, open_s: 0.000001, max_open_s: 100}}
"""


def probing(scenario: Callable[[Stage], Awaitable[None]], kind: str = "vllm", *, opened: bool = True) -> None:
    """Run the prober beside a scenario; the target's breaker is open from long ago."""

    async def main() -> None:
        stage = Stage(ENGINE.replace("TYPE", kind))
        if opened:
            stage.target("a/*").breaker.fail(CUT, 0.0)
        targets = [target for route in stage.table.routes for target in route.targets]
        task = asyncio.get_running_loop().create_task(Prober(stage.client, lambda: targets).run())
        try:
            await stage.settle()
            await asyncio.wait_for(scenario(stage), 10)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait([task])
            await stage.settle()
        assert all(peer.closed for peer in stage.network.peers)
        await stage.client.close()

    asyncio.run(main())


def test_a_target_that_answers_is_tried_again() -> None:
    async def scenario(stage: Stage) -> None:
        (request,) = stage.network.requests
        assert (request.method, request.target) == ("GET", "/v1/models")
        assert stage.target("a/*").breaker.state is BreakerState.OPEN
        stage.network.peers[0].send(answer(b"{}"))
        await stage.settle()
        assert stage.target("a/*").breaker.state is BreakerState.HALF_OPEN
        assert stage.network.peers[0].closed

    probing(scenario)


def test_targets_that_share_a_breaker_are_probed_once() -> None:
    async def scenario(stage: Stage) -> None:
        assert len(stage.network.requests) == 1

    probing(scenario)


def test_where_nothing_cheap_can_be_asked_a_connection_must_do() -> None:
    async def scenario(stage: Stage) -> None:
        assert not stage.network.requests
        assert len(stage.network.peers) == 1
        assert stage.target("a/*").breaker.state is BreakerState.HALF_OPEN

    probing(scenario, "openai-compatible")


@pytest.mark.parametrize(
    "plan",
    [
        (answer(b"", status=503),),
        (DROP,),
        (answer(b"{}")[:-1], DROP),
        (b"SSH-2.0\r\n",),
        (answer(b"x" * 2_000_000),),
    ],
    ids=["503", "closed", "cut", "not HTTP", "endless"],
)
def test_a_probe_that_fails_keeps_the_breaker_open_for_longer(plan: Any) -> None:
    async def scenario(stage: Stage) -> None:
        breaker = stage.target("a/*").breaker
        before = breaker.open_until
        stage.network.peers[0].send(*plan)
        await stage.settle()
        assert breaker.state is BreakerState.OPEN
        assert breaker.open_until > before
        assert breaker.last_failure is not CUT

    probing(scenario)


def test_a_refused_credential_is_an_answer_too() -> None:
    async def scenario(stage: Stage) -> None:
        stage.network.peers[0].send(answer(b"{}", status=401))
        await stage.settle()
        assert stage.target("a/*").breaker.state is BreakerState.HALF_OPEN

    probing(scenario)


@pytest.mark.parametrize("plan", [(answer(b"{}"),), (DROP,)], ids=["success", "failure"])
def test_a_breaker_that_was_closed_during_its_probe_stays_closed(plan: Any) -> None:
    async def scenario(stage: Stage) -> None:
        breaker = stage.target("a/*").breaker
        breaker.reset()
        stage.network.peers[0].send(*plan)
        await stage.settle()
        assert breaker.state is BreakerState.CLOSED

    probing(scenario)


def test_healthy_targets_are_left_alone() -> None:
    async def scenario(stage: Stage) -> None:
        assert not stage.network.peers

    probing(scenario, opened=False)


def test_a_target_that_refuses_connections_stays_open() -> None:
    async def main() -> None:
        stage = Stage(ENGINE.replace("TYPE", "vllm"))
        stage.network.refusing.add("a.test")
        breaker = stage.target("a/*").breaker
        breaker.fail(CUT, 0.0)
        targets = [stage.target("a/*")]
        task = asyncio.get_running_loop().create_task(Prober(stage.client, lambda: targets).run())
        await stage.settle()
        task.cancel()
        await asyncio.wait([task])
        assert breaker.state is BreakerState.OPEN
        assert breaker.last_failure is not None
        assert breaker.last_failure.kind is FailureKind.UNREACHABLE
        await stage.client.close()

    asyncio.run(main())
