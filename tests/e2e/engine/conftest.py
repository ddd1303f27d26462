"""The tests against a real engine run only when asked to: they need a gigabyte of its packages.

`FAIRLEAD_E2E_ENGINE=1` asks for them; a missing engine is then a failure, not
a skip. Without it they are deselected, and the run's last lines say so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
from scripts.prepare_engine import engine_home, is_ready
from tests.e2e.engine.server import RealEngine
from tests.e2e.gateway import GatewayProcess, start_gateway

_VARIABLE = "FAIRLEAD_E2E_ENGINE"
_LEFT_OUT = pytest.StashKey[int]()

_NAMES = ("talker", "thinker", "caller", "absent")
_CONFIG = """\
providers:
  engine: {{type: openai-compatible, base_url: '{url}'}}
  native: {{type: openai-compatible, base_url: '{url}', responses_api: true}}
models:
{models}
outages:
  retry: {{backoff_s: 0.01, max_backoff_s: 0.02}}
"""


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", f"engine: drives a real inference server; runs with {_VARIABLE}=1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the marked tests out unless they were asked for."""
    if os.environ.get(_VARIABLE) == "1":
        return
    left_out = [item for item in items if item.get_closest_marker("engine") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("engine") is None]
        config.stash[_LEFT_OUT] = len(left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out and how to run it."""
    count = config.stash.get(_LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(
            f"{count} tests against a real engine left out; to run them: "
            f"python3 scripts/prepare_engine.py && {_VARIABLE}=1 make test ARGS=tests/e2e/engine"
        )


@pytest.fixture(scope="session")
def home() -> Path:
    """Where the engine is installed; fails when it is not."""
    home = engine_home()
    if not is_ready(home):
        pytest.fail(f"no engine in {home}, or an outdated one: run `python3 scripts/prepare_engine.py`")
    return home


@pytest.fixture(scope="session")
def engines(home: Path) -> Iterator[tuple[RealEngine, RealEngine]]:
    """Two real engines that start at the same time, which takes most of the time there is."""
    with RealEngine(home) as one, RealEngine(home) as other:
        yield one, other


@pytest.fixture(scope="session")
def engine(engines: tuple[RealEngine, RealEngine]) -> RealEngine:
    """The one for all tests that leave it alive."""
    return engines[0].wait()


@pytest.fixture
def doomed(engines: tuple[RealEngine, RealEngine]) -> RealEngine:
    """The one for the test that kills it."""
    return engines[1].wait()


@pytest.fixture(scope="session")
def gateway(engine: RealEngine) -> Iterator[GatewayProcess]:
    """A gateway in front of it: each model by its name, and as `native/NAME` where Responses are its own."""
    models = [
        f"  {prefix}{name}: {{targets: [{{provider: {provider}, model: {name}}}]}}"
        for prefix, provider in (("", "engine"), ("native/", "native"))
        for name in _NAMES
    ]
    # Names of single tests, whose records they look for.
    models += [
        f"  {name}: {{targets: [{{provider: engine, model: talker}}]}}"
        for name in ("counted", "left-1", "left-2")
    ]
    with start_gateway(_CONFIG.format(url=engine.base_url, models="\n".join(models))) as gateway:
        yield gateway


@pytest.fixture
def openai_client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK; it does not retry, so what fails is seen."""
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    """Anthropic's SDK, likewise."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.admin_key, max_retries=0) as client:
        yield client
