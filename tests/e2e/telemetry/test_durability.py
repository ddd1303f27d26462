"""What clients were answered is in the ledger and in its roll-ups, whatever ends the gateway."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess, call
from tests.e2e.postgres_server import PostgresProcess, start_postgres

from fairlead.storage.connect import open_database
from fairlead.telemetry.ledger.db import Ledger
from fairlead.telemetry.ledger.percentiles import Question, ask
from fairlead.telemetry.ledger.rollup_db import Rollups
from fairlead.telemetry.ledger.rollup_job import catch_up

LOSS_S = 1.0
"""Seconds of answered requests that SIGKILL may cost."""
CLIENTS = 4
CONFIG = """
storage: STORAGE
server: {{workers: {workers}}}
providers:
  lab: {{type: openai, base_url: {url}, api_key: env:LAB_KEY}}
models:
  small: {{targets: [{{provider: lab}}]}}
"""
BODY = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hi"}]})

Start = Callable[..., GatewayProcess]


class Crowd:
    """Clients that ask one request after the other until they are stopped or the gateway has gone."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.answered: dict[str, float] = {}
        """Ids of requests that were answered, and when (monotonic)."""
        self._gateway = gateway
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let the last requests end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=30)
            assert not thread.is_alive()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._gateway.port, timeout=10)
        headers = {
            "authorization": f"Bearer {self._gateway.admin_key}",
            "content-type": "application/json",
        }
        try:
            while not self._stopping.is_set():
                connection.request("POST", "/v1/chat/completions", BODY, headers)
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    self.answered[response.headers["x-request-id"]] = time.monotonic()
        except (OSError, http.client.HTTPException):
            pass  # it has gone
        finally:
            connection.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresProcess]:
    with start_postgres() as server:
        yield server


@pytest.fixture
def start(
    request: pytest.FixtureRequest, running_gateway: Start, running_engine: Callable[..., EngineProcess]
) -> Start:
    """`start("sqlite" or "postgres", workers=1)`: a gateway and where its state is, as (gateway, place)."""
    engine = running_engine("openai")

    def start(store: str, *, workers: int = 1) -> tuple[GatewayProcess, str]:
        url = ""
        storage = "{}"
        if store == "postgres":
            name = request.node.name.translate(str.maketrans("[]-", "___")).lower()[:60]
            url = request.getfixturevalue("postgres").database(name)
            storage = "{database: env:DATABASE_URL}"
        config = CONFIG.format(url=engine.base_url, workers=workers).replace("STORAGE", storage)
        gateway = running_gateway(config, environ={"LAB_KEY": "k", "DATABASE_URL": url})
        return gateway, url or str(gateway.directory / "state")

    return start  # type: ignore[return-value]  # a pair


def held(place: str) -> tuple[list[str], list[int]]:
    """The ids in the ledger, and the requests that its roll-ups count before and after they are caught up."""

    async def main() -> tuple[list[str], list[int]]:
        database = await open_database(place)
        rows = await database.fetch("SELECT id FROM requests")
        ledger = Ledger(database)
        question = Question(until=time.time() + 3600)
        counted = []
        for _ in range(2):
            answer = await ask(database, question)
            counted.append(sum(group.requests for group in answer.groups))
            await catch_up(ledger, Rollups(database), pause_s=0)
        await database.close()
        return [str(row[0]) for row in rows], counted

    return asyncio.run(main())


def ended(gateway: GatewayProcess, number: signal.Signals) -> float:
    """End it with a signal; when (monotonic) that was."""
    at = time.monotonic()
    gateway.process.send_signal(number)
    gateway.process.wait(timeout=40)
    return at


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_killed_it_loses_at_most_the_last_second(start: Start, store: str) -> None:
    gateway, place = start(store)
    crowd = Crowd(gateway)
    time.sleep(3.0)

    killed_at = ended(gateway, signal.SIGKILL)
    crowd.stop()

    ids, counted = held(place)
    safe = {name for name, at in crowd.answered.items() if at < killed_at - LOSS_S}
    assert len(safe) > 50
    assert safe <= set(ids)
    assert counted == [len(ids)] * 2


@pytest.mark.parametrize(
    ("store", "workers"), [("sqlite", 1), ("sqlite", 2), ("postgres", 1), ("postgres", 2)]
)
def test_asked_to_stop_it_loses_nothing(start: Start, store: str, workers: int) -> None:
    gateway, place = start(store, workers=workers)
    crowd = Crowd(gateway)
    time.sleep(2.0)

    ended(gateway, signal.SIGTERM)
    crowd.stop()

    assert gateway.process.returncode == 0, gateway.log
    ids, counted = held(place)
    assert len(crowd.answered) > 50
    assert set(crowd.answered) <= set(ids)
    assert counted == [len(ids)] * 2


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_an_outage_of_postgres_loses_nothing(start: Start, postgres: PostgresProcess, end: str) -> None:
    gateway, place = start("postgres")
    crowd = Crowd(gateway)
    time.sleep(1.5)
    getattr(postgres, end)()
    during = time.monotonic()
    time.sleep(2.5)
    postgres.start()
    again = time.monotonic()
    time.sleep(0.5)

    ended(gateway, signal.SIGTERM)
    crowd.stop()

    assert gateway.process.returncode == 0, gateway.log
    ids, counted = held(place)
    assert sum(during + 0.5 < at < again for at in crowd.answered.values()) > 50, "requests went on"
    assert set(crowd.answered) <= set(ids)
    assert counted == [len(ids)] * 2


def test_a_stop_during_an_outage_waits_for_its_end(start: Start, postgres: PostgresProcess) -> None:
    gateway, place = start("postgres")
    crowd = Crowd(gateway)
    time.sleep(1.0)
    postgres.stop()
    time.sleep(1.0)
    mending = threading.Timer(2.0, postgres.start)
    mending.start()

    ended(gateway, signal.SIGTERM)
    crowd.stop()
    mending.join()

    ids, counted = held(place)
    assert set(crowd.answered) <= set(ids)
    assert counted == [len(ids)] * 2


def test_two_gateways_share_a_database(
    running_gateway: Start, running_engine: Callable[..., EngineProcess], postgres: PostgresProcess
) -> None:
    url = postgres.database("shared")
    config = CONFIG.format(url=running_engine("openai").base_url, workers=1).replace(
        "STORAGE", "{database: env:DATABASE_URL}"
    )
    environ = {"LAB_KEY": "k", "DATABASE_URL": url}
    first, second = (running_gateway(config, environ=environ) for _ in range(2))
    assert first.admin_key
    assert not second.admin_key, "the database has keys"
    second.admin_key = first.admin_key
    for gateway in (first, second, second):
        call(gateway.url + "/v1/chat/completions", method="POST", body=json.loads(BODY), key=first.admin_key)

    assert len(first.requests(3)) == len(second.requests(3)) == 3
    answers = [gateway.admin("/latency?group_by=model,outcome") for gateway in (first, second)]
    assert [answer["data"][0]["requests"] for answer in answers] == [3, 3]
    shown = subprocess.run(
        [sys.executable, "-m", "fairlead", "latency", "--json", "--config", str(first.config_file)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(shown.stdout)["data"][0]["requests"] == 3
