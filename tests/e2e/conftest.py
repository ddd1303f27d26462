"""Fixtures of the end-to-end tests: processes that end with the test that asked for them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from tests.e2e.gateway import EngineProcess, GatewayProcess, start_engine, start_gateway


@pytest.fixture
def running_gateway() -> Iterator[Callable[..., GatewayProcess]]:
    """`running_gateway(config_yaml, options=..., environ=...)`, as often as a test likes."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(start_gateway(*args, **kwargs))


@pytest.fixture
def running_engine() -> Iterator[Callable[..., EngineProcess]]:
    """`running_engine(dialect, *options, environ=...)`, as often as a test likes."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(start_engine(*args, **kwargs))
