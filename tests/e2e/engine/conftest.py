"""The tests against a real engine run only when asked to: they need a gigabyte of its packages.

`FAIRLEAD_E2E_ENGINE=1` asks for them; a missing engine is then a failure, not
a skip. Without it they are deselected, and the run's last lines say so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest
from scripts.prepare_engine import engine_home, is_ready
from tests.e2e.engine.server import RealEngine
from tests.e2e.gateway import GatewayProcess, start_gateway

_VARIABLE = "FAIRLEAD_E2E_ENGINE"
_LEFT_OUT = pytest.StashKey[int]()

_PROVIDER = """\
  {name}: {{type: openai-compatible, base_url: '{url}', responses_api: {responses}}}
"""
_MODELS = """\
  talker: {targets: [{provider: engine}]}
  thinker: {targets: [{provider: engine}]}
  caller: {targets: [{provider: engine}]}
  renamed: {targets: [{provider: engine, model: thinker}]}
  native/*: {targets: [{provider: native}]}
  native-thinker: {targets: [{provider: native, model: thinker}]}
  native-caller: {targets: [{provider: native, model: caller}]}
  absent: {targets: [{provider: engine}]}
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
