"""OpenTelemetry's names for what we have names of our own for."""

from __future__ import annotations

import pytest

from fairlead.telemetry.metrics.cells import DURATION_BOUNDS_S, TTFT_BOUNDS_S
from fairlead.telemetry.metrics.conventions import (
    DURATION_BOUNDS,
    FIRST_TOKEN_BOUNDS,
    TOKEN_BOUNDS,
    Peer,
    model_of,
    operation_name,
    peer_of,
    provider_name,
)
from fairlead.types import ITL_BOUNDS_S


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("chat", "chat"),
        ("messages", "chat"),
        ("responses", "chat"),
        ("completions", "text_completion"),
        ("embeddings", "embeddings"),
        ("rerank", "rerank"),
    ],
)
def test_operations(endpoint: str, expected: str) -> None:
    assert operation_name(endpoint) == expected


@pytest.mark.parametrize(
    ("kind", "host", "expected"),
    [
        ("openai", "proxy.example", "openai"),
        ("azure", "x.openai.azure.com", "azure.ai.openai"),
        ("bedrock", "bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        ("gemini", "generativelanguage.googleapis.com", "gcp.gemini"),
        ("vllm", "10.0.0.1", "vllm"),
        ("openai-compatible", "api.groq.com", "groq"),
        ("openai-compatible", "10.0.0.1", "openai-compatible"),
    ],
)
def test_providers(kind: str, host: str, expected: str) -> None:
    assert provider_name(kind, host) == expected


def test_a_target_belongs_to_its_provider() -> None:
    peer = Peer(provider="vllm", address="10.0.0.1", port=8000)

    assert peer_of("lab/org/model", {"lab": peer}) == peer
    assert peer_of("gone/model", {"lab": peer}).provider == "other"
    assert peer_of("", {}).provider == "other"


@pytest.mark.parametrize(
    ("target", "expected"), [("lab/org/model", "org/model"), ("lab/*", "asked"), ("other", "asked")]
)
def test_the_model_is_the_upstreams_name_for_it(target: str, expected: str) -> None:
    assert model_of(target, "asked") == expected


def test_our_histograms_can_be_shown_with_the_conventions_bounds() -> None:
    assert set(DURATION_BOUNDS) <= set(DURATION_BOUNDS_S)
    assert set(DURATION_BOUNDS) <= set(ITL_BOUNDS_S)
    assert set(FIRST_TOKEN_BOUNDS) <= set(TTFT_BOUNDS_S)


def test_the_bounds_are_the_conventions() -> None:
    assert TOKEN_BOUNDS[:4] == (1, 4, 16, 64)
    assert TOKEN_BOUNDS[-1] == 67_108_864
    assert tuple(round(0.01 * 2**power, 2) for power in range(14)) == DURATION_BOUNDS
