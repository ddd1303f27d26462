"""Options of `fairlead simulate engine`."""

from __future__ import annotations

import argparse

import pytest

from fairlead.cli.simulate import add_parser, config_from
from fairlead.errors import UsageError
from fairlead.simulate.faults import Fault
from fairlead.simulate.server import EngineConfig


def parsed(*words: str, **environ: str) -> EngineConfig:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return config_from(parser.parse_args(["simulate", "engine", *words]), environ)


def test_without_options_it_is_the_default_engine() -> None:
    assert parsed() == EngineConfig()


def test_options_reach_the_engine() -> None:
    config = parsed(
        *("--model", "a", "--model", "b", "--speed", "5", "--step-ms", "7", "--kv-tokens", "1000"),
        *("--max-batch", "3", "--no-prefix-cache", "--dialect", "anthropic", "--responses"),
        *("--fault", "cut;after=2", "--fault", "slow;rate=9", "--api-key-env", "KEY"),
        KEY="secret",
    )
    assert config.models == ("a", "b")
    assert (config.latency.speed, config.latency.base_s) == (5.0, 0.007)
    assert (config.limits.kv_tokens, config.limits.max_batch, config.limits.prefix_cache) == (1000, 3, False)
    assert (config.dialect, config.responses, config.api_key) == ("anthropic", True, "secret")
    assert config.faults == (Fault(name="cut", after=2), Fault(name="slow", rate=9.0))


@pytest.mark.parametrize(
    "words",
    [
        ("--speed", "0"), ("--speed", "nan"), ("--step-ms", "-1"), ("--kv-tokens", "0"),
        ("--kv-tokens", "8"), ("--fault", "explode"), ("--api-key-env", "NOT_SET"),
    ],
)  # fmt: skip
def test_values_that_make_no_engine_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        parsed(*words)
