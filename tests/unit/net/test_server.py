from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.unit.net.harness import App, Client, Stage

from fairlead.net.run import Signal
from fairlead.net.server import Call

GET = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"


async def forever(call: Call) -> None:
    await Signal()


async def settle() -> None:
    """Let tasks take the steps they can take."""
    for _ in range(5):
        await asyncio.sleep(0)


def draining(app: App, scenario: Callable[[Stage, Client], None], timeout_s: float = 30.0) -> Stage:
    """Drain a server with one client, and let `scenario` act while the drain waits."""

    async def main() -> Stage:
        stage = Stage(app)
        client = stage.client()
        client.send(GET)
        await settle()
        drain = asyncio.create_task(stage.server.drain(timeout_s))
        await settle()
        stage.clock.run()
        scenario(stage, client)
        for _ in range(round(timeout_s) + 3):
            await settle()
            stage.wait(1)
        await drain
        return stage

    return asyncio.run(main())


def test_connections_and_calls_are_counted() -> None:
    with Stage(App(forever)) as stage:
        first, second = stage.client(), stage.client()
        assert (stage.server.connections, stage.server.active) == (2, 0)
        first.send(GET)
        second.send(GET)
        assert (stage.server.connections, stage.server.active) == (2, 2)
        first.leave()
        assert (stage.server.connections, stage.server.active) == (1, 1)


def test_a_server_that_has_not_started_has_no_port() -> None:
    assert Stage().server.port == 0


def test_one_tick_expires_many_connections() -> None:
    with Stage(idle_timeout_s=5) as stage:
        clients = [stage.client() for _ in range(100)]
        clients[7].send(GET)
        stage.wait(4)
        clients[7].send(GET)
        stage.wait(2)
        assert [client for client in clients if not client.closed] == [clients[7]]
        assert stage.server.connections == 1


def test_drain_closes_what_is_idle_at_once() -> None:
    seen: list[bool] = []
    stage = draining(App(), lambda stage, client: seen.append(client.closed))
    assert seen == [True]
    assert stage.server.connections == 0


def test_drain_lets_a_call_finish_and_closes_its_connection() -> None:
    finish = Signal()

    async def handle(call: Call) -> None:
        await finish
        call.reply(200, b"", b"done")

    answers: list[Client] = []

    def scenario(stage: Stage, client: Client) -> None:
        assert not client.closed
        answers.append(client)
        finish.fire()

    stage = draining(App(handle), scenario)
    assert [(answer.body, answer.headers["connection"]) for answer in answers[0].answers] == [
        (b"done", "close")
    ]
    assert stage.app.cancelled == 0
    assert (stage.server.connections, stage.server.active) == (0, 0)


def test_drain_cuts_a_call_that_does_not_finish() -> None:
    def scenario(stage: Stage, client: Client) -> None:
        stage.wait(9)
        assert stage.app.cancelled == 0

    stage = draining(App(forever), scenario, timeout_s=10.0)
    assert stage.app.cancelled == 1
    assert (stage.server.connections, stage.server.active) == (0, 0)


def test_drain_of_an_empty_server_does_not_wait() -> None:
    async def main() -> None:
        await Stage().server.drain(30.0)

    asyncio.run(main())


def test_a_draining_server_finishes_what_is_on_its_way() -> None:
    with Stage() as stage:
        sending, idle = stage.client(), stage.client()
        sending.send(GET[:20])
        stage.server._hub.draining = True
        for connection in list(stage.server._hub.connections):
            connection.retire()
        late = stage.client()
        assert idle.closed
        assert late.closed
        sending.send(GET[20:] + GET)
        assert [answer.headers["connection"] for answer in sending.answers] == ["close"]
        assert sending.closed
