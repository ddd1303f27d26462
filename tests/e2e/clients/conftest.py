"""One gateway in front of an engine of each dialect, for every client of this directory.

A model's name says where it leads: `openai` (which has a Responses API),
`engine` (an OpenAI-compatible one without), `anthropic`, `gemini`, `bedrock`.
`other/NAME` leads there too: a name with a `/`. `STATUS/NAME` (`429/gemini`)
leads to an upstream that answers with that status, in its dialect's words.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest
from tests.e2e.clients.canned import Canned
from tests.e2e.gateway import Dialect, EngineProcess, GatewayProcess, start_engine, start_gateway

UPSTREAMS = ("openai", "engine", "anthropic", "gemini", "bedrock")
"""Every upstream dialect, and both kinds of OpenAI's."""
TRANSLATED = ("anthropic", "gemini", "bedrock")
STATUSES = (400, 401, 403, 404, 429, 500, 503)
UPSTREAM_KEY = "upstream-key"

_DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic", "gemini", "bedrock")
_MODELS = {
    "openai": "gpt-5",
    "engine": "llama",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-pro",
    "bedrock": "anthropic.claude-sonnet-4-5-20250929-v1:0",
}
"""What each upstream is asked for."""


def config(engines: dict[Dialect, EngineProcess], canned: Canned) -> str:
    """The gateway's configuration."""
    openai_url = engines["openai"].base_url
    lines = [
        "providers:",
        f"  openai: {{type: openai, base_url: '{openai_url}', api_key: env:UPSTREAM_KEY}}",
        f"  engine: {{type: openai-compatible, base_url: '{openai_url}', api_key: env:UPSTREAM_KEY}}",
        f"  anthropic: {{type: anthropic, base_url: '{engines['anthropic'].base_url}', "
        "api_key: env:UPSTREAM_KEY}",
        f"  gemini: {{type: gemini, base_url: '{engines['gemini'].base_url}', api_key: env:UPSTREAM_KEY}}",
        f"  bedrock: {{type: bedrock, base_url: '{engines['bedrock'].url}', region: us-east-1, "
        "api_key: env:UPSTREAM_KEY}",
        f"  canned: {{type: openai, base_url: '{canned.url}/v1', api_key: env:UPSTREAM_KEY}}",
        "models:",
        "  canned/*: {targets: [{provider: canned}]}",
        "  titan: {targets: [{provider: bedrock, model: 'amazon.titan-embed-text-v2:0'}]}",
        # A target that was told to wait is left alone for that long: one for each such test.
        "  limited: {targets: [{provider: canned, model: limited}]}",
        "  paused: {targets: [{provider: canned, model: paused}]}",
        "  impatient: {targets: [{provider: canned, model: impatient}]}",
    ]
    for name, model in _MODELS.items():
        lines.append(f"  {name}: {{targets: [{{provider: {name}, model: '{model}'}}]}}")
        lines.append(f"  other/{name}: {{targets: [{{provider: {name}, model: '{model}'}}]}}")
        lines += [
            f"  {status}/{name}: {{targets: [{{provider: {name}, model: status-{status}}}]}}"
            for status in STATUSES
        ]
    lines += [
        "outages:",
        "  breaker: {enabled: false}",  # failures on command are no outage
        "  retry: {backoff_s: 0.01, max_backoff_s: 0.02, min_budget: 1000}",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def engines() -> Iterator[dict[Dialect, EngineProcess]]:
    """A running engine of each dialect; each wants the gateway's key, not the client's."""
    faults = [
        word for status in STATUSES for word in ("--fault", f"status;status={status};model=status-{status}")
    ]
    with contextlib.ExitStack() as stack:
        yield {
            dialect: stack.enter_context(
                start_engine(
                    dialect,
                    *(("--responses",) if dialect == "openai" else ()),
                    *("--api-key-env", "KEY"),
                    *faults,
                    environ={"KEY": UPSTREAM_KEY},
                )
            )
            for dialect in _DIALECTS
        }


@pytest.fixture(scope="session")
def canned_upstream() -> Iterator[Canned]:
    with Canned() as canned:
        yield canned


@pytest.fixture
def canned(canned_upstream: Canned) -> Canned:
    """An upstream that answers what it is told to and keeps what it was sent (models `canned/*`)."""
    canned_upstream.clear()
    return canned_upstream


@pytest.fixture(scope="session")
def gateway(engines: dict[Dialect, EngineProcess], canned_upstream: Canned) -> Iterator[GatewayProcess]:
    """The gateway in front of them all."""
    with start_gateway(config(engines, canned_upstream), environ={"UPSTREAM_KEY": UPSTREAM_KEY}) as running:
        yield running


@pytest.fixture(params=UPSTREAMS)
def model(request: pytest.FixtureRequest) -> str:
    """A model at each upstream in turn."""
    return str(request.param)


@pytest.fixture
def openai_client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0) as client:
        yield client


@pytest.fixture
def async_openai(gateway: GatewayProcess) -> Callable[[], openai.AsyncOpenAI]:
    """Made inside the loop that uses it."""
    return lambda: openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=gateway.admin_key, max_retries=0)


@pytest.fixture
def anthropic_client(gateway: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.admin_key, max_retries=0) as client:
        yield client


@pytest.fixture
def async_anthropic(gateway: GatewayProcess) -> Callable[[], anthropic.AsyncAnthropic]:
    """Made inside the loop that uses it."""
    return lambda: anthropic.AsyncAnthropic(base_url=gateway.url, api_key=gateway.admin_key, max_retries=0)
