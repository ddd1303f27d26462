"""OpenTelemetry's names for generative AI: bounds of its metrics, operations and providers.

The semantic conventions of version 1.41, the last release that holds them
with the others. Metrics carry these names in Prometheus with `_` for `.` and
their unit at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from fairlead.telemetry.labels import OTHER, clean

DURATION_BOUNDS: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Of every duration, and of times to and between chunks; in seconds."""

TOKEN_BOUNDS: Final = tuple(4**power for power in range(14))
"""Of `gen_ai.client.token.usage`."""

FIRST_TOKEN_BOUNDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
"""Of `gen_ai.server.time_to_first_token`, in seconds."""

PER_TOKEN_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5,
)  # fmt: skip
"""Of `gen_ai.server.time_per_output_token`, in seconds."""

_OPERATIONS: Final = {
    "chat": "chat",
    "messages": "chat",
    "responses": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
}
_PROVIDERS: Final = {
    "openai": "openai",
    "azure": "azure.ai.openai",
    "anthropic": "anthropic",
    "gemini": "gcp.gemini",
    "bedrock": "aws.bedrock",
}
_HOSTS: Final = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
}
"""Well-known names of those that are asked as OpenAI-compatible."""


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A configured provider, as these metrics name it."""

    provider: str
    """`gen_ai.provider.name`."""
    address: str
    """`server.address`."""
    port: int
    """`server.port`."""


UNKNOWN: Final = Peer(provider=OTHER, address="", port=0)


def operation_name(endpoint: str) -> str:
    """`gen_ai.operation.name` of one of our endpoints; the endpoint's own name where there is none."""
    return _OPERATIONS.get(endpoint, endpoint)


def provider_name(kind: str, host: str) -> str:
    """`gen_ai.provider.name` for a configured type and host; the type where there is no well-known name."""
    return _PROVIDERS.get(kind) or _HOSTS.get(host) or clean(kind)


def peer_of(target: str, peers: Mapping[str, Peer]) -> Peer:
    """Who answers for a target, `provider/model`."""
    return peers.get(target.partition("/")[0], UNKNOWN)


def model_of(target: str, asked: str) -> str:
    """The model that a target is asked for, as far as it names one; else that of the client."""
    name = target.partition("/")[2]
    return asked if not name or "*" in name else name
