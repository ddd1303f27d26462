"""What the section `telemetry` must not say."""

from __future__ import annotations

import pytest

from fairlead.config.parse import parse
from fairlead.errors import ConfigError

MODELS = """
providers:
  lab: {type: vllm}
models:
  small: {targets: [{provider: lab, model: tiny}]}
  any: {targets: [{provider: lab}]}
"""


def problems(text: str) -> str:
    try:
        parse(MODELS + text, "test")
    except ConfigError as error:
        return f"{error} {error.hint or ''}"
    return ""


def test_a_whole_section_is_accepted() -> None:
    text = """
telemetry:
  nvml: true
  scrape:
    - {url: "http://dcgm:9400/metrics", kind: dcgm}
    - {url: "https://engine:8002/metrics", kind: triton, target: lab/tiny, bearer: env:TOKEN}
  gpus:
    h100: {targets: [lab/tiny], usd_per_hour: 2.5, count: 2, replicas: 2}
    rest: {targets: ["lab/*"], usd_per_hour: 1, match: {pod: "chat-*"}, prompt_weight: 1, output_weight: 0}
"""
    assert problems(text) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("scrape: [{url: dcgm}]", "telemetry.scrape[0].url"),
        ('scrape: [{url: "http://a:b@dcgm/"}]', "must not hold credentials"),
        ('scrape: [{url: "http://a/m", target: lab/tini}]', "did you mean `lab/tiny`?"),
        ('scrape: [{url: "http://a/m", kind: dcgm, target: lab/tiny}]', "has no effect with `kind: dcgm`"),
        ('scrape: [{url: "http://a/m", kind: vllm}]', "`target` is missing: whose engine is it?"),
        ('scrape: [{url: "http://a/m", bearer: sesame}]', "telemetry.scrape[0].bearer"),
        ('scrape: [{url: "http://a/m", timeout_s: 20}]', "20 is more than `interval_s`, 15"),
        ("gpus: {h100: {targets: [lab/tiny], usd_per_hour: 1}}", "how many GPUs these are is not known"),
        ("gpus: {h100: {targets: [lab/x], usd_per_hour: 1, count: 1}}", "no target is named `lab/x`"),
        (
            "gpus: {h100: {targets: [lab/tiny], usd_per_hour: 1, count: 1, replicas: 2}}",
            "2 is more than `count`, 1",
        ),
        ("gpus: {a b: {targets: [lab/tiny], usd_per_hour: 1, count: 1}}", "a pool's name is"),
        (
            "gpus: {h100: {targets: [lab/tiny], usd_per_hour: 1, count: 1, output_weight: 1}}",
            "are set together or not at all",
        ),
        (
            "gpus: {h: {targets: [lab/tiny], usd_per_hour: 1, count: 1, prompt_weight: 0, output_weight: 0}}",
            "cannot both be 0",
        ),
        (
            "gpus: {a: {targets: [lab/tiny], usd_per_hour: 1, count: 1}, "
            "b: {targets: [lab/tiny], usd_per_hour: 1, count: 1}}",
            "`lab/tiny` belongs to `a` already",
        ),
        ("gpus: {h100: {targets: [], usd_per_hour: 1, count: 1}}", "telemetry.gpus.h100.targets"),
        ("gpus: {h100: {targets: [lab/tiny], usd_per_hour: -1, count: 1}}", "usd_per_hour"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named(text: str, expected: str) -> None:
    assert expected in problems("telemetry:\n  " + text)


def test_a_literal_token_is_not_repeated() -> None:
    assert "sesame" not in problems('telemetry: {scrape: [{url: "http://a/m", bearer: sesame}]}')
